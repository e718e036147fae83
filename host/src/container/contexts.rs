//! Contexts of a tensor's symbols: which frequency table codes which symbol.
//!
//! Weights of one row, and of one column, have a scale in common. A class for each row and each column, in steps of a fraction of an octave, tells it:
//! the sum of the two is the context of an element's leading byte. What an exponent means for the mantissa under it depends on the
//! exponent's distance from that scale, which is the context of the second plane (*deep* contexts).
//!
//! Parameters: contexts K, deep contexts M, units, 0; bias (`i32`); the tables of the K contexts, then of the M deep ones (`u16` each); zeros to a
//! multiple of 16. Classes: rows, then columns, two to a byte, the first in the low half; each of the two begins on a byte.

use super::grid::TileRect;
use wcodec_device::planes::Layout;

/// Most contexts of a plane.
pub(crate) const MOST: usize = 64;
/// Bytes before the tables in the parameters.
const HEAD: usize = 8;

/// How a tensor's symbols find their tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Contexts {
    /// Classes of rows and of columns (elements), each below 16.
    pub rows: Vec<u8>,
    pub columns: Vec<u8>,
    /// Table of each context.
    pub tables: Vec<u16>,
    /// Table of each deep context; none where the second plane is not coded so.
    pub deep: Vec<u16>,
    /// Classes in an octave.
    pub units: u8,
    pub bias: i32,
}

/// Plane that the contexts of classes are for: the leading byte.
pub(crate) fn leading(layout: Layout) -> usize {
    match layout {
        Layout::Columns(n) => n as usize - 1,
        Layout::Bf16 | Layout::F32 | Layout::F8E4 => 0,
        // Blocks without such a field have no contexts.
        Layout::Blocks(blocks) => blocks.scale().unwrap_or(usize::MAX),
    }
}

/// Plane that deep contexts are for.
pub(crate) fn deep(layout: Layout) -> Option<usize> {
    matches!(layout, Layout::Bf16 | Layout::F32).then_some(1)
}

/// Reads the numbers of `count` tables (of so many that there are), which follow `head` bytes of parameters; after them come zeros to a multiple of
/// 16 bytes.
pub(super) fn table_numbers(rest: &[u8], head: usize, count: usize, tables: usize) -> Result<Vec<u16>, &'static str> {
    let used = 2 * count;
    if head + rest.len() != (head + used).next_multiple_of(16) || rest[used..].iter().any(|&b| b != 0) {
        return Err("its contexts do not have the length that they take");
    }
    let numbers: Vec<u16> = rest[..used].as_chunks::<2>().0.iter().map(|&b| u16::from_le_bytes(b)).collect();
    if numbers.iter().any(|&n| n as usize >= tables) {
        return Err("a context without a frequency table");
    }
    Ok(numbers)
}

impl Contexts {
    /// Reads what heads a directory. The classes have the length that rows and columns take.
    pub(crate) fn read(
        params: &[u8],
        classes: &[u8],
        rows: usize,
        columns: usize,
        layout: Layout,
        tables: usize,
    ) -> Result<Self, &'static str> {
        let (head, rest) = params.split_first_chunk::<HEAD>().ok_or("no parameters")?;
        let [contexts, deep_contexts, units, zero, b0, b1, b2, b3] = *head;
        let (k, m) = (contexts as usize, deep_contexts as usize);
        if k == 0 || k > MOST || m > MOST || zero != 0 || (m > 0 && deep(layout).is_none()) {
            return Err("impossible numbers of contexts");
        }
        let mut numbers = table_numbers(rest, HEAD, k + m, tables)?;
        let bias = i32::from_le_bytes([b0, b1, b2, b3]);
        if bias.unsigned_abs() > 1 << 16 {
            return Err("impossible bias of contexts");
        }
        let (row_bytes, column_bytes) = classes.split_at_checked(rows.div_ceil(2)).ok_or("classes cut short")?;
        Ok(Self {
            rows: unpack(row_bytes, rows),
            columns: unpack(column_bytes, columns),
            deep: numbers.split_off(k),
            tables: numbers,
            units,
            bias,
        })
    }

    /// Parameters, then classes, as [`read`](Self::read) takes them.
    pub(crate) fn write(&self) -> (Vec<u8>, Vec<u8>) {
        let mut params = vec![self.tables.len() as u8, self.deep.len() as u8, self.units, 0];
        params.extend(self.bias.to_le_bytes());
        self.tables.iter().chain(&self.deep).for_each(|n| params.extend(n.to_le_bytes()));
        params.resize(params.len().next_multiple_of(16), 0);
        (params, [pack(&self.rows), pack(&self.columns)].concat())
    }

    /// The context of every element of a tile whose rows have `record`-byte elements, row by row.
    pub(crate) fn of_tile(&self, rect: TileRect, record: usize, out: &mut Vec<u8>) {
        let first = rect.column as usize / record;
        let columns = &self.columns[first..first + rect.width / record];
        let last = self.tables.len() as u8 - 1;
        out.clear();
        for &row in &self.rows[rect.row as usize..][..rect.rows] {
            out.extend(columns.iter().map(|&column| (row + column).min(last)));
        }
    }

    /// Turns contexts of elements into deep ones, given their exponents. There is at least one.
    pub(crate) fn deepen(&self, contexts: &mut [u8], exponents: &[u8]) {
        let (units, last) = (self.units as i32, self.deep.len() as i32 - 1);
        for (context, &exponent) in contexts.iter_mut().zip(exponents) {
            *context = (units * exponent as i32 - *context as i32 - self.bias).clamp(0, last) as u8;
        }
    }
}

fn pack(classes: &[u8]) -> Vec<u8> {
    classes.chunks(2).map(|two| two[0] | two.get(1).map_or(0, |high| high << 4)).collect()
}

fn unpack(bytes: &[u8], n: usize) -> Vec<u8> {
    let mut classes: Vec<u8> = bytes.iter().flat_map(|&b| [b & 15, b >> 4]).collect();
    classes.truncate(n);
    classes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Contexts {
        Contexts {
            rows: vec![0, 15, 3],
            columns: vec![1, 2, 14, 0, 9],
            tables: (0..20).collect(),
            deep: vec![7; 33],
            units: 4,
            bias: -476,
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let contexts = sample();
        let (params, classes) = contexts.write();
        let read = |params: &[u8], classes: &[u8], layout, tables| Contexts::read(params, classes, 3, 5, layout, tables);
        assert_eq!(read(&params, &classes, Layout::Bf16, 20).unwrap(), contexts);
        assert!(read(&params, &classes, Layout::Bf16, 19).is_err(), "a table that is not there");
        assert!(read(&params, &classes, Layout::Columns(2), 20).is_err(), "deep contexts of a layout without");
        for n in 0..params.len() {
            assert!(read(&params[..n], &classes, Layout::Bf16, 20).is_err(), "{n}");
        }
        assert!(read(&params, &classes[..1], Layout::Bf16, 20).is_err());
    }

    #[test]
    fn contexts_of_a_tile_stay_in_range() {
        let contexts = sample();
        let mut out = Vec::new();
        contexts.of_tile(TileRect { row: 1, rows: 2, column: 4, width: 6 }, 2, &mut out);
        assert_eq!(out, [19, 15, 19, 17, 3, 12]);
        contexts.deepen(&mut out, &[0, 255, 127, 127, 1, 2]);
        assert!(out.iter().all(|&c| c < 33));
    }
}
