//! Blocks with a step and a minimum: what these say of their numbers.

/// Contexts of a plane of such blocks.
pub const CONTEXTS: u32 = 32;

/// Twice the rank of zero, -minimum / step, to the nearest (halves up), from 0 to 31; 0 where the step is zero. Both are half-precision floats;
/// infinities and what is no number count as if their exponents were common ones.
#[inline(always)]
pub fn zero(step: u16, minimum: u16) -> u8 {
    let ((se, sm), (me, mm)) = (parts(step), parts(minimum));
    // -minimum / step is negative where both have one sign.
    if sm == 0 || (step ^ minimum) >> 15 == 0 {
        return 0;
    }
    // 2 * minimum / step + 1 / 2, rounded down.
    let shift = me - se + 1;
    let (dividend, divisor) = if shift >= 0 { (mm << shift, sm) } else { (mm, sm << -shift) };
    let (dividend, divisor) = (2 * dividend + divisor, 2 * divisor);
    // At most 31, without a division.
    let mut rank = 0;
    let mut bit = 16;
    while bit > 0 {
        if dividend >= (rank + bit) * divisor {
            rank += bit;
        }
        bit /= 2;
    }
    rank as u8
}

/// A number's magnitude is m * 2^(e - 25).
#[inline(always)]
fn parts(x: u16) -> (i32, u64) {
    let (e, m) = ((x >> 10 & 31) as i32, (x & 1023) as u64);
    if e == 0 { (1, m) } else { (e, m | 1024) }
}
