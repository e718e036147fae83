//! From a function of one lane to an instruction of 32: straight loops over arrays, which the compiler turns into vector code,
//! compiled for several instruction set extensions of the host and picked when a kernel is decoded.
#![allow(unsafe_code)]

use std::sync::OnceLock;

use super::op::Operands;
use super::registers::{LANES, Lane, Registers};
use super::types::{Ty, Value};
use crate::count::Pipe;

type Body = unsafe fn(&mut Registers, &Operands, u32);

/// The code of an instruction, for the host it runs on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exec(Body);

/// Extensions of the host that instructions are compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Host {
    Baseline,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Host {
    fn detect() -> Self {
        static HOST: OnceLock<Host> = OnceLock::new();
        *HOST.get_or_init(|| {
            #[cfg(target_arch = "x86_64")]
            {
                macro_rules! have { ($($feature:tt),*) => { $(is_x86_feature_detected!($feature))&&* }; }
                let avx2 = have!("avx2", "bmi1", "bmi2", "fma", "lzcnt", "popcnt");
                if avx2 && have!("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl", "avx512vpopcntdq") {
                    return Self::Avx512;
                }
                if avx2 {
                    return Self::Avx2;
                }
            }
            Self::Baseline
        })
    }
}

impl Exec {
    /// Picks the version for this host.
    ///
    /// # Safety
    /// `avx2` and `avx512` need no more than the extensions that [`Host`] detects.
    #[cfg(target_arch = "x86_64")]
    pub(crate) unsafe fn pick(baseline: Body, avx2: Body, avx512: Body) -> Self {
        Self(match Host::detect() {
            Host::Baseline => baseline,
            Host::Avx2 => avx2,
            Host::Avx512 => avx512,
        })
    }

    /// The one version there is.
    ///
    /// # Safety
    /// `baseline` needs no extension.
    #[cfg(not(target_arch = "x86_64"))]
    pub(crate) unsafe fn pick(baseline: Body) -> Self {
        Self(baseline)
    }

    /// Executes in the lanes of `mask`.
    #[inline(always)]
    pub(crate) fn run(self, registers: &mut Registers, operands: &Operands, mask: u32) {
        // SAFETY: `pick` took a version whose extensions this host has; that is all they ask for.
        unsafe { (self.0)(registers, operands, mask) }
    }
}

/// The `Exec` of a function of registers, operands and mask.
macro_rules! exec {
    (|$registers:ident, $operands:ident, $mask:ident| $body:expr) => {{
        #[inline(always)]
        fn body($registers: &mut $crate::isa::Registers, $operands: &$crate::isa::Operands, $mask: u32) {
            $body
        }
        fn baseline(registers: &mut $crate::isa::Registers, operands: &$crate::isa::Operands, mask: u32) {
            body(registers, operands, mask);
        }
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,bmi1,bmi2,fma,lzcnt,popcnt")]
        fn avx2(registers: &mut $crate::isa::Registers, operands: &$crate::isa::Operands, mask: u32) {
            body(registers, operands, mask);
        }
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,bmi1,bmi2,fma,lzcnt,popcnt,avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512vpopcntdq")]
        fn avx512(registers: &mut $crate::isa::Registers, operands: &$crate::isa::Operands, mask: u32) {
            body(registers, operands, mask);
        }
        // SAFETY: these are the extensions that are detected.
        #[allow(unsafe_code)]
        #[cfg(target_arch = "x86_64")]
        let exec = unsafe { $crate::isa::Exec::pick(baseline, avx2, avx512) };
        // SAFETY: it is compiled without extensions.
        #[allow(unsafe_code)]
        #[cfg(not(target_arch = "x86_64"))]
        let exec = unsafe { $crate::isa::Exec::pick(baseline) };
        exec
    }};
}

/// An instruction that computes on registers lane by lane: its code and its operands' types.
#[derive(Debug, Clone)]
pub(crate) struct Alu {
    pub(crate) exec: Exec,
    pub(crate) pipe: Pipe,
    /// Types of the destinations: one, or two written `d|e`.
    pub(crate) targets: Vec<Ty>,
    pub(crate) sources: Vec<Ty>,
    /// Whether a last source is a constant that goes into `imm`.
    pub(crate) constant: bool,
    /// Whether registers may be wider than the types.
    pub(crate) relaxed: bool,
    /// What goes into `imm` if no source does.
    pub(crate) imm: u32,
}

impl Alu {
    pub(crate) fn new(pipe: Pipe, exec: Exec, targets: &[Ty], sources: &[Ty]) -> Self {
        let (targets, sources) = (targets.to_vec(), sources.to_vec());
        Self { exec, pipe, targets, sources, constant: false, relaxed: false, imm: 0 }
    }
}

