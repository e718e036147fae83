//! Section 7: filters.

use super::{Record, Result, ensure, take, u16_at};

/// Section 7.1.
pub(super) struct Filter {
    map: u8,
    bits: u32,
    fraction: u32,
    classes: usize,
    tables: Vec<usize>,
}

/// Section 7.2.
pub(super) struct Modes {
    rows: usize,
    columns: usize,
    height: usize,
    width: usize,
    /// Predictor, transforms, plane or weights.
    blocks: Vec<(u8, [u8; 4], Vec<i64>)>,
    classes: Option<Vec<usize>>,
}

fn signed(bytes: &[u8]) -> i64 {
    let n = bytes.iter().rev().fold(0i64, |n, &b| n << 8 | i64::from(b));
    if n >> (8 * bytes.len() - 1) == 1 { n - (1 << (8 * bytes.len())) } else { n }
}

impl Filter {
    pub(super) fn parse(r: &Record, p: &[u8], tables: usize) -> Result<Self> {
        ensure(matches!(r.layout, 1 | 2 | 4), "filters of a layout that has none")?;
        ensure(p.len() >= 16 && r.tools & 1 == 0, "filters and contexts, or no parameters")?;
        let (bits, classes, planes) = (u32::from(p[1]), usize::from(p[2]), usize::from(r.layout));
        ensure(p[0] <= 2 && classes <= 16 && p[4..16].iter().all(|&b| b == 0), "parameters of filters")?;
        ensure(bits == 8 * u32::from(r.layout) || bits == 4 && r.layout == 1, "bits of filters")?;
        let fraction = u32::from(p[3]);
        let exponent = bits as i64 - 1 - i64::from(fraction);
        ensure(fraction == 0 || p[0] == 1 && (2..=8).contains(&exponent), "the fraction of filters")?;
        let used = 16 + 8 * classes * planes;
        ensure(p.len() == used.next_multiple_of(16) && p[used..].iter().all(|&b| b == 0), "length of the parameters")?;
        let tables_of: Vec<usize> = (0..4 * classes * planes).map(|i| usize::from(u16_at(p, 16 + 2 * i))).collect();
        ensure(tables_of.iter().all(|&n| n < tables), "a class's table")?;
        Ok(Self { map: p[0], bits, fraction, classes, tables: tables_of })
    }

    fn wrap(&self, x: i64) -> i64 {
        let half = 1i64 << (self.bits - 1);
        (x + half).rem_euclid(2 * half) - half
    }

    /// Takes the modes off the front of the payload; `None` for a tile that is not filtered.
    pub(super) fn modes(&self, entry: &[u8], payload: &mut &[u8], rows: usize, bytes: usize) -> Result<Option<Modes>> {
        if entry[0] == 0 {
            ensure(entry.iter().all(|&b| b == 0), "a filter of a tile that has none")?;
            return Ok(None);
        }
        ensure(entry[0] <= 2 && entry[4] <= 1 && entry[5..].iter().all(|&b| b == 0), "a tile's filter")?;
        let (height, width) = *[(16, 16), (8, 32), (32, 8)].get(usize::from(entry[1])).ok_or("shape of blocks")?;
        let columns = bytes * 8 / self.bits as usize;
        let count = rows.div_ceil(height) * columns.div_ceil(width);
        let mut rest = take(payload, 16 * u64::from(u16_at(entry, 2)))?;
        let mut blocks = Vec::new();
        for _ in 0..if entry[0] == 1 { 1 } else { count } {
            let mode = take(&mut rest, 1)?[0];
            let transforms = if mode >= 128 { take(&mut rest, 1)?[0] } else { 0 };
            let transforms = [0, 1, 2, 3].map(|i| transforms >> (2 * i) & 3);
            let last = if self.map == 1 && self.fraction == 0 { 9 } else { 10 };
            ensure(mode % 128 <= last && !transforms.contains(&3), "a block's mode")?;
            blocks.push((mode % 128, transforms, vec![]));
        }
        if entry[0] == 1 {
            blocks = vec![blocks[0].clone(); count];
        }
        let a = u64::from(self.bits.div_ceil(8));
        for block in &mut blocks {
            let slope = (2 * a).min(4);
            let sizes = match block.0 {
                4 => vec![a, slope, slope],
                10 => vec![2; 8],
                _ => vec![],
            };
            for n in sizes {
                block.2.push(signed(take(&mut rest, n)?));
            }
        }
        let mut classes = None;
        if entry[4] == 1 {
            let packed = take(&mut rest, count.div_ceil(2) as u64)?;
            let all: Vec<usize> = (0..count).map(|i| usize::from(packed[i / 2] >> (4 * (i % 2)) & 15)).collect();
            ensure(all.iter().all(|&c| c < self.classes), "a block's class")?;
            classes = Some(all);
        }
        ensure(rest.len() < 16 && rest.iter().all(|&b| b == 0), "bytes after the modes")?;
        Ok(Some(Modes { rows, columns, height, width, blocks, classes }))
    }

