//! Products of a matrix's columns with each other: half of them, as the others are the same.

use crate::Result;
use candle_core::Tensor;

/// Columns whose products with those before them are one product of matrices.
const BLOCK: usize = 192;

/// xᵀ x of `rows × columns`, row after row.
pub(crate) fn gram(x: &Tensor) -> Result<Vec<f32>> {
    let columns = x.dim(1)?;
    let transposed = x.t()?;
    let mut out = vec![0f32; columns * columns];
    for first in (0..columns).step_by(BLOCK) {
        let last = columns.min(first + BLOCK);
        let product = transposed.narrow(0, first, last - first)?.matmul(&x.narrow(1, 0, last)?)?;
        for (i, row) in (first..last).zip(product.flatten_all()?.to_vec1::<f32>()?.chunks_exact(last)) {
            out[i * columns..][..=i].copy_from_slice(&row[..=i]);
        }
    }
    for i in 0..columns {
        for j in 0..i {
            out[j * columns + i] = out[i * columns + j];
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn all_products() {
        for (rows, columns) in [(1, 1), (3, 7), (5, BLOCK), (9, BLOCK + 1), (4, 2 * BLOCK + 30)] {
            let x: Vec<f32> = (0..rows * columns).map(|i| ((i * 37 % 101) as f32 - 50.0) / 16.0).collect();
            let found = gram(&Tensor::from_slice(&x, (rows, columns), &Device::Cpu).expect("a tensor")).expect("products");
            for i in 0..columns {
                for j in 0..columns {
                    let product: f32 = (0..rows).map(|r| x[r * columns + i] * x[r * columns + j]).sum();
                    assert!((found[i * columns + j] - product).abs() < 1e-3, "{rows} × {columns}: {i}, {j}");
                }
            }
        }
    }
}
