//! Byte permutation, and field insertion.

use super::bits::insert64;
use super::lanes::Alu;
use super::registers::LANES;
use super::types::Ty;
use super::{Operands, Registers};
use crate::count::Pipe;

pub(super) fn find(name: &str, modifiers: &[&str]) -> Option<Alu> {
    match (name, modifiers) {
        ("prmt", ["b32"]) => Some(alu!(Alu; (a: u32, b: u32, selector: u32) -> u32 { permute(a, b, selector) })),
        ("prmt", ["b32", mode]) => {
            let exec = match *mode {
                "f4e" => exec!(|r, o, m| by_mode(r, o, m, [0x3210, 0x4321, 0x5432, 0x6543])),
                "b4e" => exec!(|r, o, m| by_mode(r, o, m, [0x5670, 0x6701, 0x7012, 0x0123])),
                "rc8" => exec!(|r, o, m| by_mode(r, o, m, [0x0000, 0x1111, 0x2222, 0x3333])),
                "ecl" => exec!(|r, o, m| by_mode(r, o, m, [0x3210, 0x3211, 0x3222, 0x3333])),
                "ecr" => exec!(|r, o, m| by_mode(r, o, m, [0x0000, 0x1110, 0x2210, 0x3210])),
                "rc16" => exec!(|r, o, m| by_mode(r, o, m, [0x1010, 0x3232, 0x1010, 0x3232])),
                _ => return None,
            };
            Some(Alu::new(Pipe::Alu, exec, &[Ty::B32], &[Ty::B32; 3]))
        }
        ("bfi", ["b32"]) => Some(insertion(Ty::B32, exec!(|r, o, m| insert(r, o, m, insert64)))),
        ("bfi", ["b64"]) => {
            let exec = exec!(|r, o, m| {
                let ([a, b], p, l) = ([o.a, o.b].map(|slot| *r.get::<u64>(slot)), *r.get::<u32>(o.c), *r.get::<u32>(o.imm));
                r.set::<u64>(o.d, m, &std::array::from_fn(|lane| insert64(a[lane], b[lane], p[lane], l[lane])));
            });
            Some(insertion(Ty::B64, exec))
        }
        _ => None,
    }
}

/// Four sources: field, value, position and length. The last one's slot is the operands' `imm`.
fn insertion(ty: Ty, exec: super::Exec) -> Alu {
    Alu::new(Pipe::Alu, exec, &[ty], &[ty, ty, Ty::U32, Ty::U32])
}

#[inline(always)]
fn insert(registers: &mut Registers, operands: &Operands, mask: u32, f: impl Fn(u64, u64, u32, u32) -> u64) {
    let [a, b, p, l] = [operands.a, operands.b, operands.c, operands.imm].map(|slot| *registers.get::<u32>(slot));
    let d: [u32; LANES] = std::array::from_fn(|lane| f(a[lane].into(), b[lane].into(), p[lane], l[lane]) as u32);
    registers.set(operands.d, mask, &d);
}

/// Each nibble of the selector picks one of the eight bytes of `b:a`, or, with its high bit, the byte's sign eight times.
#[inline(always)]
fn permute(a: u32, b: u32, selector: u32) -> u32 {
    (0..4).fold(0, |value, index| {
        let nibble = selector >> (4 * index);
        let word = if nibble & 4 == 0 { a } else { b };
        let byte = word >> (8 * (nibble & 3)) & 0xff;
        let sign = (byte >> 7).wrapping_neg() & 0xff;
        value | (if nibble & 8 == 0 { byte } else { sign }) << (8 * index)
    })
}

/// The low two bits of `c` pick the selector.
#[inline(always)]
fn by_mode(registers: &mut Registers, operands: &Operands, mask: u32, selectors: [u32; 4]) {
    super::lanes::map3(registers, operands, mask, |a: u32, b: u32, c: u32| -> u32 { permute(a, b, selectors[(c & 3) as usize]) });
}
