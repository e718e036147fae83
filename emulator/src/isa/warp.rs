//! Instructions across the lanes of a warp. The executor has checked that the lanes in `mask` are the ones that take part.

use super::registers::LANES;
use super::types::Ty;
use super::{Operands, Registers};

/// The code of an instruction across lanes.
pub(crate) type WarpOp = fn(&mut Registers, &Operands, u32);

/// An instruction across lanes and its operands' types. The mask that names the members is not among the sources.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    pub(crate) run: WarpOp,
    pub(crate) targets: Vec<Ty>,
    pub(crate) sources: Vec<Ty>,
}

fn shape(run: WarpOp, targets: &[Ty], sources: &[Ty]) -> Option<Shape> {
    Some(Shape { run, targets: targets.to_vec(), sources: sources.to_vec() })
}

/// The instruction `name.modifiers` (`sync` among the modifiers), if it is one across lanes.
pub(crate) fn find(name: &str, modifiers: &[&str]) -> Option<Shape> {
    use Ty::{B32, B64, Pred, S32, U32};
    match (name, modifiers) {
        ("vote", ["sync", "all", "pred"]) => shape(|r, o, m| vote(r, o, m, |yes, m| yes == m), &[Pred], &[Pred]),
        ("vote", ["sync", "any", "pred"]) => shape(|r, o, m| vote(r, o, m, |yes, _| yes != 0), &[Pred], &[Pred]),
        ("vote", ["sync", "uni", "pred"]) => shape(|r, o, m| vote(r, o, m, |yes, m| yes == 0 || yes == m), &[Pred], &[Pred]),
        ("vote", ["sync", "ballot", "b32"]) => shape(
            |r, o, m| {
                let votes = r.predicate(o.a) & m;
                r.set::<u32>(o.d, m, &[votes; LANES]);
            },
            &[B32],
            &[Pred],
        ),
        ("shfl", ["sync", mode, "b32"]) => shape(
            match *mode {
                // Only `up` is bounded below: its segment's mask holds the first lane instead of the last.
                "up" => |r, o, m| shuffle(r, o, m, |lane, by, bound| (lane - by, lane - by >= bound)),
                "down" => |r, o, m| shuffle(r, o, m, |lane, by, bound| (lane + by, lane + by <= bound)),
                "bfly" => |r, o, m| shuffle(r, o, m, |lane, by, bound| (lane ^ by, lane ^ by <= bound)),
                "idx" => shuffle_indexed,
                _ => return None,
            },
            &[B32, Pred],
            &[B32, U32, U32],
        ),
        ("match", ["any", "sync", "b32"]) => shape(match_any::<u32>, &[B32], &[B32]),
        ("match", ["any", "sync", "b64"]) => shape(match_any::<u64>, &[B32], &[B64]),
        ("match", ["all", "sync", "b32"]) => shape(match_all::<u32>, &[B32, Pred], &[B32]),
        ("match", ["all", "sync", "b64"]) => shape(match_all::<u64>, &[B32, Pred], &[B64]),
        ("redux", ["sync", operation, ty]) => {
            let run: WarpOp = match (*operation, *ty) {
                ("add", "u32" | "s32") => |r, o, m| reduce(r, o, m, u32::wrapping_add),
                ("min", "u32") => |r, o, m| reduce(r, o, m, |a, b| a.min(b)),
                ("max", "u32") => |r, o, m| reduce(r, o, m, |a, b| a.max(b)),
                ("min", "s32") => |r, o, m| reduce(r, o, m, |a, b| (a as i32).min(b as i32) as u32),
                ("max", "s32") => |r, o, m| reduce(r, o, m, |a, b| (a as i32).max(b as i32) as u32),
                ("and", "b32") => |r, o, m| reduce(r, o, m, |a, b| a & b),
                ("or", "b32") => |r, o, m| reduce(r, o, m, |a, b| a | b),
                ("xor", "b32") => |r, o, m| reduce(r, o, m, |a, b| a ^ b),
                _ => return None,
            };
            let ty = if *ty == "s32" { S32 } else { U32 };
            shape(run, &[ty], &[ty])
        }
        ("elect", ["sync"]) => shape(
            |r, o, m| {
                r.set::<u32>(o.d, m, &[m.trailing_zeros(); LANES]);
                r.set_predicate(o.e, m, 1 << m.trailing_zeros());
            },
            &[B32, Pred],
            &[],
        ),
        _ => None,
    }
}

fn lanes(mask: u32) -> impl Iterator<Item = usize> {
    (0..LANES).filter(move |lane| mask >> lane & 1 != 0)
}

fn vote(registers: &mut Registers, operands: &Operands, mask: u32, f: impl Fn(u32, u32) -> bool) {
    let holds = f(registers.predicate(operands.a) & mask, mask);
    registers.set_predicate(operands.d, mask, u32::from(holds).wrapping_neg());
}

/// Segments as the instruction's `c` operand says: the clamp in bits 0 to 4, the mask of the bits that pick the segment in 8 to 12.
fn shuffle(registers: &mut Registers, operands: &Operands, mask: u32, f: impl Fn(i32, i32, i32) -> (i32, bool)) {
    let [a, b, c] = [operands.a, operands.b, operands.c].map(|slot| *registers.get::<u32>(slot));
    let (mut d, mut inside) = ([0; LANES], 0);
    for lane in 0..LANES {
        let (clamp, segment) = (c[lane] & 31, c[lane] >> 8 & 31);
        let bound = lane as u32 & segment | clamp & !segment;
        let (source, valid) = f(lane as i32, (b[lane] & 31) as i32, bound as i32);
        d[lane] = a[if valid { source as usize } else { lane }];
        inside |= u32::from(valid) << lane;
    }
    registers.set(operands.d, mask, &d);
    registers.set_predicate(operands.e, mask, inside);
}

fn shuffle_indexed(registers: &mut Registers, operands: &Operands, mask: u32) {
    let c = *registers.get::<u32>(operands.c);
    shuffle(registers, operands, mask, |lane, by, bound| {
        let segment = c[lane as usize] >> 8 & 31;
        let source = (lane as u32 & segment | by as u32 & !segment & 31) as i32;
        (source, source <= bound)
    });
}

fn match_any<T: super::registers::Lane + PartialEq>(registers: &mut Registers, operands: &Operands, mask: u32) {
    let a = registers.get::<T>(operands.a);
    let d: [u32; LANES] =
        std::array::from_fn(|lane| lanes(mask).filter(|&other| a[other] == a[lane]).fold(0, |bits, other| bits | 1 << other));
    registers.set(operands.d, mask, &d);
}

fn match_all<T: super::registers::Lane + PartialEq>(registers: &mut Registers, operands: &Operands, mask: u32) {
    let a = registers.get::<T>(operands.a);
    let first = a[mask.trailing_zeros() as usize & 31];
    let all = lanes(mask).all(|lane| a[lane] == first);
    registers.set::<u32>(operands.d, mask, &[if all { mask } else { 0 }; LANES]);
    registers.set_predicate(operands.e, mask, u32::from(all).wrapping_neg());
}

fn reduce(registers: &mut Registers, operands: &Operands, mask: u32, f: impl Fn(u32, u32) -> u32) {
    let a = registers.get::<u32>(operands.a);
    let total = lanes(mask).map(|lane| a[lane]).reduce(f).unwrap_or(0);
    registers.set(operands.d, mask, &[total; LANES]);
}
