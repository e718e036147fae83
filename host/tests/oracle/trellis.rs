//! Section 1.6: trellises.

use super::{Record, Result, ensure};

/// What heads the directory of a tensor with a trellis, after the parameters of contexts.
pub(super) struct Trellis {
    a: u32,
    b: u32,
}

impl Trellis {
    /// Takes its parameters off the end.
    pub(super) fn parse(r: &Record, parameters: &mut &[u8]) -> Result<Option<Self>> {
        if r.tools & 64 == 0 {
            return Ok(None);
        }
        ensure(parameters.len() >= 16, "no parameters of a trellis")?;
        let (before, own) = parameters.split_at(parameters.len() - 16);
        ensure(own[2..].iter().all(|&z| z == 0), "zeros of a trellis")?;
        *parameters = before;
        Ok(Some(Self { a: own[0].into(), b: own[1].into() }))
    }

    /// Numbers of what is stored, column by column.
    pub(super) fn undo(&self, r: &Record, stored: &[u8]) -> Vec<u8> {
        let (rows, columns) = (r.rows as usize, r.row_bytes as usize);
        let mut out = vec![0; stored.len()];
        for column in 0..columns {
            let mut s = 0u32;
            for row in 0..rows {
                if row as u64 % r.tile_rows == 0 {
                    s = 0;
                }
                let (odd, k) = (s % 2, u32::from(stored[row * columns + column]));
                out[row * columns + column] = ((2 * k + odd) % 256) as u8;
                s /= 2;
                if odd == 1 {
                    s ^= self.a;
                }
                if k % 2 == 1 {
                    s ^= self.b;
                }
            }
        }
        out
    }
}
