//! Every instruction that Rust has no word for, and the block's shared memory.
//!
//! rustc does not know that warp operations are *convergent*, and may move them into a branch. Every function here that says `.sync`
//! must be called where all 32 lanes are; the emulator checks that they are.

use crate::rans::{Entry, FLOOR};
use core::arch::{asm, global_asm};

global_asm!(".extern .shared .align 16 .b8 dyn_smem[];");

/// All lanes of a warp.
const ALL: u32 = 0xffff_ffff;

macro_rules! special {
    ($($name:ident = $register:literal),*) => {$(
        #[inline(always)]
        pub(super) fn $name() -> u32 {
            let r;
            // SAFETY: reads a special register.
            unsafe { asm!(concat!("mov.u32 {0}, %", $register, ";"), out(reg32) r, options(pure, nomem, nostack)) };
            r
        }
    )*};
}
special!(thread = "tid.x", block = "ctaid.x", lane_id = "laneid", lanes_below = "lanemask_lt");

/// Waits for all threads of the block.
#[inline(always)]
pub(super) fn sync_block() {
    // SAFETY: called by all threads of the block.
    unsafe { asm!("bar.sync 0;", options(nostack)) }
}

/// Waits for the warp; what its lanes wrote before is seen by all of them after.
#[inline(always)]
pub(super) fn sync_warp() {
    // SAFETY: called by all lanes.
    unsafe { asm!("bar.warp.sync 0xffffffff;", options(nostack)) }
}

/// The lanes for which `p` holds.
#[inline(always)]
pub(super) fn ballot(p: bool) -> u32 {
    let m;
    // SAFETY: called by all lanes.
    unsafe {
        asm!("{{ .reg .pred q; setp.ne.u32 q, {1}, 0; vote.sync.ballot.b32 {0}, q, {all}; }}",
             out(reg32) m, in(reg32) p as u32, all = const ALL, options(nostack))
    };
    m
}

/// The value of the lane `delta` below, or 0 in the lanes that have none.
#[inline(always)]
pub(super) fn shuffle_up(v: u32, delta: u32) -> u32 {
    let r;
    // SAFETY: called by all lanes.
    unsafe {
        asm!("{{ .reg .pred q; shfl.sync.up.b32 {0}|q, {1}, {2}, 0, {all}; @!q mov.b32 {0}, 0; }}",
             out(reg32) r, in(reg32) v, in(reg32) delta, all = const ALL, options(nostack))
    };
    r
}

/// The value of lane `lane`, the same in all lanes.
#[inline(always)]
pub(super) fn shuffle(v: u32, lane: u32) -> u32 {
    let r;
    // SAFETY: called by all lanes.
    unsafe {
        asm!("shfl.sync.idx.b32 {0}, {1}, {2}, 31, {all};", out(reg32) r, in(reg32) v, in(reg32) lane, all = const ALL,
             options(nostack))
    };
    r
}

/// The value of the lane whose number differs in the bits of `mask`.
#[inline(always)]
pub(super) fn shuffle_xor(v: u32, mask: u32) -> u32 {
    let r;
    // SAFETY: called by all lanes.
    unsafe {
        asm!("shfl.sync.bfly.b32 {0}, {1}, {2}, 31, {all};", out(reg32) r, in(reg32) v, in(reg32) mask, all = const ALL,
             options(nostack))
    };
    r
}

/// Bytes 0 to 3 of `b:a` that the nibbles of `SELECTOR` name (`a` has 0 to 3, `b` 4 to 7).
#[inline(always)]
pub(super) fn permute<const SELECTOR: u32>(a: u32, b: u32) -> u32 {
    let r;
    // SAFETY: arithmetic.
    unsafe {
        asm!("prmt.b32 {0}, {1}, {2}, {s};", out(reg32) r, in(reg32) a, in(reg32) b, s = const SELECTOR,
             options(pure, nomem, nostack))
    };
    r
}

/// Renormalises all lanes: those below the floor take the words at `p`, in lane order. Returns the new state and how many did.
///
/// Every lane loads a word, for no more sectors than if only the takers did: a predicated load becomes a branch in `ptxas`' hands. The
/// refill is one predicated instruction.
#[inline(always)]
pub(super) fn renormalise(x: u32, p: *const u16, below: u32) -> (u32, u32) {
    let takers = ballot(x < FLOOR);
    // SAFETY: called by all lanes; `p` has 32 readable words (`SLACK`).
    let o = unsafe {
        let word = global::load_half(p.add((takers & below).count_ones() as usize) as u64);
        let o;
        asm!("{{ .reg .pred q; setp.lt.u32 q, {x}, {floor}; mov.b32 {o}, {x}; @q mad.lo.u32 {o}, {x}, {floor}, {w}; }}",
             x = in(reg32) x, w = in(reg32) word, o = out(reg32) o, floor = const FLOOR, options(pure, nomem, nostack));
        o
    };
    (o, takers.count_ones())
}

/// [`renormalise`] in which only the lanes that are `active` take part.
#[inline(always)]
pub(super) fn renormalise_some(x: u32, active: bool, p: *const u16, below: u32) -> (u32, u32) {
    let idle = if active { x } else { FLOOR };
    let (o, n) = renormalise(idle, p, below);
    (if active { o } else { x }, n)
}

