//! Planes back to elements: plain loops for the compiler to vectorise, inlined into a copy for each instruction set (see `tile.rs`).

use wcodec_device::planes::{join_bf16, join_f8e4, unpair, unrotate};

/// A plane 0 of exponents, as a join reads it.
#[derive(Clone, Copy)]
pub(super) enum Exponents<'a> {
    /// One a byte.
    Bytes(&'a [u8]),
    /// Two a byte, ranks above the base.
    Pairs(&'a [u8], u8),
}

/// Fields of `width` bytes to byte `first` of blocks of `block` bytes.
#[inline(always)]
pub(super) fn fields(plane: &[u8], width: usize, first: usize, block: usize, out: &mut [u8]) {
    #[inline(always)]
    fn all<const WIDTH: usize>(plane: &[u8], first: usize, block: usize, out: &mut [u8]) {
        for (field, block) in plane.as_chunks::<WIDTH>().0.iter().zip(out.chunks_exact_mut(block)) {
            block[first..first + WIDTH].copy_from_slice(field);
        }
    }
    // Those that most blocks have are moved in registers.
    match width {
        1 => all::<1>(plane, first, block, out),
        4 => all::<4>(plane, first, block, out),
        16 => all::<16>(plane, first, block, out),
        32 => all::<32>(plane, first, block, out),
        64 => all::<64>(plane, first, block, out),
        128 => all::<128>(plane, first, block, out),
        _ => {
            for (field, block) in plane.chunks_exact(width).zip(out.chunks_exact_mut(block)) {
                block[first..first + width].copy_from_slice(field);
            }
        }
    }
}

/// BF16 from pair symbols: `out.len()` is a multiple of 4, `pairs.len() * 4 == out.len()`, `raw.len() * 2 == out.len()`.
#[inline(always)]
pub(super) fn bf16_pairs(pairs: &[u8], base: u8, raw: &[u8], out: &mut [u8]) {
    // The two exponents go to bytes 1 and 3 in one multiplication-free spread; `base <= 240` cannot carry.
    let bases = (base as u32) << 8 | (base as u32) << 24;
    let raws = raw.as_chunks::<2>().0;
    for ((out, &s), &r) in out.as_chunks_mut::<4>().0.iter_mut().zip(pairs).zip(raws) {
        let s = s as u32;
        let r = u16::from_le_bytes(r) as u32;
        let exponents = ((s & 0x0f) << 8 | (s & 0xf0) << 20) + bases;
        let word = exponents | (r | r << 8) & 0x00ff_00ff;
        *out = unrotate(word).to_le_bytes();
    }
}

/// BF16 from exponent bytes: even element count.
#[inline(always)]
pub(super) fn bf16_bytes(exponents: &[u8], raw: &[u8], out: &mut [u8]) {
    let raws = raw.as_chunks::<2>().0;
    let exponents = exponents.as_chunks::<2>().0;
    for ((out, &e), &r) in out.as_chunks_mut::<4>().0.iter_mut().zip(exponents).zip(raws) {
        *out = join_bf16(e, r).to_le_bytes();
    }
}

/// FP32 from pair symbols: even element count.
#[inline(always)]
pub(super) fn f32_pairs(pairs: &[u8], base: u8, p1: &[u8], p2: &[u8], p3: &[u8], out: &mut [u8]) {
    let (p1, p2, p3) = (p1.as_chunks::<2>().0, p2.as_chunks::<2>().0, p3.as_chunks::<2>().0);
    let outs = out.as_chunks_mut::<8>().0;
    for ((((out, &s), a), b), c) in outs.iter_mut().zip(pairs).zip(p1).zip(p2).zip(p3) {
        let e = unpair(s, base);
        let lo = unrotate(u32::from_le_bytes([c[0], b[0], a[0], e[0]])) as u64;
        let hi = unrotate(u32::from_le_bytes([c[1], b[1], a[1], e[1]])) as u64;
        *out = (lo | hi << 32).to_le_bytes();
    }
}

/// FP32 from exponent bytes.
#[inline(always)]
pub(super) fn f32_bytes(exponents: &[u8], p1: &[u8], p2: &[u8], p3: &[u8], out: &mut [u8]) {
    let outs = out.as_chunks_mut::<4>().0;
    for ((((out, &e), &a), &b), &c) in outs.iter_mut().zip(exponents).zip(p1).zip(p2).zip(p3) {
        *out = unrotate(u32::from_le_bytes([c, b, a, e])).to_le_bytes();
    }
}

/// FP8 E4 from pair symbols: element count a multiple of 4, the base is 0.
#[inline(always)]
pub(super) fn f8e4_pairs(pairs: &[u8], raw: &[u8], out: &mut [u8]) {
    let (pairs, raws) = (pairs.as_chunks::<2>().0, raw.as_chunks::<2>().0);
    for ((out, &s), &r) in out.as_chunks_mut::<4>().0.iter_mut().zip(pairs).zip(raws) {
        // Nibbles to bytes: high nibble of each byte from the symbols, low nibble from the raw plane.
        let s = u16::from_le_bytes(s) as u32;
        let r = u16::from_le_bytes(r) as u32;
        let s = (s | s << 8) & 0x00ff_00ff;
        let r = (r | r << 8) & 0x00ff_00ff;
        let word = (s << 4) & 0x00f0_00f0 | (s << 8) & 0xf000_f000 | r & 0x000f_000f | (r << 4) & 0x0f00_0f00;
        *out = unrotate(word).to_le_bytes();
    }
}

/// FP8 E4 from exponent bytes: element count a multiple of 4.
#[inline(always)]
pub(super) fn f8e4_bytes(exponents: &[u8], raw: &[u8], out: &mut [u8]) {
    let raws = raw.as_chunks::<2>().0;
    for ((out, &e), &r) in out.as_chunks_mut::<4>().0.iter_mut().zip(exponents.as_chunks::<4>().0).zip(raws) {
        *out = join_f8e4(e, r).to_le_bytes();
    }
}

/// Two columns.
#[inline(always)]
pub(super) fn columns2(p0: &[u8], p1: &[u8], out: &mut [u8]) {
    for ((out, &a), &b) in out.as_chunks_mut::<2>().0.iter_mut().zip(p0).zip(p1) {
        *out = [a, b];
    }
}

/// Four columns.
#[inline(always)]
pub(super) fn columns4(p0: &[u8], p1: &[u8], p2: &[u8], p3: &[u8], out: &mut [u8]) {
    for ((((out, &a), &b), &c), &d) in out.as_chunks_mut::<4>().0.iter_mut().zip(p0).zip(p1).zip(p2).zip(p3) {
        *out = [a, b, c, d];
    }
}
