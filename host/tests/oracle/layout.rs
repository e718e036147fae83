//! Section 3: layouts.

use super::Result;
use super::blocks::fields;

/// A layout's element size and number of planes.
pub(super) fn layout_shape(layout: u8) -> Result<(u64, usize)> {
    match layout {
        1..=64 => Ok((u64::from(layout), usize::from(layout))),
        128 => Ok((2, 2)),
        129 => Ok((4, 4)),
        130 => Ok((1, 2)),
        144.. => fields(u16::from(layout) - 144).map(|f| (f.iter().sum::<usize>() as u64, f.len())),
        _ => Err(format!("layout {layout}")),
    }
}

/// `e` elements from their planes.
pub(super) fn join(layout: u8, planes: &[Vec<u8>], e: usize) -> Vec<u8> {
    let mut out = Vec::new();
    match layout {
        128 => {
            let half = |j: usize| u16::from(planes[0][j]) << 8 | u16::from(planes[1][j]);
            for i in 0..e / 2 {
                let w = u32::from(half(2 * i)) | u32::from(half(2 * i + 1)) << 16;
                out.extend_from_slice(&w.rotate_right(1).to_le_bytes());
            }
            if e % 2 == 1 {
                out.extend_from_slice(&half(e - 1).rotate_right(1).to_le_bytes());
            }
        }
        129 => {
            for i in 0..e {
                let w = u32::from_be_bytes([planes[0][i], planes[1][i], planes[2][i], planes[3][i]]);
                out.extend_from_slice(&w.rotate_right(1).to_le_bytes());
            }
        }
        130 => {
            // The shift drops what is above four bits.
            let byte = |j: usize| planes[0][j] << 4 | (planes[1][j / 2] >> (4 * (j % 2)) & 15);
            for i in 0..e / 4 {
                let w = u32::from_le_bytes([byte(4 * i), byte(4 * i + 1), byte(4 * i + 2), byte(4 * i + 3)]);
                out.extend_from_slice(&w.rotate_right(1).to_le_bytes());
            }
            for j in e / 4 * 4..e {
                out.push(byte(j).rotate_right(1));
            }
        }
        144.. => {
            let widths = fields(u16::from(layout) - 144).unwrap();
            for i in 0..e {
                for (plane, &width) in planes.iter().zip(&widths) {
                    out.extend_from_slice(&plane[i * width..(i + 1) * width]);
                }
            }
        }
        n => {
            for i in 0..e {
                for plane in &planes[..usize::from(n)] {
                    out.push(plane[i]);
                }
            }
        }
    }
    out
}
