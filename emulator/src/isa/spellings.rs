//! Every spelling of an instruction that [`super::find`] and [`super::find_warp`] know, found by trying: the conformance tests go through
//! the list of them that is committed, so that none is without its test.

use std::collections::BTreeSet;

const TYPES: &[&str] = &[
    "pred", "b8", "b16", "b32", "b64", "u8", "u16", "u32", "u64", "s8", "s16", "s32", "s64", "f16", "f16x2", "bf16", "bf16x2",
    "f32", "f64", "u16x2", "s16x2",
];
const COMPARISONS: &[&str] = &[
    "eq", "ne", "lt", "le", "gt", "ge", "lo", "ls", "hi", "hs", "equ", "neu", "ltu", "leu", "gtu", "geu", "num", "nan", "and",
    "or", "xor", "ftz",
];
const SPACES: &[&str] = &["to", "global", "const", "shared", "shared::cta", "local", "param", "param::entry", "u64", "u32"];

/// Names, what may stand before the types, and how many types there may be.
const NAMES: &[(&[&str], &[&str], usize)] = &[
    (
        &[
            "add", "sub", "mul", "mad", "fma", "div", "rem", "min", "max", "abs", "neg", "sqrt", "rcp", "sad", "copysign",
            "mul24", "mad24", "addc", "subc", "madc", "dp4a", "slct",
        ],
        &["sat", "rn", "rz", "rm", "rp", "ftz", "lo", "hi", "wide", "cc", "NaN", "approx", "full"],
        2,
    ),
    (
        &["and", "or", "xor", "not", "cnot", "mov", "lop3", "selp", "shl", "shr", "popc", "clz", "brev", "fns", "bfe", "bfi"],
        &[],
        1,
    ),
    (&["bfind", "bmsk", "szext", "shf"], &["shiftamt", "l", "r", "wrap", "clamp"], 1),
    (&["setp"], COMPARISONS, 1),
    (&["testp"], &["finite", "infinite", "number", "notanumber", "normal", "subnormal"], 1),
    (&["cvt"], &["rn", "rz", "rm", "rp", "rni", "rzi", "rmi", "rpi", "ftz", "sat"], 2),
    (&["prmt"], &["b32", "f4e", "b4e", "rc8", "ecl", "ecr", "rc16"], 0),
    (&["cvta", "isspacep"], SPACES, 0),
    (&["vote", "shfl", "match", "redux", "elect"], WARP, 0),
];
const WARP: &[&str] = &[
    "sync", "all", "any", "uni", "ballot", "up", "down", "bfly", "idx", "add", "min", "max", "and", "or", "xor", "pred", "b32",
    "b64", "u32", "s32",
];

/// Calls `f` with every sequence of at most `most` of `words` after `head`.
fn sequences<'a>(head: &mut Vec<&'a str>, words: &[&'a str], most: usize, f: &mut impl FnMut(&[&'a str])) {
    f(head);
    if most > 0 {
        for word in words {
            head.push(word);
            sequences(head, words, most - 1, f);
            head.pop();
        }
    }
}

fn spellings() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (names, before, types) in NAMES {
        let most = if before.is_empty() { 0 } else { 3 };
        sequences(&mut Vec::new(), before, most, &mut |head| {
            sequences(&mut head.to_vec(), TYPES, *types, &mut |modifiers| {
                for name in *names {
                    if super::find(name, modifiers).is_some() || super::find_warp(name, modifiers).is_some() {
                        found.insert(modifiers.iter().fold((*name).to_owned(), |all, part| all + "." + part));
                    }
                }
            });
        });
    }
    found
}

#[test]
fn the_committed_list_is_complete() {
    let found = spellings();
    let list = include_str!("../../tests/instructions/spellings.txt");
    let listed: BTreeSet<String> = list.lines().map(|line| line.trim_start_matches('!').to_owned()).collect();
    let missing: Vec<_> = found.difference(&listed).collect();
    let gone: Vec<_> = listed.difference(&found).collect();
    assert!(missing.is_empty() && gone.is_empty(), "not listed: {missing:#?}\nnot known any more: {gone:#?}");
}