    /// The table of each symbol of a plane.
    pub(super) fn numbers(&self, m: &Modes, plane: usize) -> Result<Vec<usize>> {
        let classes = m.classes.as_ref().ok_or("contexts of a tile without classes")?;
        let mut out = Vec::new();
        for r in 0..m.rows {
            for c in (0..m.columns).step_by(if self.bits == 4 { 2 } else { 1 }) {
                let band = match (m.transform(r, c), r % 8 + c % 8) {
                    (0, _) => 0,
                    (_, 0 | 1) => 1,
                    (_, 2..=5) => 2,
                    _ => 3,
                };
                out.push(self.tables[(4 * plane + band) * self.classes + classes[m.block(r, c)]]);
            }
        }
        Ok(out)
    }

    /// Section 7.3: a tile's bytes.
    pub(super) fn undo(&self, m: &Modes, bytes: &[u8]) -> Vec<u8> {
        let size = self.bits.div_ceil(8) as usize;
        let stored: Vec<i64> = if self.bits == 4 {
            bytes.iter().flat_map(|&b| [i64::from(b & 15), i64::from(b >> 4)]).collect()
        } else {
            bytes.chunks(size).map(|b| b.iter().rev().fold(0, |n, &b| n << 8 | i64::from(b))).collect()
        };
        let mut x: Vec<Vec<i64>> = stored
            .chunks(m.columns)
            .map(|row| row.iter().map(|z| if z % 2 == 0 { z / 2 } else { -(z + 1) / 2 }).collect())
            .collect();
        for r in (0..m.rows).step_by(8) {
            for c in (0..m.columns).step_by(8) {
                if m.transform(r, c) != 0 {
                    self.invert(m.transform(r, c), &mut x, r, c);
                }
            }
        }
        for r in 0..m.rows {
            for c in 0..m.columns {
                x[r][c] = self.wrap(x[r][c] + self.prediction(m, &x, r, c));
            }
        }
        let half = 1i64 << (self.bits - 1);
        let mut out = Vec::new();
        for row in &x {
            let elements = row.iter().map(|&n| match self.map {
                1 if n < 0 => n ^ (half - 1),
                2 => self.wrap(n ^ half),
                _ => n,
            });
            let elements: Vec<i64> = elements.collect();
            if self.bits == 4 {
                out.extend(elements.chunks(2).map(|two| (two[0] & 15 | (two[1] & 15) << 4) as u8));
            } else {
                elements.iter().for_each(|e| out.extend_from_slice(&e.to_le_bytes()[..size]));
            }
        }
        out
    }

    fn prediction(&self, m: &Modes, x: &[Vec<i64>], r: usize, c: usize) -> i64 {
        let (predictor, _, given) = &m.blocks[m.block(r, c)];
        let (left, top) = match (c > 0, r > 0) {
            (true, true) => (x[r][c - 1], x[r - 1][c]),
            (true, false) => (x[r][c - 1], x[r][c - 1]),
            (false, true) => (x[r - 1][c], x[r - 1][c]),
            (false, false) => (0, 0),
        };
        let corner = if c > 0 && r > 0 { x[r - 1][c - 1] } else { left };
        let left2 = if c > 1 { x[r][c - 2] } else { left };
        let top2 = if r > 1 { x[r - 2][c] } else { top };
        let top3 = if r > 2 { x[r - 3][c] } else { top2 };
        match predictor {
            0 => 0,
            1 => left,
            2 => top,
            3 => (left + top) >> 1,
            4 => given[0] + ((given[1] * (c % m.width) as i64 + given[2] * (r % m.height) as i64 + 128) >> 8),
            5 => left + top - corner,
            6 => 2 * left - left2,
            7 => 2 * top - top2,
            8 => {
                let mut three = [left, top, left + top - corner];
                three.sort_unstable();
                three[1]
            }
            10 => self.weighted(given, x, r, c),
            _ => 3 * top - 3 * top2 + top3,
        }
    }

