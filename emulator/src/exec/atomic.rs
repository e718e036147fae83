//! Atomic accesses: lane by lane, each in one piece as other blocks see it.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};

use super::transfer::{Pointers, lanes};
use crate::isa::{Access, Atomic, Registers, Slot};

/// An integer that atomics work on.
trait Cell: Copy {
    /// Replaces the value at `at` by what `f` makes of it, and returns it.
    ///
    /// # Safety
    /// `at` is valid and aligned.
    unsafe fn update(at: *mut u8, f: impl FnMut(Self) -> Self) -> Self;
    /// What `operation` makes of `old` and the operands.
    fn combine(operation: Atomic, old: Self, b: Self, c: Self) -> Self;
}

macro_rules! cell {
    ($($word:ty, $signed:ty, $float:ty, $atomic:ty);*) => {$(impl Cell for $word {
        #[inline(always)]
        unsafe fn update(at: *mut u8, mut f: impl FnMut(Self) -> Self) -> Self {
            // SAFETY: the caller's promise.
            let cell = unsafe { <$atomic>::from_ptr(at.cast()) };
            cell.fetch_update(SeqCst, SeqCst, |old| Some(f(old))).expect("the closure always has a value")
        }

        fn combine(operation: Atomic, old: Self, b: Self, c: Self) -> Self {
            match operation {
                Atomic::Add => old.wrapping_add(b),
                Atomic::AddFloat => (<$float>::from_bits(old) + <$float>::from_bits(b)).to_bits(),
                Atomic::Min { signed: false } => old.min(b),
                Atomic::Min { signed: true } => (old as $signed).min(b as $signed) as Self,
                Atomic::Max { signed: false } => old.max(b),
                Atomic::Max { signed: true } => (old as $signed).max(b as $signed) as Self,
                Atomic::And => old & b,
                Atomic::Or => old | b,
                Atomic::Xor => old ^ b,
                Atomic::Exchange => b,
                Atomic::CompareExchange => if old == b { c } else { old },
                Atomic::Increment => if old >= b { 0 } else { old + 1 },
                Atomic::Decrement => if old == 0 || old > b { b } else { old - 1 },
            }
        }
    })*};
}

cell!(u32, i32, f32, AtomicU32; u64, i64, f64, AtomicU64);

/// Executes an atomic access.
pub(super) fn execute(pointers: &Pointers, registers: &mut Registers, access: &Access, operation: Atomic, target: Option<Slot>) {
    let [b, c, ..] = access.registers;
    // Only compare-exchange has a third operand; the others' slot is one that exists.
    let c = if operation == Atomic::CompareExchange { c } else { b };
    macro_rules! run {
        ($word:ty) => {{
            let (b, c) = (*registers.get::<$word>(b), *registers.get::<$word>(c));
            let mut old = [0; 32];
            for lane in lanes(pointers.mask()) {
                let combine = |old| <$word>::combine(operation, old, b[lane], c[lane]);
                // SAFETY: the lane is in the mask, so its address is valid and aligned for an access of this size.
                old[lane] = unsafe { <$word>::update(pointers.at(lane), combine) };
            }
            if let Some(target) = target {
                registers.set(target, pointers.mask(), &old);
            }
        }};
    }
    match access.bytes {
        4 => run!(u32),
        _ => run!(u64),
    }
}
