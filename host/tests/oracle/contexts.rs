//! Section 1.4: contexts.

use super::blocks::has_scales;
use super::layout::layout_shape;
use super::{Record, Result, ensure, take, u16_at, u32_at};

/// What heads the directory of a tensor with contexts.
pub(super) struct Contexts {
    tables: Vec<usize>,
    deep: Vec<usize>,
    units: i64,
    bias: i64,
    rows: Vec<usize>,
    columns: Vec<usize>,
}

fn columns(r: &Record) -> Option<u64> {
    Some(r.row_bytes / layout_shape(r.layout).ok()?.0)
}

/// Bytes of the classes.
pub(super) fn classes_len(r: &Record) -> Option<u64> {
    if r.tools & 3 != 1 || has_scales(r) { Some(0) } else { r.rows.div_ceil(2).checked_add(columns(r)?.div_ceil(2)) }
}

impl Contexts {
    /// Takes the classes off the front of `rest`.
    pub(super) fn parse(r: &Record, p: &[u8], rest: &mut &[u8], tables: usize) -> Result<Self> {
        ensure(p.len() >= 16, "no parameters of contexts")?;
        let (k, m) = (usize::from(p[0]), usize::from(p[1]));
        ensure((1..=64).contains(&k) && m <= 64 && p[3] == 0, "numbers of contexts")?;
        ensure(m == 0 || matches!(r.layout, 128 | 129), "deep contexts of a layout that has none")?;
        ensure(p.len() == (8 + 2 * (k + m)).next_multiple_of(16), "length of the parameters")?;
        ensure(p[8 + 2 * (k + m)..].iter().all(|&b| b == 0), "bytes after the parameters")?;
        let numbers: Vec<usize> = (0..k + m).map(|i| usize::from(u16_at(p, 8 + 2 * i))).collect();
        ensure(numbers.iter().all(|&n| n < tables), "a context's table")?;
        let bias = i64::from(u32_at(p, 4) as i32);
        ensure((-65536..=65536).contains(&bias), "bias")?;
        let mut classes = |n: u64| -> Result<Vec<usize>> {
            let bytes = take(rest, n.div_ceil(2))?;
            Ok((0..n as usize).map(|i| usize::from(bytes[i / 2] >> (4 * (i % 2)) & 15)).collect())
        };
        Ok(Self {
            rows: classes(r.rows)?,
            columns: classes(columns(r).ok_or("columns")?)?,
            tables: numbers[..k].to_vec(),
            deep: numbers[k..].to_vec(),
            units: i64::from(p[2]),
            bias,
        })
    }

    fn context(&self, (row, column): (usize, usize)) -> usize {
        (self.rows[row] + self.columns[column]).min(self.tables.len() - 1)
    }

    /// The table of each element of a tile's leading plane.
    pub(super) fn of_leading(&self, elements: usize, place: &dyn Fn(usize) -> (usize, usize)) -> Vec<usize> {
        (0..elements).map(|i| self.tables[self.context(place(i))]).collect()
    }

    /// The table of each element of a tile's deep plane.
    pub(super) fn of_deep(&self, exponents: &[u8], place: &dyn Fn(usize) -> (usize, usize)) -> Result<Vec<usize>> {
        ensure(!self.deep.is_empty(), "deep contexts where there are none")?;
        let number = |(i, &e): (usize, &u8)| {
            let context = self.units * i64::from(e) - self.context(place(i)) as i64 - self.bias;
            self.deep[context.clamp(0, self.deep.len() as i64 - 1) as usize]
        };
        Ok(exponents.iter().enumerate().map(number).collect())
    }
}
