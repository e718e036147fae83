//! Filters: a tile's elements predicted from their neighbours, what remains transformed, all in integers and reversible.
//!
//! ```text
//! map        elements to integers in the order of their values
//! predict    from the left, from above, from a plane, from eight neighbours' values
//! transform  of 8 × 8 residuals
//! modes      what each block of a tile went through, as it is stored
//! ```

pub(crate) mod map;
pub(crate) mod modes;
pub(crate) mod predict;
pub(crate) mod transform;

use map::Map;
use modes::Modes;
use predict::Predictor;
use transform::{SIDE, Transform};
pub(crate) use wcodec_device::filter::{BANDS, CLASSES, Ring, Values};
use wcodec_device::planes::Layout;

/// Bytes of parameters before the tables.
const HEAD: usize = 16;

/// How a tensor's tiles are filtered: its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Filter {
    pub map: Map,
    pub ring: Ring,
    /// Bits of a float's fraction; 0 where numbers stand for themselves, and in files from before weights.
    pub fraction: u8,
    /// Classes of blocks; 0 where blocks have none.
    pub classes: usize,
    /// Number of the frequency table for each plane, band and class.
    pub tables: Vec<u16>,
}

impl Filter {
    /// Reads what heads the directory of a tensor of `layout`, in a file of `tables` frequency tables.
    pub(crate) fn read(params: &[u8], layout: Layout, tables: usize) -> Result<Self, &'static str> {
        let (head, rest) = params.split_first_chunk::<HEAD>().ok_or("no parameters of filters")?;
        let Layout::Columns(size @ (1 | 2 | 4)) = layout else { return Err("filters of a layout that has none") };
        let (map, bits, classes) = (Map::from_u8(head[0]).ok_or("an unknown map of filters")?, head[1], head[2] as usize);
        if bits != 8 * size && (bits, size) != (4, 1) || classes > CLASSES || head[4..].iter().any(|&b| b != 0) {
            return Err("impossible parameters of filters");
        }
        let (ring, fraction) = (Ring::new(bits as u32), head[3]);
        if fraction != 0 && Values::new(map, ring, fraction as u32).is_none() {
            return Err("an impossible fraction of filtered numbers");
        }
        let used = 2 * BANDS * size as usize * classes;
        if rest.len() != used.next_multiple_of(16) || rest[used..].iter().any(|&b| b != 0) {
            return Err("its filters do not have the length that they take");
        }
        let numbers: Vec<u16> = rest[..used].as_chunks::<2>().0.iter().map(|&b| u16::from_le_bytes(b)).collect();
        if numbers.iter().any(|&n| n as usize >= tables) {
            return Err("a filter's class without a frequency table");
        }
        Ok(Self { map, ring, fraction, classes, tables: numbers })
    }

    /// The parameters, as [`read`](Self::read) takes them.
    pub(crate) fn write(&self) -> Vec<u8> {
        let mut params = vec![self.map as u8, self.ring.bits() as u8, self.classes as u8, self.fraction];
        params.resize(HEAD, 0);
        params.extend(self.tables.iter().flat_map(|n| n.to_le_bytes()));
        params.resize(params.len().next_multiple_of(16), 0);
        params
    }

    /// What numbers stand for; `None` where no predictor may ask.
    pub(crate) fn values(&self) -> Option<Values> {
        Values::new(self.map, self.ring, self.fraction as u32)
    }

    /// Elements in so many bytes.
    pub(crate) fn elements(&self, bytes: usize) -> usize {
        8 * bytes / self.ring.bits() as usize
    }

    /// The tables of plane `p`, band by band.
    pub(crate) fn tables_of(&self, p: usize) -> &[u16] {
        let n = BANDS * self.classes;
        &self.tables[p * n..][..n]
    }

    /// Turns a tile of residuals, without gaps, back into elements.
    pub(crate) fn undo(&self, modes: &Modes, values: &mut Vec<i32>, bytes: &mut [u8]) {
        map::read_residuals(self.ring, bytes, values);
        undo(self.ring, self.values(), modes, values);
        map::write(self.map, self.ring, values, bytes);
    }
}

/// Turns residuals into numbers, which stand for what `meaning` says.
pub(crate) fn undo(ring: Ring, meaning: Option<Values>, modes: &Modes, values: &mut [i32]) {
    modes.sub_blocks(|_, kind, r, c| {
        if kind != Transform::None {
            with_sub_block(values, modes.columns, r, c, |block| transform::inverse(ring, kind, block));
        }
    });
    let (height, width) = modes.shape.size();
    let across = modes.columns.div_ceil(width);
    for r in 0..modes.rows {
        for x in 0..across {
            let block = &modes.blocks[r / height * across + x];
            let columns = x * width..modes.columns.min((x + 1) * width);
            match block.predictor {
                Predictor::None => {}
                Predictor::Planar => {
                    let row = &mut values[r * modes.columns..][columns];
                    for (i, value) in row.iter_mut().enumerate() {
                        *value = ring.add(*value, predict::on_plane(ring, block.plane, r % height, i));
                    }
                }
                Predictor::Linear => {
                    if let Some(meaning) = meaning {
                        predict::rebuild_linear(ring, meaning, block.weights, values, modes.columns, r, columns);
                    }
                }
                p => predict::rebuild(ring, p, values, modes.columns, r, columns),
            }
        }
    }
}

/// Changes the sub-block at row `r`, column `c`.
pub(crate) fn with_sub_block(
    values: &mut [i32],
    columns: usize,
    r: usize,
    c: usize,
    change: impl FnOnce(&mut [[i32; SIDE]; SIDE]),
) {
    let mut block = [[0; SIDE]; SIDE];
    for (i, row) in block.iter_mut().enumerate() {
        row.copy_from_slice(&values[(r + i) * columns + c..][..SIDE]);
    }
    change(&mut block);
    for (i, row) in block.iter().enumerate() {
        values[(r + i) * columns + c..][..SIDE].copy_from_slice(row);
    }
}
