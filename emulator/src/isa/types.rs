//! Operand types, and how their values lie in registers.

use half::{bf16, f16};

/// A type of an instruction or of a declaration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Ty {
    Pred,
    B8,
    B16,
    B32,
    B64,
    B128,
    U8,
    U16,
    U32,
    U64,
    S8,
    S16,
    S32,
    S64,
    F16,
    F16x2,
    Bf16,
    Bf16x2,
    F32,
    F64,
    U16x2,
    S16x2,
}

/// How much of a register file a register takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Width {
    /// A bit a lane.
    Pred,
    /// Up to 32 bits a lane: 8-bit and 16-bit registers lie in the low bits, what is above them is never read.
    W32,
    /// 64 bits a lane.
    W64,
}

impl Ty {
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "pred" => Self::Pred,
            "b8" => Self::B8,
            "b16" => Self::B16,
            "b32" => Self::B32,
            "b64" => Self::B64,
            "b128" => Self::B128,
            "u8" => Self::U8,
            "u16" => Self::U16,
            "u32" => Self::U32,
            "u64" => Self::U64,
            "s8" => Self::S8,
            "s16" => Self::S16,
            "s32" => Self::S32,
            "s64" => Self::S64,
            "f16" => Self::F16,
            "f16x2" => Self::F16x2,
            "bf16" => Self::Bf16,
            "bf16x2" => Self::Bf16x2,
            "f32" => Self::F32,
            "f64" => Self::F64,
            "u16x2" => Self::U16x2,
            "s16x2" => Self::S16x2,
            _ => return None,
        })
    }

    /// Size in bytes; a predicate has none.
    pub(crate) fn bytes(self) -> u32 {
        match self {
            Self::Pred => 0,
            Self::B8 | Self::U8 | Self::S8 => 1,
            Self::B16 | Self::U16 | Self::S16 | Self::F16 | Self::Bf16 => 2,
            Self::B32 | Self::U32 | Self::S32 | Self::F32 => 4,
            Self::F16x2 | Self::Bf16x2 | Self::U16x2 | Self::S16x2 => 4,
            Self::B64 | Self::U64 | Self::S64 | Self::F64 => 8,
            Self::B128 => 16,
        }
    }

    pub(crate) fn is_signed(self) -> bool {
        matches!(self, Self::S8 | Self::S16 | Self::S32 | Self::S64)
    }

    pub(crate) fn is_float(self) -> bool {
        matches!(self, Self::F16 | Self::Bf16 | Self::F32 | Self::F64 | Self::F16x2 | Self::Bf16x2)
    }

    pub(crate) fn width(self) -> Width {
        match self.bytes() {
            0 => Width::Pred,
            1..=4 => Width::W32,
            _ => Width::W64,
        }
    }
}

/// What a register holds for one lane.
pub(crate) trait Raw: Copy + Default + 'static {
    fn blend(self, other: Self, take_self: bool) -> Self;
}

impl Raw for u32 {
    #[inline(always)]
    fn blend(self, other: Self, take_self: bool) -> Self {
        let keep = u32::from(take_self).wrapping_neg();
        self & keep | other & !keep
    }
}

impl Raw for u64 {
    #[inline(always)]
    fn blend(self, other: Self, take_self: bool) -> Self {
        let keep = u64::from(take_self).wrapping_neg();
        self & keep | other & !keep
    }
}

/// A type that lane arithmetic computes with, and how it lies in a register: narrow values are extended by their sign.
pub(crate) trait Value: Copy {
    type Raw: Raw;
    const TY: Ty;
    fn from_raw(raw: Self::Raw) -> Self;
    fn to_raw(self) -> Self::Raw;
}

macro_rules! values {
    ($($value:ty, $raw:ty, $ty:ident, |$r:ident| $from:expr, |$v:ident| $to:expr;)*) => {$(impl Value for $value {
        type Raw = $raw;
        const TY: Ty = Ty::$ty;
        #[inline(always)]
        fn from_raw($r: $raw) -> Self { $from }
        #[inline(always)]
        fn to_raw(self) -> $raw { let $v = self; $to }
    })*};
}

values! {
    u8, u32, U8, |r| r as u8, |v| u32::from(v);
    i8, u32, S8, |r| r as i8, |v| v as i32 as u32;
    u16, u32, U16, |r| r as u16, |v| u32::from(v);
    i16, u32, S16, |r| r as i16, |v| v as i32 as u32;
    u32, u32, U32, |r| r, |v| v;
    i32, u32, S32, |r| r as i32, |v| v as u32;
    u64, u64, U64, |r| r, |v| v;
    i64, u64, S64, |r| r as i64, |v| v as u64;
    f16, u32, F16, |r| f16::from_bits(r as u16), |v| u32::from(v.to_bits());
    bf16, u32, Bf16, |r| bf16::from_bits(r as u16), |v| u32::from(v.to_bits());
    f32, u32, F32, |r| f32::from_bits(r), |v| v.to_bits();
    f64, u64, F64, |r| f64::from_bits(r), |v| v.to_bits();
}