/// Loads and stores of global memory by address. (From an integer the compiler cannot know that it is global.)
///
/// # Safety
/// All of them: the address is valid and aligned for the access.
pub(super) mod global {
    use super::asm;

    /// Two words, 8-byte aligned.
    #[inline(always)]
    pub unsafe fn load2(a: u64) -> [u32; 2] {
        let (x, y);
        // SAFETY: by contract.
        unsafe {
            asm!("ld.global.v2.u32 {{{0}, {1}}}, [{2}];", out(reg32) x, out(reg32) y, in(reg64) a, options(readonly, nostack))
        };
        [x, y]
    }

    /// Four words, 16-byte aligned.
    #[inline(always)]
    pub unsafe fn load4(a: u64) -> [u32; 4] {
        let (x, y, z, w);
        // SAFETY: by contract.
        unsafe {
            asm!("ld.global.v4.u32 {{{0}, {1}, {2}, {3}}}, [{4}];", out(reg32) x, out(reg32) y, out(reg32) z, out(reg32) w,
                 in(reg64) a, options(readonly, nostack))
        };
        [x, y, z, w]
    }

    /// A word, 4-byte aligned.
    #[inline(always)]
    pub unsafe fn load1(a: u64) -> u32 {
        let x;
        // SAFETY: by contract.
        unsafe { asm!("ld.global.u32 {0}, [{1}];", out(reg32) x, in(reg64) a, options(readonly, nostack)) };
        x
    }

    /// Half a word, 2-byte aligned.
    #[inline(always)]
    pub unsafe fn load_half(a: u64) -> u32 {
        let x;
        // SAFETY: by contract.
        unsafe { asm!("ld.global.u16 {0}, [{1}];", out(reg32) x, in(reg64) a, options(readonly, nostack)) };
        x
    }

    /// A byte.
    #[inline(always)]
    pub unsafe fn load_byte(a: u64) -> u32 {
        let x;
        // SAFETY: by contract.
        unsafe { asm!("ld.global.u8 {0}, [{1}];", out(reg32) x, in(reg64) a, options(readonly, nostack)) };
        x
    }

    /// A word, 4-byte aligned.
    #[inline(always)]
    pub unsafe fn store1(a: u64, x: u32) {
        // SAFETY: by contract.
        unsafe { asm!("st.global.u32 [{0}], {1};", in(reg64) a, in(reg32) x, options(nostack)) }
    }

    /// Two words, 8-byte aligned.
    #[inline(always)]
    pub unsafe fn store2(a: u64, v: [u32; 2]) {
        // SAFETY: by contract.
        unsafe { asm!("st.global.v2.u32 [{0}], {{{1}, {2}}};", in(reg64) a, in(reg32) v[0], in(reg32) v[1], options(nostack)) }
    }

    /// Four words, 16-byte aligned.
    #[inline(always)]
    pub unsafe fn store4(a: u64, v: [u32; 4]) {
        // SAFETY: by contract.
        unsafe {
            asm!("st.global.v4.u32 [{0}], {{{1}, {2}, {3}, {4}}};", in(reg64) a, in(reg32) v[0], in(reg32) v[1],
                 in(reg32) v[2], in(reg32) v[3], options(nostack))
        }
    }

    /// The low half of `x`, 2-byte aligned.
    #[inline(always)]
    pub unsafe fn store_half(a: u64, x: u32) {
        // SAFETY: by contract.
        unsafe { asm!("st.global.u16 [{0}], {1};", in(reg64) a, in(reg32) x, options(nostack)) }
    }

    /// A byte, the low one of `x`.
    #[inline(always)]
    pub unsafe fn store_byte(a: u64, x: u32) {
        // SAFETY: by contract.
        unsafe { asm!("st.global.u8 [{0}], {1};", in(reg64) a, in(reg32) x, options(nostack)) }
    }
}

/// The block's shared memory: a decode table, then a word for each warp.
pub(super) mod shared {
    use super::*;

    #[inline(always)]
    fn base() -> u32 {
        let r;
        // SAFETY: takes an address.
        unsafe { asm!("mov.u32 {0}, dyn_smem;", out(reg32) r, options(pure, nomem, nostack)) };
        r
    }

    /// The decode table's entry for a slot below 4096.
    #[inline(always)]
    pub fn entry(slot: usize) -> Entry {
        Entry(load(slot as u32))
    }

    /// A word, by its number.
    #[inline(always)]
    pub fn load(i: u32) -> u32 {
        let r;
        // SAFETY: `i` is below `SHARED_BYTES / 4`; the barrier after the last store is not crossed, as it has side effects.
        unsafe { asm!("ld.shared.u32 {0}, [{1}];", out(reg32) r, in(reg32) base() + i * 4, options(readonly, nostack)) };
        r
    }

    /// Stores a word.
    #[inline(always)]
    pub fn store(i: u32, v: u32) {
        // SAFETY: as above.
        unsafe { asm!("st.shared.u32 [{0}], {1};", in(reg32) base() + i * 4, in(reg32) v, options(nostack)) }
    }
}
