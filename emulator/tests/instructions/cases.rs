//! Instructions one by one, what comes out of each written beside it.

use crate::support::{check, kernel};

fn lo(v: u64) -> u32 {
    v as u32
}

fn s(v: u64) -> i32 {
    v as i32
}

macro_rules! table {
    ($($name:ident { $($body:literal => $expected:expr;)* })*) => {$(
        #[test]
        fn $name() {
            $(check($body, $expected);)*
        }
    )*};
}

table! {
    adding_and_multiplying {
        "add.u32 %d, %a, %b;" => |a, b, _| lo(a).wrapping_add(lo(b)) as u64;
        "add.s64 %D, %A, %B;" => |a, b, _| a.wrapping_add(b);
        "sub.s32 %d, %a, %b;" => |a, b, _| lo(a).wrapping_sub(lo(b)) as u64;
        "sub.u64 %D, %A, %B;" => |a, b, _| a.wrapping_sub(b);
        "mul.lo.u32 %d, %a, %b;" => |a, b, _| lo(a).wrapping_mul(lo(b)) as u64;
        "mul.lo.s64 %D, %A, %B;" => |a, b, _| a.wrapping_mul(b);
        "mul.hi.u32 %d, %a, %b;" => |a, b, _| (lo(a) as u64 * lo(b) as u64) >> 32;
        "mul.hi.s32 %d, %a, %b;" => |a, b, _| ((s(a) as i64 * s(b) as i64) >> 32) as u32 as u64;
        "mul.hi.u64 %D, %A, %B;" => |a, b, _| ((a as u128 * b as u128) >> 64) as u64;
        "mul.hi.s64 %D, %A, %B;" => |a, b, _| ((a as i64 as i128 * b as i64 as i128) >> 64) as u64;
        "mul.wide.u32 %D, %a, %b;" => |a, b, _| lo(a) as u64 * lo(b) as u64;
        "mul.wide.s32 %D, %a, %b;" => |a, b, _| (s(a) as i64 * s(b) as i64) as u64;
        "cvt.u16.u32 %h, %a; cvt.u16.u32 %i, %b; mul.wide.u16 %d, %h, %i;" => |a, b, _| (a as u16 as u32 * b as u16 as u32) as u64;
        "mad.lo.u32 %d, %a, %b, %c;" => |a, b, c| lo(a).wrapping_mul(lo(b)).wrapping_add(lo(c)) as u64;
        "mad.hi.u32 %d, %a, %b, %c;" => |a, b, c| (((lo(a) as u64 * lo(b) as u64) >> 32) as u32).wrapping_add(lo(c)) as u64;
        "mad.wide.u32 %D, %a, %b, %C;" => |a, b, c| (lo(a) as u64 * lo(b) as u64).wrapping_add(c);
        "mad.wide.s32 %D, %a, %b, %C;" => |a, b, c| ((s(a) as i64 * s(b) as i64) as u64).wrapping_add(c);
        "mul24.lo.u32 %d, %a, %b;" => |a, b, _| lo((a & 0xff_ffff) * (b & 0xff_ffff)) as u64;
        "sad.u32 %d, %a, %b, %c;" => |a, b, c| lo(c).wrapping_add(lo(a).abs_diff(lo(b))) as u64;
        "abs.s32 %d, %a;" => |a, _, _| s(a).unsigned_abs() as u64;
        "neg.s32 %d, %a;" => |a, _, _| s(a).wrapping_neg() as u32 as u64;
        "min.u32 %d, %a, %b;" => |a, b, _| lo(a).min(lo(b)) as u64;
        "min.s32 %d, %a, %b;" => |a, b, _| s(a).min(s(b)) as u32 as u64;
        "max.s64 %D, %A, %B;" => |a, b, _| (a as i64).max(b as i64) as u64;
        "max.u64 %D, %A, %B;" => |a, b, _| a.max(b);
        "or.b32 %e, %b, 1; div.u32 %d, %a, %e;" => |a, b, _| (lo(a) / (lo(b) | 1)) as u64;
        "or.b32 %e, %b, 1; rem.u32 %d, %a, %e;" => |a, b, _| (lo(a) % (lo(b) | 1)) as u64;
        "or.b32 %e, %b, 1; div.s32 %d, %a, %e;" => |a, b, _| s(a).wrapping_div(s(b) | 1) as u32 as u64;
        "or.b32 %e, %b, 1; rem.s32 %d, %a, %e;" => |a, b, _| s(a).wrapping_rem(s(b) | 1) as u32 as u64;
        "or.b64 %E, %B, 1; div.u64 %D, %A, %E;" => |a, b, _| a / (b | 1);
        "or.b64 %E, %B, 1; rem.s64 %D, %A, %E;" => |a, b, _| (a as i64).wrapping_rem(b as i64 | 1) as u64;
        "add.cc.u32 %e, %a, %b; addc.u32 %d, %c, 5;" => |a, b, c| lo(c).wrapping_add(5 + lo(a).overflowing_add(lo(b)).1 as u32) as u64;
        "sub.cc.u32 %e, %a, %b; subc.u32 %d, %c, 5;" => |a, b, c| lo(c).wrapping_sub(5).wrapping_sub(lo(a).overflowing_sub(lo(b)).1 as u32) as u64;
        "add.sat.s32 %d, %a, %b;" => |a, b, _| s(a).saturating_add(s(b)) as u32 as u64;
    }

    logic_and_shifts {
        "and.b32 %d, %a, %b;" => |a, b, _| a & b & 0xffff_ffff;
        "or.b64 %D, %A, %B;" => |a, b, _| a | b;
        "xor.b64 %D, %A, %B;" => |a, b, _| a ^ b;
        "not.b32 %d, %a;" => |a, _, _| !lo(a) as u64;
        "cnot.b32 %d, %a;" => |a, _, _| (lo(a) == 0) as u64;
        "shl.b32 %d, %a, %b;" => |a, b, _| lo(a).checked_shl(lo(b)).unwrap_or(0) as u64;
        "shr.u32 %d, %a, %b;" => |a, b, _| lo(a).checked_shr(lo(b)).unwrap_or(0) as u64;
        "shr.s32 %d, %a, %b;" => |a, b, _| (s(a) >> lo(b).min(31)) as u32 as u64;
        "shl.b64 %D, %A, %b;" => |a, b, _| a.checked_shl(lo(b)).unwrap_or(0);
        "shr.u64 %D, %A, %b;" => |a, b, _| a.checked_shr(lo(b)).unwrap_or(0);
        "shr.s64 %D, %A, %b;" => |a, b, _| (a as i64 >> lo(b).min(63)) as u64;
        "shf.l.wrap.b32 %d, %a, %b, %c;" => |a, b, c| ((((b << 32) | a & 0xffff_ffff) << (c & 31)) >> 32) & 0xffff_ffff;
        "shf.r.wrap.b32 %d, %a, %b, %c;" => |a, b, c| lo(((b << 32) | a & 0xffff_ffff) >> (c & 31)) as u64;
        "shf.l.clamp.b32 %d, %a, %b, %c;" => |a, b, c| ((((b as u128) << 32 & 0xffff_ffff_0000_0000 | lo(a) as u128) << lo(c).min(32)) >> 32) as u32 as u64;
        "shf.r.clamp.b32 %d, %a, %b, %c;" => |a, b, c| lo(((b & 0xffff_ffff) << 32 | a & 0xffff_ffff).checked_shr(lo(c).min(32)).unwrap()) as u64;
        "lop3.b32 %d, %a, %b, %c, 0xe8;" => |a, b, c| lo(a & b | a & c | b & c) as u64;
        "lop3.b32 %d, %a, %b, %c, 0x96;" => |a, b, c| lo(a ^ b ^ c) as u64;
        "lop3.b32 %d, %a, %b, %c, 0xf8;" => |a, b, c| lo(a | b & c) as u64;
        "lop3.b32 %d, %a, %b, %c, 0x1b;" => |a, b, c| table3(a, b, c, 0x1b);
        "popc.b32 %d, %a;" => |a, _, _| lo(a).count_ones() as u64;
        "popc.b64 %d, %A;" => |a, _, _| a.count_ones() as u64;
        "clz.b32 %d, %a;" => |a, _, _| lo(a).leading_zeros() as u64;
        "clz.b64 %d, %A;" => |a, _, _| a.leading_zeros() as u64;
        "brev.b32 %d, %a;" => |a, _, _| lo(a).reverse_bits() as u64;
        "brev.b64 %D, %A;" => |a, _, _| a.reverse_bits();
        "bfe.u32 %d, %a, %b, %c;" => |a, b, c| field(a & 0xffff_ffff, b & 255, c & 255, 32, false);
        "bfe.s32 %d, %a, %b, %c;" => |a, b, c| field(a & 0xffff_ffff, b & 255, c & 255, 32, true);
        "bfe.u64 %D, %A, %b, %c;" => |a, b, c| field(a, b & 255, c & 255, 64, false);
        "bfe.s64 %D, %A, %b, %c;" => |a, b, c| field(a, b & 255, c & 255, 64, true);
        "shr.u32 %e, %c, 8; bfi.b32 %d, %a, %b, %c, %e;" => |a, b, c| insert(a, b, c & 255, lo(c) as u64 >> 8 & 255, 32);
        "shr.u32 %e, %c, 8; bfi.b64 %D, %A, %B, %c, %e;" => |a, b, c| insert(a, b, c & 255, lo(c) as u64 >> 8 & 255, 64);
        "bfind.u32 %d, %a;" => |a, _, _| (31u32.wrapping_sub(lo(a).leading_zeros())) as u64;
        "bfind.shiftamt.u32 %d, %a;" => |a, _, _| if lo(a) == 0 { 0xffff_ffff } else { lo(a).leading_zeros() as u64 };
        "bfind.s32 %d, %a;" => |a, _, _| { let v = if s(a) < 0 { !lo(a) } else { lo(a) }; 31u32.wrapping_sub(v.leading_zeros()) as u64 };
    }

    permuting_bytes {
        "prmt.b32 %d, %a, %b, %c;" => |a, b, c| bytes(a, b, [0, 4, 8, 12].map(|n| lo(c) >> n & 15));
        "prmt.b32 %d, %a, %b, 0x4140;" => |a, b, _| bytes(a, b, [0, 4, 1, 4]);
        "prmt.b32 %d, %a, %b, 0xba98;" => |a, b, _| bytes(a, b, [8, 9, 10, 11]);
        "prmt.b32.f4e %d, %a, %b, %c;" => |a, b, c| bytes(a, b, [0, 1, 2, 3].map(|i| (lo(c) & 3) + i));
        "prmt.b32.b4e %d, %a, %b, %c;" => |a, b, c| bytes(a, b, [0, 1, 2, 3].map(|i| (8 + (lo(c) & 3) - i) & 7));
        "prmt.b32.rc8 %d, %a, %b, %c;" => |a, b, c| bytes(a, b, [lo(c) & 3; 4]);
        "prmt.b32.ecl %d, %a, %b, %c;" => |a, b, c| bytes(a, b, [0, 1, 2, 3].map(|i| i.max(lo(c) & 3)));
        "prmt.b32.ecr %d, %a, %b, %c;" => |a, b, c| bytes(a, b, [0, 1, 2, 3].map(|i| i.min(lo(c) & 3)));
        "prmt.b32.rc16 %d, %a, %b, %c;" => |a, b, c| bytes(a, b, [0, 1, 0, 1].map(|i| 2 * (lo(c) & 1) + i));
    }

    comparing_and_selecting {
        "setp.lt.u32 %q, %a, %b; selp.u32 %d, 1, 2, %q;" => |a, b, _| if lo(a) < lo(b) { 1 } else { 2 };
        "setp.ge.s32 %q, %a, %b; selp.u32 %d, %a, %b, %q;" => |a, b, _| lo(if s(a) >= s(b) { a } else { b }) as u64;
        "setp.ne.u64 %q, %A, %B; selp.b64 %D, %A, %C, %q;" => |a, b, c| if a != b { a } else { c };
        "setp.lt.s64 %q|%r, %A, %B; selp.u32 %d, 1, 0, %q; selp.u32 %e, 2, 0, %r; or.b32 %d, %d, %e;" => |a, b, _| if (a as i64) < b as i64 { 1 } else { 2 };
        "setp.eq.u32 %r, %a, %c; setp.lt.and.u32 %q, %a, %b, %r; selp.u32 %d, 1, 0, %q;" => |a, b, c| (lo(a) < lo(b) && lo(a) == lo(c)) as u64;
        "setp.eq.u32 %r, %a, %c; setp.lt.or.u32 %q, %a, %b, !%r; selp.u32 %d, 1, 0, %q;" => |a, b, c| (lo(a) < lo(b) || lo(a) != lo(c)) as u64;
        "set.lt.u32.u32 %d, %a, %b;" => |a, b, _| if lo(a) < lo(b) { 0xffff_ffff } else { 0 };
        "slct.u32.s32 %d, %a, %b, %c;" => |a, b, c| lo(if s(c) >= 0 { a } else { b }) as u64;
        "setp.gt.u32 %q, %a, %b; @%q add.u32 %d, %a, 1; @!%q sub.u32 %d, %b, 1;" => |a, b, _| if lo(a) > lo(b) { lo(a).wrapping_add(1) as u64 } else { lo(b).wrapping_sub(1) as u64 };
        "setp.lt.u32 %q, %a, %b; not.pred %r, %q; selp.u32 %d, 1, 0, %r;" => |a, b, _| (lo(a) >= lo(b)) as u64;
    }

    converting {
        "cvt.u32.u16 %d, %h; cvt.u16.u32 %h, %a; cvt.u32.u16 %d, %h;" => |a, _, _| a & 0xffff;
        "cvt.u16.u32 %h, %a; cvt.s32.s16 %d, %h;" => |a, _, _| a as i16 as i32 as u32 as u64;
        "cvt.s32.s8 %d, %a;" => |a, _, _| a as i8 as i32 as u32 as u64;
        "cvt.u32.u8 %d, %a;" => |a, _, _| a & 255;
        "cvt.s64.s32 %D, %a;" => |a, _, _| s(a) as i64 as u64;
        "cvt.u64.u32 %D, %a;" => |a, _, _| a & 0xffff_ffff;
        "cvt.sat.u8.s32 %d, %a;" => |a, _, _| s(a).clamp(0, 255) as u64;
        "cvt.sat.s32.s64 %d, %A;" => |a, _, _| (a as i64).clamp(i32::MIN as i64, i32::MAX as i64) as u32 as u64;
        "cvt.rn.f32.u32 %d, %a;" => |a, _, _| (lo(a) as f32).to_bits() as u64;
        "cvt.rn.f64.s64 %D, %A;" => |a, _, _| (a as i64 as f64).to_bits();
        "cvt.rzi.s32.f32 %d, %a;" => |a, _, _| { let x = f32::from_bits(lo(a)); if x.is_nan() { 0 } else { x as i32 as u32 as u64 } };
        "mov.b64 %D, {%a, %b};" => |a, b, _| a & 0xffff_ffff | b << 32;
        "mov.b64 {%e, %d}, %A;" => |a, _, _| a >> 32;
        "mov.b32 {%h, %i}, %a; mov.b32 %d, {%i, %h};" => |a, _, _| lo(a).rotate_left(16) as u64;
    }

    floating {
        "add.rn.f32 %d, %a, %b;" => |a, b, _| nan32(f32::from_bits(lo(a)) + f32::from_bits(lo(b)));
        "mul.rn.f32 %d, %a, %b;" => |a, b, _| nan32(f32::from_bits(lo(a)) * f32::from_bits(lo(b)));
        "fma.rn.f32 %d, %a, %b, %c;" => |a, b, c| nan32(f32::from_bits(lo(a)).mul_add(f32::from_bits(lo(b)), f32::from_bits(lo(c))));
        "div.rn.f32 %d, %a, %b;" => |a, b, _| nan32(f32::from_bits(lo(a)) / f32::from_bits(lo(b)));
        "sqrt.rn.f32 %d, %a;" => |a, _, _| nan32(f32::from_bits(lo(a)).sqrt());
        "setp.lt.f32 %q, %a, %b; selp.u32 %d, 1, 0, %q;" => |a, b, _| (f32::from_bits(lo(a)) < f32::from_bits(lo(b))) as u64;
        "setp.geu.f64 %q, %A, %B; selp.u32 %d, 1, 0, %q;" => |a, b, _| f64::from_bits(a).partial_cmp(&f64::from_bits(b)).is_none_or(|order| order.is_ge()) as u64;
    }

    across_the_warp {
        "setp.lt.u32 %q, %a, 1000; vote.sync.ballot.b32 %e, %q, 0xffffffff; mov.u32 %f, %laneid; shr.u32 %e, %e, %f; and.b32 %d, %e, 1;" => |a, _, _| (lo(a) < 1000) as u64;
        "mov.u32 %e, %lanemask_lt; mov.u32 %f, %laneid; shl.b32 %d, 1, %f; sub.u32 %d, %d, 1; sub.u32 %d, %d, %e;" => |_, _, _| 0;
        "shfl.sync.bfly.b32 %e|%q, %a, 5, 31, 0xffffffff; shfl.sync.bfly.b32 %d|%q, %e, 5, 31, 0xffffffff;" => |a, _, _| a & 0xffff_ffff;
        // The distance is taken modulo 32.
        "shfl.sync.up.b32 %e|%q, %a, 32, 0, 0xffffffff; selp.u32 %d, 7, %e, %q;" => |_, _, _| 7;
        "activemask.b32 %d;" => |_, _, _| 0xffff_ffff;
    }
}