/// An `Alu` from a function of a lane's values: `alu!(Pipe; (a: u32, b: u32) -> u32 { a + b })`. `imm` is the instruction's constant.
macro_rules! alu {
    ($pipe:ident; ($a:ident: $A:ty) -> $D:ty $body:block) => {
        $crate::isa::Alu::new(
            $crate::count::Pipe::$pipe,
            exec!(|r, o, m| $crate::isa::lanes::map1(r, o, m, |$a: $A| -> $D { $body })),
            &[<$D as $crate::isa::types::Value>::TY],
            &[<$A as $crate::isa::types::Value>::TY],
        )
    };
    ($pipe:ident; ($a:ident: $A:ty, $b:ident: $B:ty) -> $D:ty $body:block) => {
        $crate::isa::Alu::new(
            $crate::count::Pipe::$pipe,
            exec!(|r, o, m| $crate::isa::lanes::map2(r, o, m, |$a: $A, $b: $B| -> $D { $body })),
            &[<$D as $crate::isa::types::Value>::TY],
            &[<$A as $crate::isa::types::Value>::TY, <$B as $crate::isa::types::Value>::TY],
        )
    };
    ($pipe:ident; ($a:ident: $A:ty, $b:ident: $B:ty, $c:ident: $C:ty) -> $D:ty $body:block) => {
        $crate::isa::Alu::new(
            $crate::count::Pipe::$pipe,
            exec!(|r, o, m| $crate::isa::lanes::map3(r, o, m, |$a: $A, $b: $B, $c: $C| -> $D { $body })),
            &[<$D as $crate::isa::types::Value>::TY],
            &[
                <$A as $crate::isa::types::Value>::TY,
                <$B as $crate::isa::types::Value>::TY,
                <$C as $crate::isa::types::Value>::TY,
            ],
        )
    };
}

/// Picks by type among the listed ones: `by_type!(ty; T: U16 u16, S16 i16 => alu!(.. T ..))`.
macro_rules! by_type {
    ($ty:expr; $T:ident: $($name:ident $value:ty),* => $alu:expr) => {
        match $ty {
            $($crate::isa::Ty::$name => {
                type $T = $value;
                Some($alu)
            })*
            _ => None,
        }
    };
}

/// As `by_type`, for the integer types of 16, 32 and 64 bits.
macro_rules! integers {
    ($ty:expr; $T:ident => $alu:expr) => {
        by_type!($ty; $T: U16 u16, U32 u32, U64 u64, S16 i16, S32 i32, S64 i64 => $alu)
    };
}

#[inline(always)]
pub(super) fn map1<A, D>(registers: &mut Registers, operands: &Operands, mask: u32, f: impl Fn(A) -> D)
where
    A: Value<Raw: Lane>,
    D: Value<Raw: Lane>,
{
    let a = registers.get::<A::Raw>(operands.a);
    let mut d = [D::Raw::default(); LANES];
    for lane in 0..LANES {
        d[lane] = f(A::from_raw(a[lane])).to_raw();
    }
    registers.set(operands.d, mask, &d);
}

#[inline(always)]
pub(super) fn map2<A, B, D>(registers: &mut Registers, operands: &Operands, mask: u32, f: impl Fn(A, B) -> D)
where
    A: Value<Raw: Lane>,
    B: Value<Raw: Lane>,
    D: Value<Raw: Lane>,
{
    let (a, b) = (registers.get::<A::Raw>(operands.a), registers.get::<B::Raw>(operands.b));
    let mut d = [D::Raw::default(); LANES];
    for lane in 0..LANES {
        d[lane] = f(A::from_raw(a[lane]), B::from_raw(b[lane])).to_raw();
    }
    registers.set(operands.d, mask, &d);
}

#[inline(always)]
pub(super) fn map3<A, B, C, D>(registers: &mut Registers, operands: &Operands, mask: u32, f: impl Fn(A, B, C) -> D)
where
    A: Value<Raw: Lane>,
    B: Value<Raw: Lane>,
    C: Value<Raw: Lane>,
    D: Value<Raw: Lane>,
{
    let (a, b) = (registers.get::<A::Raw>(operands.a), registers.get::<B::Raw>(operands.b));
    let c = registers.get::<C::Raw>(operands.c);
    let mut d = [D::Raw::default(); LANES];
    for lane in 0..LANES {
        d[lane] = f(A::from_raw(a[lane]), B::from_raw(b[lane]), C::from_raw(c[lane])).to_raw();
    }
    registers.set(operands.d, mask, &d);
}

/// The lanes of which `f` holds.
#[inline(always)]
pub(super) fn collect(f: impl Fn(usize) -> bool) -> u32 {
    (0..LANES).fold(0, |bits, lane| bits | u32::from(f(lane)) << lane)
}
