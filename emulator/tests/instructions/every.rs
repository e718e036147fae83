//! Every spelling that the emulator knows, as `spellings.txt` lists them (a unit test sees to it that the list is complete), against the
//! oracle. An exclamation mark there says that the grammar refuses the spelling before the decoder sees it.

use crate::oracle::{Signature, expected, expected_of_warp, signature};
use crate::support::{each_warp, kernel};
use wcodec_emulator::ptx::Module;

const SPELLINGS: &str = include_str!("spellings.txt");

/// The register for operand `index` of type `ty`.
fn source(index: usize, ty: &str) -> String {
    let letter = ["a", "b", "c", "e"][index];
    match width(ty) {
        0 => format!("%p{index}"),
        16 => format!("%h{index}"),
        64 => format!("%{}", letter.to_uppercase()),
        _ => format!("%{letter}"),
    }
}

/// Bits of the register for a type; none for a predicate.
fn width(ty: &str) -> u32 {
    match ty {
        "pred" => 0,
        "b16" | "u16" | "s16" | "f16" | "bf16" => 16,
        "b64" | "u64" | "s64" | "f64" => 64,
        _ => 32,
    }
}

/// The instruction between what gives it its operands and what makes a 64-bit number of its result.
fn body(spelling: &str) -> String {
    if let Some((body, _)) = of_spaces(spelling) {
        return body;
    }
    let Signature { target, pair, sources, constant, carry_in, carry_out, members } = signature(spelling);
    let (d, collect) = match (width(target), pair) {
        (0, false) => ("%q", "selp.u64 %D, 1, 0, %q;"),
        (0, true) => ("%q|%r", "selp.u64 %D, 1, 0, %q; selp.u64 %E, 2, 0, %r; or.b64 %D, %D, %E;"),
        (16, _) => ("%h3", "cvt.u64.u16 %D, %h3;"),
        (64, _) => ("%D", ""),
        // A lane's number and its predicate.
        (_, true) => ("%d|%q", "cvt.u64.u32 %D, %d; selp.u64 %E, 4294967296, 0, %q; or.b64 %D, %D, %E;"),
        _ => ("%d", "cvt.u64.u32 %D, %d;"),
    };
    let mut operands = vec![d.to_owned()];
    operands.extend(sources.iter().enumerate().map(|(index, ty)| source(index, ty)));
    operands.extend(constant.map(|constant| constant.to_string()));
    operands.extend(members.then(|| "0xffffffff".to_owned()));
    let before = if carry_in { "add.cc.u32 %e, %c, %c;" } else { "shr.u32 %e, %c, 8;" };
    let after = if carry_out { "addc.u32 %e, 0, 0; cvt.u64.u32 %E, %e; shl.b64 %E, %E, 63; xor.b64 %D, %D, %E;" } else { "" };
    format!("{before}\n    {spelling} {};\n    {collect} {after}", operands.join(", "))
}

/// The spaces that an address can be in.
const SPACES: [&str; 4] = ["global", "shared", "local", "param"];

/// Where windows of the generic address space lie is the emulator's own affair: what is tested is that an address goes there and back, and
/// is in its own space and in no other.
fn of_spaces(spelling: &str) -> Option<(String, u64)> {
    let (name, modifiers) = crate::oracle::parts(spelling);
    let space = modifiers.iter().find(|modifier| !matches!(**modifier, "to" | "u64"))?;
    let own = space.split("::").next()?.replace("const", "global");
    let own = SPACES.iter().position(|space| *space == own)?;
    let to_generic = |space: &str| format!("cvt.u64.u32 %C, %a; cvta.{space}.u64 %B, %C;");
    let test = |space: &str, bit: usize| {
        format!("isspacep.{space} %q, %B; selp.u64 %E, {}, 0, %q; or.b64 %D, %D, %E;", 1u64 << (60 + bit))
    };
    match name {
        "cvta" => {
            let tests: String = SPACES.iter().enumerate().map(|(bit, space)| test(space, bit)).collect();
            let body = format!("{} cvta.to.{space}.u64 %D, %B;\n{tests}", to_generic(space));
            Some((body, 1 << (60 + own)))
        }
        "isspacep" => {
            let tests: String =
                SPACES.iter().enumerate().map(|(bit, from)| to_generic(from) + &test(space, bit) + "\n").collect();
            Some((format!("cvt.u64.u32 %D, %a;\n{tests}"), 1 << (60 + own)))
        }
        _ => None,
    }
}

/// The results of one warp that the spelling should have, and whether which NaN comes out is left open.
fn results(spelling: &str, inputs: &[[u64; 3]]) -> (Vec<u64>, bool) {
    if let Some((_, own)) = of_spaces(spelling) {
        return (inputs.iter().map(|operands| operands[0] & 0xffff_ffff | own).collect(), false);
    }
    let Signature { target, members, .. } = signature(spelling);
    match members {
        true => (expected_of_warp(spelling, inputs), false),
        false => (inputs.iter().map(|&operands| expected(spelling, operands)).collect(), target == "f64"),
    }
}

#[test]
fn every_spelling_does_what_the_oracle_says() {
    let (mut tested, mut wrong) = (0, Vec::new());
    for spelling in SPELLINGS.lines().filter(|line| !line.starts_with('!')) {
        let body = body(spelling);
        if let Err(error) = Module::parse(&kernel(&body)) {
            wrong.push(format!("{spelling}: {error}"));
            continue;
        }
        let mut first = None;
        each_warp(&body, |inputs, got| {
            let (want, any_nan) = results(spelling, inputs);
            let same =
                |got: u64, want: u64| got == want || any_nan && f64::from_bits(got).is_nan() && f64::from_bits(want).is_nan();
            if let Some(lane) = (0..32).find(|&lane| !same(got[lane], want[lane])) {
                let (operands, got, want) = (inputs[lane], got[lane], want[lane]);
                first.get_or_insert(format!("{spelling} of {operands:#x?}: {got:#x}, not {want:#x}"));
            }
        });
        wrong.extend(first);
        tested += 1;
    }
    assert!(wrong.is_empty(), "{} are wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(tested > 1000, "{tested}");
}

#[test]
fn spellings_that_no_isa_has_are_refused_with_their_line() {
    for spelling in SPELLINGS.lines().filter_map(|line| line.strip_prefix('!')) {
        let text = kernel(&body(spelling));
        let line = 1 + text.lines().position(|line| line.contains(&format!("{spelling} "))).unwrap();
        let error = Module::parse(&text).map(|_| ()).expect_err(spelling);
        assert_eq!(error.line as usize, line, "{spelling}: {error}");
    }
}