fn table3(a: u64, b: u64, c: u64, table: u32) -> u64 {
    (0..32).map(|i| ((table >> ((a >> i & 1) << 2 | (b >> i & 1) << 1 | c >> i & 1) & 1) as u64) << i).sum()
}

/// Bit field `len` long from `pos` of the low `bits` of `v`.
fn field(v: u64, pos: u64, len: u64, bits: u64, signed: bool) -> u64 {
    let bit = |i: u64| if i < bits { v >> i & 1 } else { 0 };
    let last = (pos + len).saturating_sub(1).min(bits - 1);
    let sign = if signed && len > 0 { bit(last) } else { 0 };
    (0..bits).map(|i| (if i < len && pos + i < bits { bit(pos + i) } else { sign }) << i).sum()
}

/// `a`'s low `len` bits put into `b` from `pos`.
fn insert(a: u64, b: u64, pos: u64, len: u64, bits: u64) -> u64 {
    (0..bits).map(|i| (if i >= pos && i < pos + len { a >> (i - pos) } else { b >> i } & 1) << i).sum()
}

/// The bytes that selectors name, sign replicated where bit 3 is set.
fn bytes(a: u64, b: u64, selectors: [u32; 4]) -> u64 {
    let both = a & 0xffff_ffff | b << 32;
    let byte = |n: u32| {
        let v = (both >> (8 * (n & 7))) as u8;
        if n & 8 != 0 { (v as i8 >> 7) as u8 } else { v }
    };
    u32::from_le_bytes(selectors.map(byte)) as u64
}

