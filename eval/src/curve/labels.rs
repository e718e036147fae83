//! Where names go in a picture: beside their marks, where nothing else is.

/// A rectangle: left, top, right, bottom.
pub(super) type Area = [f64; 4];

/// What is in the picture already.
#[derive(Debug, Default)]
pub(super) struct Taken {
    areas: Vec<Area>,
    lines: Vec<[(f64, f64); 2]>,
}

impl Taken {
    /// Adds an area, such as that of a label.
    pub(super) fn area(&mut self, area: Area) {
        self.areas.push(area);
    }

    /// Adds a line from point to point.
    pub(super) fn line(&mut self, points: &[(f64, f64)]) {
        self.lines.extend(points.windows(2).map(|pair| [pair[0], pair[1]]));
    }

    /// The place for a label of a width and a height by the mark at `(x, y)`: the nearest in `within` at which it covers nothing, or else least; from now on that is taken.
    pub(super) fn place(&mut self, (x, y): (f64, f64), (width, height): (f64, f64), within: Area) -> Area {
        let mut best: Option<(f64, Area)> = None;
        for distance in [9.0, 16.0, 26.0, 40.0, 58.0] {
            for (right, down) in
                [(1.0, 0.0), (1.0, -1.0), (1.0, 1.0), (0.0, -1.0), (0.0, 1.0), (-1.0, -1.0), (-1.0, 1.0), (-1.0, 0.0)]
            {
                let reach = if right == 0.0 || down == 0.0 { distance } else { 0.75 * distance };
                let left = x + right * reach + (right - 1.0) / 2.0 * width;
                let top = y + down * reach + (down - 1.0) / 2.0 * height;
                let area = [left, top, left + width, top + height];
                if area[0] < within[0] || area[1] < within[1] || area[2] > within[2] || area[3] > within[3] {
                    continue;
                }
                let covered = self.covered(area);
                if covered == 0.0 {
                    self.area(area);
                    return area;
                }
                if best.is_none_or(|(least, _)| covered < least) {
                    best = Some((covered, area));
                }
            }
        }
        let area = best.map_or([x, y, x + width, y + height], |(_, area)| area);
        self.area(area);
        area
    }

    /// How much of what is there an area covers: a number for each, more for other labels.
    fn covered(&self, area: Area) -> f64 {
        let areas = self.areas.iter().filter(|a| a[0] < area[2] && area[0] < a[2] && a[1] < area[3] && area[1] < a[3]).count();
        let lines = self.lines.iter().filter(|line| crosses(**line, area)).count();
        10.0 * areas as f64 + lines as f64
    }
}

/// Whether a line enters an area (Liang and Barsky's clipping, 1984).
fn crosses([(x1, y1), (x2, y2)]: [(f64, f64); 2], area: Area) -> bool {
    let (mut from, mut to) = (0.0f64, 1.0f64);
    for (start, change, least, most) in [(x1, x2 - x1, area[0], area[2]), (y1, y2 - y1, area[1], area[3])] {
        if change == 0.0 {
            if start < least || start > most {
                return false;
            }
            continue;
        }
        let (a, b) = ((least - start) / change, (most - start) / change);
        from = from.max(a.min(b));
        to = to.min(a.max(b));
    }
    from <= to
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_cross_areas_or_do_not() {
        let area = [0.0, 0.0, 10.0, 10.0];
        assert!(crosses([(-5.0, 5.0), (15.0, 6.0)], area) && crosses([(5.0, -5.0), (5.0, 5.0)], area));
        assert!(crosses([(2.0, 2.0), (3.0, 3.0)], area));
        assert!(!crosses([(-5.0, 0.0), (0.0, 20.0)], area) && !crosses([(11.0, -5.0), (11.0, 20.0)], area));
    }

    #[test]
    fn labels_are_apart() {
        let mut taken = Taken::default();
        taken.line(&[(0.0, 50.0), (100.0, 50.0)]);
        let within = [0.0, 0.0, 100.0, 100.0];
        let places: Vec<Area> = (0..4).map(|_| taken.place((50.0, 50.0), (20.0, 10.0), within)).collect();
        for (i, a) in places.iter().enumerate() {
            assert!(!crosses([(0.0, 50.0), (100.0, 50.0)], *a), "{a:?}");
            assert!(places[..i].iter().all(|b| a[0] >= b[2] || b[0] >= a[2] || a[1] >= b[3] || b[1] >= a[3]), "{places:?}");
        }
    }
}
