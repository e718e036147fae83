//! What a value's neighbours in its tile say of it: those to the left and above, which are known before it.

use super::Ring;

/// How a block's values are predicted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Predictor {
    #[default]
    /// Not at all.
    None,
    /// The one to the left.
    Left,
    /// The one above.
    Top,
    /// The mean of left and top, rounded down.
    Average,
    /// A plane of the block's own.
    Planar,
    /// Left + top - top left.
    Gradient,
    /// The line through the two to the left.
    LeftLine,
    /// The line through the two above.
    TopLine,
    /// The middle one of left, top and gradient.
    Median,
    /// The parabola through the three above.
    TopParabola,
    /// A sum of eight neighbours' values, with weights of the block's own: see [`Values`](super::Values).
    Linear,
}

impl Predictor {
    /// All that know nothing but the neighbours.
    pub const FROM_NEIGHBOURS: [Self; 9] = [
        Self::None,
        Self::Left,
        Self::Top,
        Self::Average,
        Self::Gradient,
        Self::LeftLine,
        Self::TopLine,
        Self::Median,
        Self::TopParabola,
    ];

    /// The predictor of this number.
    #[inline(always)]
    pub fn from_u8(v: u8) -> Option<Self> {
        Some(match v {
            0 => Self::None,
            1 => Self::Left,
            2 => Self::Top,
            3 => Self::Average,
            4 => Self::Planar,
            5 => Self::Gradient,
            6 => Self::LeftLine,
            7 => Self::TopLine,
            8 => Self::Median,
            9 => Self::TopParabola,
            10 => Self::Linear,
            _ => return None,
        })
    }
}

/// A block's plane: its value at the top left, and what it gains from column to column and from row to row, in 256ths.
pub type Plane = [i32; 3];

/// The plane's value in row `y`, column `x` of the block.
#[inline(always)]
pub fn on_plane(ring: Ring, [a, b, c]: Plane, y: usize, x: usize) -> i32 {
    ring.wrap(a.wrapping_add(((b as i64 * x as i64 + c as i64 * y as i64 + 128) >> 8) as i32))
}

/// Neighbours of a value. Of those that are missing the nearest one stands in; at the top left all are 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Near {
    /// The one to the left.
    pub left: i32,
    /// The one above.
    pub top: i32,
    /// Above the one to the left.
    pub corner: i32,
    /// The second to the left.
    pub left2: i32,
    /// The second above.
    pub top2: i32,
    /// The third above.
    pub top3: i32,
    /// Above the second to the left.
    pub corner_left: i32,
    /// Above the one above to the left.
    pub corner_top: i32,
    /// To the left of that.
    pub corner2: i32,
}

impl Near {
    /// Those of the value in row `r`, column `c` of its tile, of which those outside the tile may be anything.
    #[inline(always)]
    pub fn inside(self, r: usize, c: usize) -> Self {
        let left = if c > 0 {
            self.left
        } else if r > 0 {
            self.top
        } else {
            0
        };
        let top = if r > 0 { self.top } else { left };
        let top2 = if r > 1 { self.top2 } else { top };
        Self {
            left,
            top,
            corner: if c > 0 && r > 0 { self.corner } else { left },
            left2: if c > 1 { self.left2 } else { left },
            top2,
            top3: if r > 2 { self.top3 } else { top2 },
            ..self
        }
    }

    /// Those of the value in row `r`, column `c` of a tile whose rows are `columns` long, of which those outside the tile are 0.
    #[inline(always)]
    pub fn around(values: &[i32], columns: usize, r: usize, c: usize) -> Self {
        let at = r * columns + c;
        let before = |back: usize, there: bool| if there { values[at - back] } else { 0 };
        Self {
            left: before(1, c > 0),
            top: before(columns, r > 0),
            corner: before(columns + 1, c > 0 && r > 0),
            left2: before(2, c > 1),
            top2: before(2 * columns, r > 1),
            top3: before(3 * columns, r > 2),
            corner_left: before(columns + 2, c > 1 && r > 0),
            corner_top: before(2 * columns + 1, c > 0 && r > 1),
            corner2: before(2 * columns + 2, c > 1 && r > 1),
        }
    }

    /// [`around`](Self::around), as those predictors take it that know no weights.
    #[inline(always)]
    pub fn of(values: &[i32], columns: usize, r: usize, c: usize) -> Self {
        Self::around(values, columns, r, c).inside(r, c)
    }
}

/// Predictions of neighbours alone, by `predictor`; 0 by those that need more.
#[inline(always)]
pub fn guess(ring: Ring, predictor: Predictor, n: Near) -> i32 {
    let twice = |x: i32| x.wrapping_mul(2);
    ring.wrap(match predictor {
        Predictor::None | Predictor::Planar | Predictor::Linear => 0,
        Predictor::Left => n.left,
        Predictor::Top => n.top,
        // The sum's half, without the sum.
        Predictor::Average => (n.left & n.top).wrapping_add((n.left ^ n.top) >> 1),
        Predictor::Gradient => n.left.wrapping_add(n.top).wrapping_sub(n.corner),
        Predictor::LeftLine => twice(n.left).wrapping_sub(n.left2),
        Predictor::TopLine => twice(n.top).wrapping_sub(n.top2),
        Predictor::Median => {
            let gradient = n.left as i64 + n.top as i64 - n.corner as i64;
            gradient.clamp(n.left.min(n.top) as i64, n.left.max(n.top) as i64) as i32
        }
        Predictor::TopParabola => n.top.wrapping_sub(n.top2).wrapping_mul(3).wrapping_add(n.top3),
    })
}
