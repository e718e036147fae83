//! Integer products, with and without addition.

use super::lanes::Alu;
use super::types::Ty;

/// Products of twice the width.
trait Product: Copy {
    /// The upper half of the product.
    fn high(self, by: Self) -> Self;
}

macro_rules! product {
    ($($t:ty, $wide:ty);*) => {$(impl Product for $t {
        #[inline(always)]
        fn high(self, by: Self) -> Self {
            ((<$wide>::from(self) * <$wide>::from(by)) >> <$t>::BITS) as $t
        }
    })*};
}

product!(u16, u32; u32, u64; u64, u128; i16, i32; i32, i64; i64, i128);

/// The low 24 bits, as the type has its sign.
trait Low24: Copy {
    fn low24(self) -> i64;
}

impl Low24 for u32 {
    #[inline(always)]
    fn low24(self) -> i64 {
        i64::from(self & 0xff_ffff)
    }
}

impl Low24 for i32 {
    #[inline(always)]
    fn low24(self) -> i64 {
        i64::from(self << 8 >> 8)
    }
}

pub(super) fn find(name: &str, modifiers: &[&str]) -> Option<Alu> {
    let (half, ty) = match modifiers {
        [half, ty] => (*half, Ty::parse(ty)?),
        ["hi", "sat", "s32"] if name == "mad" => {
            return Some(alu!(Fma; (a: i32, b: i32, c: i32) -> i32 { a.high(b).saturating_add(c) }));
        }
        _ => return None,
    };
    match (name, half) {
        ("mul", "lo") => integers!(ty; T => alu!(Fma; (a: T, b: T) -> T { a.wrapping_mul(b) })),
        ("mul", "hi") => integers!(ty; T => alu!(Fma; (a: T, b: T) -> T { a.high(b) })),
        ("mad", "lo") => integers!(ty; T => alu!(Fma; (a: T, b: T, c: T) -> T { a.wrapping_mul(b).wrapping_add(c) })),
        ("mad", "hi") => integers!(ty; T => alu!(Fma; (a: T, b: T, c: T) -> T { a.high(b).wrapping_add(c) })),
        ("mul", "wide") => Some(match ty {
            Ty::U16 => alu!(Fma; (a: u16, b: u16) -> u32 { u32::from(a) * u32::from(b) }),
            Ty::S16 => alu!(Fma; (a: i16, b: i16) -> i32 { i32::from(a) * i32::from(b) }),
            Ty::U32 => alu!(Fma; (a: u32, b: u32) -> u64 { u64::from(a) * u64::from(b) }),
            Ty::S32 => alu!(Fma; (a: i32, b: i32) -> i64 { i64::from(a) * i64::from(b) }),
            _ => return None,
        }),
        ("mad", "wide") => Some(match ty {
            Ty::U16 => alu!(Fma; (a: u16, b: u16, c: u32) -> u32 { (u32::from(a) * u32::from(b)).wrapping_add(c) }),
            Ty::S16 => alu!(Fma; (a: i16, b: i16, c: i32) -> i32 { (i32::from(a) * i32::from(b)).wrapping_add(c) }),
            Ty::U32 => alu!(Fma; (a: u32, b: u32, c: u64) -> u64 { (u64::from(a) * u64::from(b)).wrapping_add(c) }),
            Ty::S32 => alu!(Fma; (a: i32, b: i32, c: i64) -> i64 { (i64::from(a) * i64::from(b)).wrapping_add(c) }),
            _ => return None,
        }),
        ("mul24", "lo") => by_type!(ty; T: U32 u32, S32 i32 => alu!(Fma; (a: T, b: T) -> T { (a.low24() * b.low24()) as T })),
        ("mul24", "hi") => {
            by_type!(ty; T: U32 u32, S32 i32 => alu!(Fma; (a: T, b: T) -> T { ((a.low24() * b.low24()) >> 16) as T }))
        }
        ("mad24", "lo") => by_type!(ty; T: U32 u32, S32 i32 => alu!(Fma; (a: T, b: T, c: T) -> T {
            ((a.low24() * b.low24()) as T).wrapping_add(c)
        })),
        ("mad24", "hi") => by_type!(ty; T: U32 u32, S32 i32 => alu!(Fma; (a: T, b: T, c: T) -> T {
            (((a.low24() * b.low24()) >> 16) as T).wrapping_add(c)
        })),
        // Sums of four products of bytes: the types are those of `a` and of `b`; the sum is signed if either is.
        ("dp4a", "u32") if ty == Ty::U32 => {
            Some(alu!(Fma; (a: u32, b: u32, c: u32) -> u32 { dot(a, b, c, |x| i32::from(x as u8), |x| i32::from(x as u8)) }))
        }
        ("dp4a", "u32") if ty == Ty::S32 => {
            Some(alu!(Fma; (a: u32, b: u32, c: u32) -> u32 { dot(a, b, c, |x| i32::from(x as u8), |x| i32::from(x as i8)) }))
        }
        ("dp4a", "s32") if ty == Ty::U32 => {
            Some(alu!(Fma; (a: u32, b: u32, c: u32) -> u32 { dot(a, b, c, |x| i32::from(x as i8), |x| i32::from(x as u8)) }))
        }
        ("dp4a", "s32") if ty == Ty::S32 => {
            Some(alu!(Fma; (a: u32, b: u32, c: u32) -> u32 { dot(a, b, c, |x| i32::from(x as i8), |x| i32::from(x as i8)) }))
        }
        _ => None,
    }
}

#[inline(always)]
fn dot(a: u32, b: u32, c: u32, of_a: impl Fn(u32) -> i32, of_b: impl Fn(u32) -> i32) -> u32 {
    (0..4).fold(c, |sum, byte| sum.wrapping_add((of_a(a >> (8 * byte)) * of_b(b >> (8 * byte))) as u32))
}
