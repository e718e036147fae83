//! Section 1.5: the base.

use super::layout::layout_shape;
use super::{Record, Result, dtype_bits, ensure, u16_at};

/// The names of section 1.2's table, by number.
const DTYPES: [&str; 23] = [
    "",
    "BOOL",
    "F4",
    "F6_E2M3",
    "F6_E3M2",
    "U8",
    "I8",
    "F8_E5M2",
    "F8_E4M3",
    "F8_E8M0",
    "F8_E4M3FNUZ",
    "F8_E5M2FNUZ",
    "I16",
    "U16",
    "F16",
    "BF16",
    "I32",
    "U32",
    "F32",
    "C64",
    "F64",
    "I64",
    "U64",
];

/// A base: a safetensors file.
pub(super) struct Base<'a> {
    data: &'a [u8],
    header: serde_json::Value,
}

impl<'a> Base<'a> {
    /// Whether it is the file is left to the hashes of its tensors.
    pub(super) fn open(file: &'a [u8], len: u64) -> Result<Self> {
        ensure(file.len() as u64 == len, "length of the base")?;
        let n = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
        let header = serde_json::from_slice(&file[8..8 + n]).map_err(|e| e.to_string())?;
        Ok(Self { data: &file[8 + n..], header })
    }

    fn tensor(&self, r: &Record) -> Result<&'a [u8]> {
        let t = &self.header[&r.name];
        let dtype = if r.dtype == 65535 { &r.dtype_name } else { DTYPES[usize::from(r.dtype)] };
        ensure(t["dtype"] == dtype && t["shape"] == serde_json::json!(r.shape), "the base has no such tensor")?;
        let at = |i: usize| t["data_offsets"][i].as_u64().unwrap() as usize;
        Ok(&self.data[at(0)..at(1)])
    }
}

/// How a record follows from the base.
pub(super) struct Differences<'a> {
    base: &'a [u8],
    /// 0: the same tensor.
    method: u8,
    k: usize,
    bias: usize,
    /// Tables of each plane that has contexts.
    tables: Vec<(usize, Vec<usize>)>,
}

impl<'a> Differences<'a> {
    pub(super) fn parse(r: &Record, p: &[u8], base: Option<&Base<'a>>, tables: usize) -> Result<Self> {
        let base = base.ok_or("a base that is not given")?.tensor(r)?;
        let hash = xxhash_rust::xxh3::xxh3_128(base);
        if p.is_empty() {
            ensure(r.tools == 2 && r.segment_len == 0, "the same tensor with something stored")?;
            ensure(hash == r.hash, "hash of the base's tensor")?;
            return Ok(Self { base, method: 0, k: 0, bias: 0, tables: Vec::new() });
        }
        ensure(p.len() >= 32, "parameters of a difference")?;
        let (contexts, p) = p.split_at(p.len() - 32);
        ensure(hash.to_le_bytes() == p[..16], "hash of the base's tensor")?;
        ensure(matches!(p[16], 1 | 2) && p[17..].iter().all(|&b| b == 0), "method of a difference")?;
        let (element, planes) = layout_shape(r.layout)?;
        let method = p[16];
        if method == 2 {
            let unit = unit(r)?;
            ensure(element % unit as u64 == 0, "an element that is no number")?;
        }
        let mut out = Self { base, method, k: 0, bias: 0, tables: Vec::new() };
        if r.tools & 1 == 0 {
            ensure(contexts.is_empty(), "parameters of no tool")?;
            return Ok(out);
        }
        ensure(contexts.len() >= 16 && r.layout <= 8, "contexts of a difference")?;
        (out.k, out.bias) = (usize::from(contexts[0]), usize::from(contexts[4]));
        let mask = contexts[1];
        ensure((1..=64).contains(&out.k) && mask != 0, "numbers of contexts")?;
        ensure([2, 3, 5, 6, 7].iter().all(|&i| contexts[i] == 0), "zeros of contexts")?;
        let mut at = 8;
        for plane in (0..8).filter(|p| mask >> p & 1 == 1) {
            ensure(plane < planes, "contexts of no plane")?;
            ensure(at + 2 * out.k <= contexts.len(), "tables of contexts")?;
            let numbers: Vec<_> = (0..out.k).map(|i| usize::from(u16_at(contexts, at + 2 * i))).collect();
            ensure(numbers.iter().all(|&n| n < tables), "a context's table")?;
            out.tables.push((plane, numbers));
            at += 2 * out.k;
        }
        ensure(contexts.len() == at.next_multiple_of(16), "length of the parameters")?;
        ensure(contexts[at..].iter().all(|&b| b == 0), "bytes after the parameters")?;
        Ok(out)
    }

    pub(super) fn is_same(&self) -> bool {
        self.method == 0
    }

    /// The table of each element of a plane; none where it has no contexts.
    pub(super) fn of_plane(
        &self,
        r: &Record,
        plane: usize,
        elements: usize,
        place: &dyn Fn(usize) -> (usize, usize),
    ) -> Result<Vec<usize>> {
        let (_, tables) = self.tables.iter().find(|t| t.0 == plane).ok_or("contexts in a plane that has none")?;
        let element = layout_shape(r.layout)?.0 as usize;
        let number = |i: usize| {
            let (row, column) = place(i);
            let at = row * r.row_bytes as usize + column * element;
            let high = usize::from(self.base[at + element - 1]);
            let low = if element > 1 { usize::from(self.base[at + element - 2]) } else { 0 };
            let e = (high << 1 | low >> 7) & 255;
            tables[e.saturating_sub(self.bias).min(self.k - 1)]
        };
        Ok((0..elements).map(number).collect())
    }

    /// The tensor from what its tiles hold.
    pub(super) fn undo(&self, r: &Record, z: &[u8]) -> Result<Vec<u8>> {
        match self.method {
            0 => Ok(self.base.to_vec()),
            1 => Ok(z.iter().zip(self.base).map(|(z, b)| z ^ b).collect()),
            _ => {
                let n = unit(r)?;
                let number = |bytes: &[u8]| bytes.iter().rev().fold(0u128, |n, &b| n << 8 | u128::from(b));
                let mut out = Vec::new();
                for (z, b) in z.chunks(n).zip(self.base.chunks(n)) {
                    let (z, b) = (number(z), number(b));
                    let x = if z & 1 == 1 { b.wrapping_sub((z >> 1) + 1) } else { b + (z >> 1) };
                    out.extend_from_slice(&x.to_le_bytes()[..n]);
                }
                Ok(out)
            }
        }
    }
}

/// Bytes of a number.
fn unit(r: &Record) -> Result<usize> {
    let bits = if r.dtype == 19 { 32 } else { dtype_bits(r.dtype)?.ok_or("numbers of an unknown type")? };
    ensure(bits % 8 == 0, "numbers of no whole bytes")?;
    Ok(bits as usize / 8)
}
