//! Section 3.1: blocks; and RFC 1951.

use super::{Record, Result, ensure, u16_at};

/// Type, numbers in a block, bytes of its fields.
const TYPES: &[(u16, u64, &[usize])] = &[
    (2, 32, &[1, 1, 16]),
    (3, 32, &[1, 1, 1, 1, 16]),
    (6, 32, &[1, 1, 4, 16]),
    (7, 32, &[1, 1, 1, 1, 4, 16]),
    (8, 32, &[1, 1, 32]),
    (9, 32, &[1, 1, 1, 1, 32]),
    (10, 256, &[16, 64, 1, 1, 1, 1]),
    (11, 256, &[32, 64, 12, 1, 1]),
    (12, 256, &[1, 1, 1, 1, 12, 128]),
    (13, 256, &[1, 1, 1, 1, 12, 32, 128]),
    (14, 256, &[128, 64, 16, 1, 1]),
    (15, 256, &[1, 1, 1, 1, 128, 128, 32]),
    (16, 256, &[1, 1, 64]),
    (17, 256, &[1, 1, 64, 8]),
    (18, 256, &[1, 1, 64, 32]),
    (19, 256, &[1, 1, 32, 16]),
    (20, 32, &[1, 1, 16]),
    (21, 256, &[1, 1, 64, 8, 32, 4]),
    (22, 256, &[1, 1, 32, 32, 8, 8]),
    (23, 256, &[1, 1, 2, 4, 128]),
    (29, 256, &[32, 16, 8]),
    (34, 256, &[48, 4, 1, 1]),
    (35, 256, &[64, 1, 1]),
    (39, 32, &[1, 16]),
    (40, 64, &[4, 32]),
    (41, 128, &[1, 1, 16]),
    (42, 64, &[1, 1, 16]),
];

/// The fields of the blocks of a type.
pub(super) fn fields(t: u16) -> Result<Vec<usize>> {
    TYPES.iter().find(|f| f.0 == t).map(|f| f.2.to_vec()).ok_or(format!("blocks {t}"))
}

/// Rows and bytes a row of a shape of blocks.
pub(super) fn grid(dtype: u16, shape: &[u64]) -> Option<(u64, u64)> {
    let (_, numbers, fields) = TYPES.iter().find(|f| f.0 == dtype - 256)?;
    let (last, others) = shape.split_last()?;
    if last % numbers != 0 {
        return None;
    }
    let bytes: usize = fields.iter().sum();
    Some((super::product(others)?, last / numbers * bytes as u64))
}

/// The leading plane; one that there is not where blocks have none.
pub(super) fn leading_of(layout: u8) -> Result<usize> {
    let f = fields(u16::from(layout) - 144)?;
    for p in 1..f.len() {
        if f[p - 1] == 1 && f[p] == 1 {
            return Ok(p);
        }
    }
    Ok(f.iter().position(|&w| w == 1).unwrap_or(99))
}

pub(super) fn has_scales(r: &Record) -> bool {
    r.tools & 3 == 1 && matches!(r.layout, 147 | 151)
}

/// Contexts of blocks with a step and a minimum.
pub(super) struct Scales {
    bias: u8,
    /// The tables of each plane.
    planes: Vec<Option<Vec<usize>>>,
}

impl Scales {
    pub(super) fn parse(r: &Record, p: &[u8], tables: usize) -> Result<Self> {
        ensure(p.len() >= 16 && p[2..16].iter().all(|&b| b == 0), "parameters of blocks")?;
        let mut at = 16;
        let mut planes = Vec::new();
        ensure(p[0] != 0 && p[0] & 2 == 0 && p[0] >> r.planes.len() == 0, "planes with contexts")?;
        for plane in 0..r.planes.len() {
            if p[0] >> plane & 1 == 0 {
                planes.push(None);
                continue;
            }
            ensure(p.len() >= at + 64, "tables of contexts")?;
            let numbers: Vec<usize> = (0..32).map(|i| usize::from(u16_at(p, at + 2 * i))).collect();
            ensure(numbers.iter().all(|&n| n < tables), "a context's table")?;
            planes.push(Some(numbers));
            at += 64;
        }
        ensure(p.len() == at.next_multiple_of(16), "length of the parameters")?;
        Ok(Self { bias: p[1], planes })
    }

    /// The table of each symbol of a plane.
    pub(super) fn of_plane(&self, p: usize, width: usize, planes: &[Vec<u8>], blocks: usize) -> Result<Vec<usize>> {
        let tables = self.planes.get(p).and_then(Option::as_ref).ok_or("contexts in a plane that has none")?;
        let mut out = Vec::new();
        for i in 0..blocks {
            let context = if p < 4 {
                planes[1][i].saturating_sub(self.bias).min(31) as usize
            } else {
                let half = |at: usize| exact(u16::from_le_bytes([planes[at][i], planes[at + 1][i]]));
                let (d, m) = (half(0), half(2));
                if d == 0.0 { 0 } else { (-2.0 * m / d + 0.5).floor().clamp(0.0, 31.0) as usize }
            };
            out.extend(std::iter::repeat_n(tables[context], width));
        }
        Ok(out)
    }
}

