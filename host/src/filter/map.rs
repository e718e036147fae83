//! Bytes of a tile to signed integers whose order is that of the values, and back.

use super::Ring;
use wcodec_device::filter::unzigzag;
pub(crate) use wcodec_device::filter::{Map, zigzag};

/// Elements of `ring`'s bits, packed from the lowest bit of each byte on or of 1, 2 or 4 bytes.
pub(crate) fn read(map: Map, ring: Ring, bytes: &[u8], out: &mut Vec<i32>) {
    out.clear();
    let of = |x: i32| map.apply(ring, ring.wrap(x));
    match ring.bits() {
        4 => out.extend(bytes.iter().flat_map(|&b| [of(b as i32), of((b >> 4) as i32)])),
        8 => out.extend(bytes.iter().map(|&b| of(b as i32))),
        16 => out.extend(bytes.as_chunks::<2>().0.iter().map(|&b| of(u16::from_le_bytes(b) as i32))),
        _ => out.extend(bytes.as_chunks::<4>().0.iter().map(|&b| of(i32::from_le_bytes(b)))),
    }
}

/// Inverse of [`read`]. `bytes` have room for all of them.
pub(crate) fn write(map: Map, ring: Ring, values: &[i32], bytes: &mut [u8]) {
    let of = |x: i32| map.apply(ring, x);
    pack(ring, values, bytes, of);
}

/// Residuals as small numbers without a sign, even ones for those that have none.
pub(crate) fn write_residuals(ring: Ring, residuals: &[i32], bytes: &mut [u8]) {
    pack(ring, residuals, bytes, zigzag);
}

/// Inverse of [`write_residuals`].
pub(crate) fn read_residuals(ring: Ring, bytes: &[u8], out: &mut Vec<i32>) {
    read(Map::Signed, ring, bytes, out);
    out.iter_mut().for_each(|x| *x = unzigzag(ring, *x));
}

fn pack(ring: Ring, values: &[i32], bytes: &mut [u8], of: impl Fn(i32) -> i32) {
    match ring.bits() {
        4 => {
            for (b, x) in bytes.iter_mut().zip(values.as_chunks::<2>().0) {
                *b = of(x[0]) as u8 & 15 | (of(x[1]) as u8) << 4;
            }
        }
        8 => bytes.iter_mut().zip(values).for_each(|(b, &x)| *b = of(x) as u8),
        16 => bytes.as_chunks_mut::<2>().0.iter_mut().zip(values).for_each(|(b, &x)| *b = (of(x) as u16).to_le_bytes()),
        _ => bytes.as_chunks_mut::<4>().0.iter_mut().zip(values).for_each(|(b, &x)| *b = of(x).to_le_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn all_come_back(mut bytes in prop::collection::vec(any::<u8>(), 0..200), bits in prop::sample::select(vec![4u32, 8, 16, 32])) {
            bytes.truncate(bytes.len() / 4 * 4);
            let ring = Ring::new(bits);
            let (mut values, mut residuals, mut back) = (Vec::new(), Vec::new(), vec![0; bytes.len()]);
            for map in [Map::Signed, Map::Float, Map::Unsigned] {
                read(map, ring, &bytes, &mut values);
                prop_assert!(values.iter().all(|&x| ring.wrap(x) == x));
                write(map, ring, &values, &mut back);
                prop_assert_eq!(&back, &bytes);
                write_residuals(ring, &values, &mut back);
                read_residuals(ring, &back, &mut residuals);
                prop_assert_eq!(&residuals, &values);
            }
        }
    }

    #[test]
    fn order_is_kept() {
        let ring = Ring::new(16);
        let mut floats: Vec<u16> = [-2.0f32, -1.0, -1e-3, -0.0, 0.0, 1e-3, 1.0, 2.0].map(|x| (x.to_bits() >> 16) as u16).into();
        let mut values = Vec::new();
        read(Map::Float, ring, bytemuck::cast_slice(&floats), &mut values);
        assert!(values.is_sorted_by(|a, b| a < b), "{values:?}");
        floats = vec![0, 1, 0x7fff, 0x8000, 0xffff];
        read(Map::Unsigned, ring, bytemuck::cast_slice(&floats), &mut values);
        assert!(values.is_sorted_by(|a, b| a < b), "{values:?}");
    }
}
