//! Contexts for the plain writer: any classes, tables that suit the symbols which come in each context.

use super::Numbers;
use super::forge::crc;
use super::writer::{Mode, Record, frequencies, layout_shape, split};

/// Section 1.4, the other way round.
pub struct Contexts {
    rows: Vec<usize>,
    columns: Vec<usize>,
    units: i64,
    bias: i64,
    tables: Vec<usize>,
    deep: Vec<usize>,
}

/// The plane that a layout's contexts are for.
pub fn leading(layout: u8) -> usize {
    if layout <= 64 { usize::from(layout) - 1 } else { 0 }
}

impl Contexts {
    /// Those of a record that is to have any; their tables are added to `tables`.
    pub fn new(r: &Record, tables: &mut Vec<[u32; 256]>) -> Option<Self> {
        if !r.modes.contains(&Mode::Contexts) || tables.len() > 4000 {
            return None;
        }
        let mut rng = Numbers(u64::from(crc(&r.data)));
        let element = layout_shape(r.layout).0;
        let mut classes = |n: usize| (0..n).map(|_| rng.below(16) as usize).collect();
        let (rows, columns) = (classes(r.rows), classes(r.row_bytes / element));
        let (k, m) = (
            1 + rng.below(40) as usize,
            if r.layout < 130 && r.layout >= 128 { rng.pick(&[0, 1, 5, 9, 20, 33, 64, 64]) } else { 0 },
        );
        let (units, bias) = (rng.below(9) as i64, rng.below(900) as i64 - 200);
        let mut found = Self { rows, columns, units, bias, tables: vec![0; k], deep: vec![0; m] };
        // By the bits of the tensor as one tile, which is near enough; what has no probability is patched.
        let planes = split(r.layout, &r.data);
        let add = |symbols: Vec<u8>, tables: &mut Vec<[u32; 256]>| {
            let f = frequencies(if symbols.is_empty() { &[7] } else { &symbols });
            tables.iter().position(|t| *t == f).unwrap_or_else(|| {
                tables.push(f);
                tables.len() - 1
            })
        };
        let place = |i: usize| (i / found.columns.len(), i % found.columns.len());
        let of = |c: usize, p: usize, context: &dyn Fn(usize) -> usize| -> Vec<u8> {
            planes[p].iter().enumerate().filter(|(i, _)| context(*i) == c).map(|(_, &s)| s).collect()
        };
        let first: Vec<_> = (0..k).map(|c| add(of(c, leading(r.layout), &|i| found.context(place(i))), tables)).collect();
        let second = (0..m).map(|c| add(of(c, 1, &|i| found.deepen(place(i), planes[0][i])), tables)).collect();
        (found.tables, found.deep) = (first, second);
        Some(found)
    }

    fn context(&self, (row, column): (usize, usize)) -> usize {
        (self.rows[row] + self.columns[column]).min(self.tables.len() - 1)
    }

    fn deepen(&self, place: (usize, usize), exponent: u8) -> usize {
        let context = self.units * i64::from(exponent) - self.context(place) as i64 - self.bias;
        context.clamp(0, self.deep.len() as i64 - 1) as usize
    }

    /// The table of each symbol of plane `p` of a tile, whose elements lie where `place` says; none where the plane has no contexts.
    pub fn numbers(
        &self,
        layout: u8,
        p: usize,
        planes: &[Vec<u8>],
        place: impl Fn(usize) -> (usize, usize),
    ) -> Option<Vec<usize>> {
        let n = planes[p].len();
        if p == leading(layout) {
            Some((0..n).map(|i| self.tables[self.context(place(i))]).collect())
        } else if p == 1 && !self.deep.is_empty() {
            Some((0..n).map(|i| self.deep[self.deepen(place(i), planes[0][i])]).collect())
        } else {
            None
        }
    }

    /// Parameters and classes, and the number of the former in units of 16 bytes.
    pub fn head(&self) -> (Vec<u8>, u8) {
        let mut out = vec![self.tables.len() as u8, self.deep.len() as u8, self.units as u8, 0];
        out.extend((self.bias as i32).to_le_bytes());
        self.tables.iter().chain(&self.deep).for_each(|&n| out.extend((n as u16).to_le_bytes()));
        out.resize(out.len().next_multiple_of(16), 0);
        let params16 = (out.len() / 16) as u8;
        for classes in [&self.rows, &self.columns] {
            out.extend(classes.chunks(2).map(|two| (two[0] | two.get(1).unwrap_or(&0) << 4) as u8));
        }
        (out, params16)
    }
}