    /// Section 7.4: a weighted sum of values.
    fn weighted(&self, weights: &[i64], x: &[Vec<i64>], r: usize, c: usize) -> i64 {
        let places = [(0, 1), (1, 0), (1, 1), (0, 2), (2, 0), (1, 2), (2, 1), (2, 2)];
        let near = places.map(|(up, back)| if r >= up && c >= back { x[r - up][c - back] } else { 0 });
        let sum = |of: [i64; 8]| (weights.iter().zip(of).map(|(w, a)| w * a).sum::<i64>() + 2048).div_euclid(4096);
        let half = 1i64 << (self.bits - 1);
        if self.map != 1 {
            return sum(near).clamp(-half, half - 1);
        }
        let one = 1i64 << self.fraction;
        let magnitude = |n: i64| if n < 0 { -1 - n } else { n };
        let exponent = |n: i64| (magnitude(n) / one).max(1);
        let part = |n: i64| {
            let below = magnitude(n) % one + if magnitude(n) < one { 0 } else { one };
            if n < 0 { -below } else { below }
        };
        let highest = near.iter().map(|&n| exponent(n)).max().unwrap();
        let aligned = near.map(|n| (part(n) << (29 - self.fraction)).div_euclid(1 << (highest - exponent(n)).min(31)));
        let sum = sum(aligned);
        let (mut length, mut left) = (0, sum.abs());
        while left > 0 {
            (length, left) = (length + 1, left / 2);
        }
        let own = (highest + length - 30).max(1);
        let excess = own - highest + 29 - i64::from(self.fraction);
        let units = if excess > 0 { (sum.abs() + (1 << (excess - 1))) / (1 << excess) } else { sum.abs() * (1 << -excess) };
        let nearest = ((own - 1) * one + units).min(half - 1);
        if sum < 0 { -1 - nearest } else { nearest }
    }

    /// Section 7.6: inverts the transform of the sub-block at row r, column c.
    fn invert(&self, kind: u8, x: &mut [Vec<i64>], r: usize, c: usize) {
        for j in 0..8 {
            let column: Vec<i64> = (0..8).map(|i| x[r + i][c + j]).collect();
            let column = self.line(kind, column);
            (0..8).for_each(|i| x[r + i][c + j] = column[i]);
        }
        for i in 0..8 {
            let row = self.line(kind, x[r + i][c..c + 8].to_vec());
            x[r + i][c..c + 8].copy_from_slice(&row);
        }
    }

    fn line(&self, kind: u8, x: Vec<i64>) -> Vec<i64> {
        if kind == 1 { self.dct2_back(&x) } else { self.dct4_back(&x).into_iter().rev().collect() }
    }

    fn turn_back(&self, (t, s): (i64, i64), mut x: i64, mut y: i64) -> (i64, i64) {
        let p = |k: i64, y: i64| (k * y + 8192) >> 14;
        x = self.wrap(x - p(t, y));
        y = self.wrap(y + p(s, x));
        x = self.wrap(x - p(t, y));
        (x, y)
    }

    fn dct2_back(&self, coefficients: &[i64]) -> Vec<i64> {
        let n = coefficients.len();
        if n == 1 {
            return coefficients.to_vec();
        }
        let part = |odd: usize| -> Vec<i64> { (0..n / 2).map(|i| coefficients[2 * i + odd]).collect() };
        let (s, d) = (self.dct2_back(&part(0)), self.dct4_back(&part(1)));
        let mut x = vec![0; n];
        for i in 0..n / 2 {
            (x[n - 1 - i], x[i]) = self.turn_back(Q, s[i], d[i]);
        }
        x
    }

    fn dct4_back(&self, coefficients: &[i64]) -> Vec<i64> {
        let n = coefficients.len();
        if n == 1 {
            return coefficients.to_vec();
        }
        let h = n / 2;
        let (mut u, mut v) = (vec![0; h], vec![0; h]);
        (u[0], v[0]) = (coefficients[0], self.wrap(-coefficients[n - 1]));
        for m in 1..h {
            (v[h - m], u[m]) = self.turn_back(Q, coefficients[2 * m], coefficients[2 * m - 1]);
        }
        let (u, v) = (self.dct2_back(&u), self.dct2_back(&v));
        let f: &[(i64, i64)] = match n {
            2 => &[(3259, 6270)],
            4 => &[(1614, 3196), (4970, 9102)],
            _ => &[(805, 1606), (2430, 4756), (4104, 7723), (5862, 10394)],
        };
        let mut x = vec![0; n];
        for i in 0..h {
            let v = if i % 2 == 1 { self.wrap(-v[i]) } else { v[i] };
            (x[i], x[n - 1 - i]) = self.turn_back(f[i], u[i], v);
        }
        x
    }
}

const Q: (i64, i64) = (6786, 11585);

impl Modes {
    fn block(&self, r: usize, c: usize) -> usize {
        r / self.height * self.columns.div_ceil(self.width) + c / self.width
    }

    /// Notes predictors and transforms.
    pub(super) fn see(&self, seen: &mut Vec<u8>) {
        for (predictor, transforms, _) in &self.blocks {
            seen.push(*predictor);
            seen.extend(transforms.iter().filter(|t| **t > 0).map(|t| t + 16));
        }
        seen.sort_unstable();
        seen.dedup();
    }

    /// The transform of the sub-block that a number lies in; none where it is not whole.
    fn transform(&self, r: usize, c: usize) -> u8 {
        let sub = r % self.height / 8 * (self.width / 8) + c % self.width / 8;
        let whole = r / 8 * 8 + 8 <= self.rows && c / 8 * 8 + 8 <= self.columns;
        if whole { self.blocks[self.block(r, c)].1[sub] } else { 0 }
    }
}
