//! What instructions do, written from the PTX manual: slow, by name, in 128-bit integers and by search. Shares nothing with the emulator.

mod convert;
mod float;
mod half;
mod integer;
mod warp;

pub use warp::expected_of_warp;

/// The operands of a spelling.
pub struct Signature<'a> {
    pub target: &'a str,
    /// Whether a second destination, a predicate, can be had.
    pub pair: bool,
    pub sources: Vec<&'a str>,
    /// The last operand, where it must be a constant.
    pub constant: Option<u32>,
    pub carry_in: bool,
    pub carry_out: bool,
    /// Whether it works across lanes, and has a mask of them.
    pub members: bool,
}

/// Splits a spelling.
pub fn parts(spelling: &str) -> (&str, Vec<&str>) {
    let mut parts = spelling.split('.');
    (parts.next().unwrap(), parts.collect())
}

pub fn signature(spelling: &str) -> Signature<'_> {
    let (name, modifiers) = parts(spelling);
    let ty = *modifiers.last().unwrap();
    let wider = match ty {
        "u16" => "u32",
        "s16" => "s32",
        "u32" => "u64",
        _ => "s64",
    };
    let is = |modifier: &str| modifiers.contains(&modifier);
    let (target, sources) = match name {
        "abs" | "neg" | "sqrt" | "rcp" | "not" | "cnot" | "mov" | "brev" => (ty, vec![ty]),
        "popc" | "clz" | "bfind" => ("u32", vec![ty]),
        "mul" if is("wide") => (wider, vec![ty; 2]),
        "mad" if is("wide") => (wider, vec![ty, ty, wider]),
        "add" if ty.ends_with("x2") => ("b32", vec!["b32"; 2]),
        "mad" | "madc" | "fma" | "sad" | "mad24" | "lop3" => (ty, vec![ty; 3]),
        "dp4a" => ("u32", vec!["u32"; 3]),
        "selp" => (ty, vec![ty, ty, "pred"]),
        "slct" => {
            let of = modifiers[modifiers.len() - 2];
            (of, vec![of, of, ty])
        }
        "shl" | "shr" | "szext" => (ty, vec![ty, "u32"]),
        "bmsk" => (ty, vec!["u32"; 2]),
        "shf" | "fns" | "prmt" => ("b32", vec!["b32"; 3]),
        "bfe" => (ty, vec![ty, "u32", "u32"]),
        "bfi" => (ty, vec![ty, ty, "u32", "u32"]),
        "setp" if is("and") || is("or") || is("xor") => ("pred", vec![ty, ty, "pred"]),
        "setp" => ("pred", vec![ty; 2]),
        "testp" => ("pred", vec![ty]),
        "cvt" if ty == "f32" && (is("f16x2") || is("bf16x2")) => ("b32", vec!["f32"; 2]),
        "cvt" => (modifiers[modifiers.len() - 2], vec![ty]),
        "cvta" => ("u64", vec!["u64"]),
        "isspacep" => ("pred", vec!["u64"]),
        "vote" if ty == "pred" => ("pred", vec!["pred"]),
        "vote" => ("b32", vec!["pred"]),
        "shfl" => ("b32", vec!["b32"; 3]),
        "match" => ("b32", vec![ty]),
        "redux" => (ty, vec![ty]),
        "elect" => ("b32", vec![]),
        _ => (ty, vec![ty; 2]),
    };
    Signature {
        target,
        pair: matches!(name, "setp" | "shfl" | "elect") || name == "match" && is("all"),
        sources,
        constant: (name == "lop3").then_some(0x2d),
        carry_in: matches!(name, "addc" | "subc" | "madc"),
        carry_out: is("cc"),
        members: matches!(name, "vote" | "shfl" | "match" | "redux" | "elect"),
    }
}

/// The low `bits` bits.
pub fn low(value: u128, bits: u32) -> u64 {
    (value & (u128::MAX >> (128 - bits))) as u64
}

/// Bits of a type.
pub fn bits(ty: &str) -> u32 {
    match ty {
        "b8" | "u8" | "s8" => 8,
        "b16" | "u16" | "s16" | "f16" | "bf16" => 16,
        "b64" | "u64" | "s64" | "f64" => 64,
        _ => 32,
    }
}

/// An operand as a number.
pub fn number(ty: &str, value: u64) -> i128 {
    let above = 64 - bits(ty);
    if ty.starts_with('s') { i128::from((value << above) as i64 >> above) } else { i128::from(value << above >> above) }
}

/// What a lane has after the instruction and what `every.rs` puts behind it.
pub fn expected(spelling: &str, operands: [u64; 3]) -> u64 {
    let (name, modifiers) = parts(spelling);
    let ty = *modifiers.last().unwrap();
    let floats = ["f16", "bf16", "f32", "f64", "f16x2", "bf16x2"];
    match name {
        "cvt" => convert::expected(&modifiers, operands),
        "mov" | "selp" | "slct" | "setp" | "testp" => float::choices(name, &modifiers, operands),
        _ if ["f16", "bf16", "f16x2", "bf16x2"].contains(&ty) => half::expected(name, ty, operands),
        _ if floats.contains(&ty) => float::arithmetic(name, &modifiers, operands),
        _ => integer::expected(name, &modifiers, operands),
    }
}
