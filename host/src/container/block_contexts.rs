//! Contexts of blocks with a step and a minimum (Q4_1, Q5_1): what these say of the numbers and of each other.
//!
//! A block's numbers lie around zero, so their ranks lie around -minimum / step. And the minimum is about as large as the step.
//!
//! Parameters: planes (bit p: plane p has contexts), bias, 14 zeros; the 32 tables (`u16` each) of each of these planes; zeros to a multiple of 16.

use super::contexts::table_numbers;
use wcodec_device::planes::affine;
pub(crate) use wcodec_device::planes::affine::zero;
use wcodec_device::planes::{Blocks, Layout};

/// Contexts of a plane.
pub(crate) const CONTEXTS: usize = affine::CONTEXTS as usize;
/// Planes of a step and a minimum: two halves, low byte first.
pub(crate) const SCALES: usize = 4;
/// The plane that the other planes of scales have contexts by: the step's upper byte.
pub(crate) const STEP: usize = 1;
const HEAD: usize = 16;

/// How the symbols of blocks find their tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct BlockContexts {
    /// The step's upper byte whose context is 0.
    pub bias: u8,
    /// Table of each context in each plane; none in planes without.
    pub planes: Vec<Vec<u16>>,
}

/// The blocks of a layout, if they have a step and a minimum.
pub(crate) fn affine(layout: Layout) -> Option<Blocks> {
    match layout {
        Layout::Blocks(blocks) if matches!(blocks.name(), "Q4_1" | "Q5_1") => Some(blocks),
        _ => None,
    }
}

impl BlockContexts {
    /// Reads what heads a directory.
    pub(crate) fn read(params: &[u8], layout: Layout, tables: usize) -> Result<Self, &'static str> {
        let (head, rest) = params.split_first_chunk::<HEAD>().ok_or("no parameters of contexts")?;
        let [mask, bias, zeros @ ..] = head;
        let Some(blocks) = affine(layout) else { return Err("contexts of blocks that have none") };
        if zeros.iter().any(|&b| b != 0) {
            return Err("unknown parameters of contexts");
        }
        if *mask == 0 || *mask as u32 >> blocks.fields().len() != 0 || mask >> STEP & 1 != 0 {
            return Err("contexts of a plane that has none");
        }
        let numbers = table_numbers(rest, HEAD, CONTEXTS * mask.count_ones() as usize, tables)?;
        let mut numbers = numbers.chunks(CONTEXTS);
        let planes = (0..blocks.fields().len()).map(|p| match mask >> p & 1 {
            1 => numbers.next().unwrap_or_default().to_vec(),
            _ => Vec::new(),
        });
        Ok(Self { bias: *bias, planes: planes.collect() })
    }

    /// What [`read`](Self::read) reads.
    pub(crate) fn write(&self) -> Vec<u8> {
        let mask = self.planes.iter().enumerate().filter(|(_, t)| !t.is_empty()).fold(0, |mask, (p, _)| mask | 1 << p);
        let mut params = vec![0; HEAD];
        (params[0], params[1]) = (mask, self.bias);
        self.planes.iter().flatten().for_each(|n| params.extend(n.to_le_bytes()));
        params.resize(params.len().next_multiple_of(16), 0);
        params
    }

    /// The context of every symbol of plane `p`, of `width` bytes a block, given the planes of scales that it depends on.
    pub(crate) fn of_plane(&self, p: usize, width: usize, planes: &[Vec<u8>], blocks: usize, out: &mut Vec<u8>) {
        out.clear();
        let [low, high, minimum_low, minimum_high] = [0, 1, 2, 3].map(|s| planes[s].iter());
        if p < SCALES {
            out.extend(high.take(blocks).map(|&high| by_step(high, self.bias)));
            return;
        }
        let scales = low.zip(high).zip(minimum_low.zip(minimum_high)).take(blocks);
        for ((&a, &b), (&c, &d)) in scales {
            out.extend(std::iter::repeat_n(zero(u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d])), width));
        }
    }
}

/// The context of a plane of scales.
pub(crate) fn by_step(high: u8, bias: u8) -> u8 {
    high.saturating_sub(bias).min(CONTEXTS as u8 - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::f16;

    #[test]
    fn zero_is_where_the_numbers_say() {
        let of = |step: f32, minimum: f32| zero(f16::from_f32(step).to_bits(), f16::from_f32(minimum).to_bits());
        assert_eq!((of(1.0, -7.5), of(0.25, -1.0), of(-0.25, 1.0), of(0.5, 0.5), of(0.0, -1.0)), (15, 8, 8, 0, 0));
        assert_eq!((of(1.0, -1000.0), of(60000.0, -6e-8), of(6e-8, -60000.0), of(1.0, 0.0)), (31, 0, 31, 0));
        // Exact in f64.
        for i in 0..40_000u32 {
            let (a, b) = ((i.wrapping_mul(2654435761) >> 16) as u16, (i.wrapping_mul(40503) >> 1) as u16);
            let (step, minimum) = (f16::from_bits(a), f16::from_bits(b));
            if step.is_finite() && minimum.is_finite() && step.to_bits() << 1 != 0 && minimum.to_bits() << 1 != 0 {
                let expected = (-2.0 * minimum.to_f64() / step.to_f64() + 0.5).floor().clamp(0.0, 31.0);
                assert_eq!(zero(a, b) as f64, expected, "{step} {minimum}");
            }
        }
    }

    #[test]
    fn parameters_come_back() {
        let layout = crate::Dtype::Q4_1.layout();
        let mut contexts = BlockContexts { bias: 7, planes: vec![Vec::new(); 5] };
        contexts.planes[3] = (0..32).collect();
        contexts.planes[4] = (32..64).collect();
        let params = contexts.write();
        assert_eq!(BlockContexts::read(&params, layout, 64), Ok(contexts));
        assert!(BlockContexts::read(&params, layout, 63).is_err(), "a table that is not there");
        assert!(BlockContexts::read(&params, crate::Dtype::Q4_0.layout(), 64).is_err());
        assert!(BlockContexts::read(&params, Layout::F32, 64).is_err());
        (0..params.len()).for_each(|n| assert!(BlockContexts::read(&params[..n], layout, 64).is_err(), "{n}"));
        for (at, value) in [(0, 0), (0, 2), (0, 32), (2, 1), (15, 1)] {
            let mut other = params.clone();
            other[at] = value;
            assert!(BlockContexts::read(&other, layout, 64).is_err(), "{at}");
        }
    }
}
