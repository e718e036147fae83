//! BF16, the nearest, ties to even.

use super::{Layout, Rows, each_row};
use crate::architectures::SourceTensor;
use crate::error::Result;
use half::bf16;
use wcodec::Dtype;

pub(super) fn layouts(tensor: &SourceTensor) -> Vec<Layout> {
    vec![Layout::new(&tensor.name, Dtype::BF16, tensor.shape.clone())]
}

pub(super) fn quantize(tensor: &SourceTensor, rows: &dyn Rows) -> Result<Vec<Vec<u8>>> {
    let mut out = Vec::with_capacity(2 * tensor.weights() as usize);
    each_row(tensor, rows, |row| out.extend(row.iter().flat_map(|&v| bf16::from_f32(v).to_le_bytes())))?;
    Ok(vec![out])
}

#[cfg(test)]
mod tests {
    use crate::quantize::{Quant, tests::quantized};

    #[test]
    fn rounds_to_the_nearest() {
        assert_eq!(quantized(Quant::Bf16, 3, &[1.0, -2.0, 1.001]), [vec![0x80, 0x3f, 0x00, 0xc0, 0x80, 0x3f]]);
    }
}