/// Every NaN is the canonical one.
fn nan32(x: f32) -> u64 {
    if x.is_nan() { 0x7fff_ffff } else { x.to_bits() as u64 }
}

#[test]
fn an_unknown_instruction_is_an_error_that_names_its_line() {
    let text = kernel("frobnicate.u32 %d, %a, %b;");
    let line = 1 + text.lines().position(|l| l.contains("frobnicate")).unwrap();
    let error = wcodec_emulator::ptx::Module::parse(&text).err().unwrap().to_string();
    assert!(error.contains(&line.to_string()), "{error}");
}

#[test]
fn lanes_part_and_meet() {
    // Each lane loops as often as its number says; all are together again for the ballot.
    let body = "mov.u32 %e, %laneid;
L: setp.eq.u32 %q, %e, 0; @%q bra M;
    setp.gt.u32 %r, %e, 20; @%r bra N; add.u32 %d, %d, 1; bra O;
N: add.u32 %d, %d, 100;
O: sub.u32 %e, %e, 1; bra L;
M: vote.sync.ballot.b32 %f, %q, 0xffffffff; add.u32 %d, %d, %f; add.u32 %d, %d, 1;
    mov.u32 %e, %laneid; min.u32 %f, %e, 20; sub.u32 %d, %d, %f; sub.u32 %e, %e, %f; mul.lo.u32 %e, %e, 100; sub.u32 %d, %d, %e;";
    check(body, |_, _, _| 0);
}