/// A half-precision float, all exponents alike. (The quotient of two has few enough bits that rounding it to `f64` does not move it past a half.)
fn exact(x: u16) -> f64 {
    let (e, f) = (i32::from(x >> 10 & 31), f64::from(x & 1023));
    let magnitude = if e == 0 { f * 2f64.powi(-24) } else { (f + 1024.0) * 2f64.powi(e - 25) };
    if x >> 15 == 1 { -magnitude } else { magnitude }
}

/// The first `b` bytes of a raw DEFLATE stream that has no more.
pub(super) fn inflate(stream: &[u8], b: usize) -> Result<Vec<u8>> {
    let mut bits = Bits { stream, at: 0 };
    let mut out = Vec::new();
    loop {
        let (last, kind) = (bits.take(1)?, bits.take(2)?);
        match kind {
            0 => {
                bits.at = bits.at.next_multiple_of(8);
                let (len, check) = (bits.take(16)?, bits.take(16)?);
                ensure(len == check ^ 0xffff, "length of a stored block")?;
                for _ in 0..len {
                    out.push(bits.take(8)? as u8);
                }
            }
            1 => {
                let literals: Vec<u8> = (0..288)
                    .map(|i| match i {
                        0..=143 | 280.. => 8,
                        144..=255 => 9,
                        _ => 7,
                    })
                    .collect();
                block(&mut bits, &literals, &[5; 30], &mut out)?;
            }
            2 => {
                let counts = [bits.take(5)? + 257, bits.take(5)? + 1, bits.take(4)? + 4];
                let mut lengths = [0; 19];
                let order = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
                for &i in &order[..counts[2]] {
                    lengths[i] = bits.take(3)? as u8;
                }
                let mut all: Vec<u8> = Vec::new();
                while all.len() < counts[0] + counts[1] {
                    let (value, times) = match bits.symbol(&lengths)? {
                        16 => (*all.last().ok_or("nothing to repeat")?, 3 + bits.take(2)?),
                        17 => (0, 3 + bits.take(3)?),
                        18 => (0, 11 + bits.take(7)?),
                        length => (length as u8, 1),
                    };
                    all.resize(all.len() + times, value);
                }
                block(&mut bits, &all[..counts[0]], &all[counts[0]..counts[0] + counts[1]], &mut out)?;
            }
            _ => return Err("kind of a DEFLATE block".into()),
        }
        ensure(out.len() <= b, "a DEFLATE stream of too many bytes")?;
        if last == 1 {
            break;
        }
    }
    ensure(out.len() == b, "a DEFLATE stream of too few bytes")?;
    Ok(out)
}

fn block(bits: &mut Bits<'_>, literals: &[u8], distances: &[u8], out: &mut Vec<u8>) -> Result<()> {
    // What a length or distance begins at, and its extra bits.
    let step = |i: usize, per: usize| if i < 2 * per { (i, 0) } else { (((i % per) + per) << (i / per - 1), i / per - 1) };
    loop {
        match bits.symbol(literals)? {
            literal @ 0..=255 => out.push(literal as u8),
            256 => return Ok(()),
            code => {
                let (first, extra) = if code == 285 { (255, 0) } else { step(code - 257, 4) };
                let length = 3 + first + bits.take(extra)?;
                let (first, extra) = step(bits.symbol(distances)?, 2);
                let distance = 1 + first + bits.take(extra)?;
                ensure(distance <= out.len(), "a distance before the first byte")?;
                for _ in 0..length {
                    out.push(out[out.len() - distance]);
                }
            }
        }
    }
}

struct Bits<'a> {
    stream: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn take(&mut self, n: usize) -> Result<usize> {
        let mut value = 0;
        for i in 0..n {
            let byte = self.stream.get(self.at / 8).ok_or("a DEFLATE stream ends early")?;
            value |= usize::from(byte >> (self.at % 8) & 1) << i;
            self.at += 1;
        }
        Ok(value)
    }

    /// One symbol of a canonical code of these lengths.
    fn symbol(&mut self, lengths: &[u8]) -> Result<usize> {
        let (mut code, mut first) = (0, 0);
        for length in 1..=15 {
            code |= self.take(1)?;
            let of_length: Vec<usize> = (0..lengths.len()).filter(|&s| usize::from(lengths[s]) == length).collect();
            if code >= first && code - first < of_length.len() {
                return Ok(of_length[code - first]);
            }
            first = (first + of_length.len()) << 1;
            code <<= 1;
        }
        Err("a code of DEFLATE that there is not".into())
    }
}
