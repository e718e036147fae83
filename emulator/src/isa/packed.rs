//! Arithmetic on two 16-bit integers in one register.

use super::lanes::Alu;
use super::types::Ty;
use crate::count::Pipe;

#[inline(always)]
fn halves(a: u32, b: u32, f: impl Fn(u16, u16) -> u16) -> u32 {
    u32::from(f(a as u16, b as u16)) | u32::from(f((a >> 16) as u16, (b >> 16) as u16)) << 16
}

pub(super) fn find(name: &str, modifiers: &[&str]) -> Option<Alu> {
    let [ty] = modifiers else { return None };
    let exec = match (name, Ty::parse(ty)?) {
        ("add", Ty::U16x2 | Ty::S16x2) => exec!(|r, o, m| super::lanes::map2(r, o, m, |a, b| halves(a, b, u16::wrapping_add))),
        ("min", Ty::U16x2) => exec!(|r, o, m| super::lanes::map2(r, o, m, |a, b| halves(a, b, |a, b| a.min(b)))),
        ("max", Ty::U16x2) => exec!(|r, o, m| super::lanes::map2(r, o, m, |a, b| halves(a, b, |a, b| a.max(b)))),
        ("min", Ty::S16x2) => {
            exec!(|r, o, m| super::lanes::map2(r, o, m, |a, b| halves(a, b, |a, b| (a as i16).min(b as i16) as u16)))
        }
        ("max", Ty::S16x2) => {
            exec!(|r, o, m| super::lanes::map2(r, o, m, |a, b| halves(a, b, |a, b| (a as i16).max(b as i16) as u16)))
        }
        _ => return None,
    };
    Some(Alu::new(Pipe::Alu, exec, &[Ty::B32], &[Ty::B32; 2]))
}
