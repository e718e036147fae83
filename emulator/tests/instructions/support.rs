//! Kernels of one instruction, and the operands they are given.

use crate::common::{HEAD, Machine, Numbers, every_mode};

/// Values at which instructions change their ways: of integers, then of floats of 16, 32 and 64 bits.
pub const EDGES: [u64; 64] = [
    0,
    1,
    2,
    3,
    7,
    8,
    15,
    16,
    31,
    32,
    33,
    63,
    64,
    65,
    0x7f,
    0x80,
    0xff,
    0x100,
    0x7fff,
    0x8000,
    0xffff,
    0x10000,
    0x7fff_ffff,
    0x8000_0000,
    0x8000_0001,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    0xfedc_ba98_7654_3210,
    u64::MAX,
    // 1.0, 65504, the least normal, the greatest subnormal, infinities, a NaN; 1.0 and 1.5 packed
    0x3c00,
    0x7bff,
    0x0400,
    0x03ff,
    0x7c00,
    0xfc00_7c01,
    0x3c00_3e00,
    // bf16: 1.0, a subnormal, infinity; packed
    0x3f80_0001,
    0x7f80_ff80,
    // f32: 0.5, 1.0, 1.5, 2.5, subnormals, infinities, NaNs, 2^31, -2^31, 2^63, 2^64, 255.5, halves of the f16 grid
    0x3f00_0000,
    0x3f80_0000,
    0xbfc0_0000,
    0x4020_0000,
    0x0000_0001,
    0x807f_ffff,
    0x7f80_0000,
    0xff80_0000,
    0x7fc0_0001,
    0x4f00_0000,
    0xcf00_0000,
    0x5f00_0000,
    0x5f80_0000,
    0x437f_8000,
    0x3f80_1000,
    0x477f_f000,
    // f64: 0.5, -1.5, 2.5, 2^31, 2^63, infinity, a NaN, a subnormal, above the greatest f32
    0x3fe0_0000_0000_0000,
    0xbff8_0000_0000_0000,
    0x4004_0000_0000_0000,
    0x41e0_0000_0000_0000,
    0x43e0_0000_0000_0000,
    0x7ff0_0000_0000_0000,
    0xfff8_0000_0000_0001,
    0x000f_ffff_ffff_ffff,
    0x47ef_ffff_f000_0000,
];

/// Warps of a case.
pub const WARPS: usize = 64;

/// A kernel that leaves `%d` (or `%D`, 64 bits) after `body`. Operands are `%a %b %c`, `%A %B %C` with 64 bits, `%h0 %h1 %h2` with 16,
/// and `%p0 %p1 %p2`, their lowest bits.
pub fn kernel(body: &str) -> String {
    let result = if body.contains("%D") { "" } else { "cvt.u64.u32 %D, %d;" };
    let narrow: String = ["a", "b", "c"]
        .iter()
        .enumerate()
        .map(|(i, from)| format!("cvt.u16.u32 %h{i}, %{from}; and.b32 %f, %{from}, 1; setp.ne.u32 %p{i}, %f, 0;\n    "))
        .collect();
    format!(
        "{HEAD}
.visible .entry k(.param .u64 in, .param .u64 out)
{{
    .reg .b32 %a, %b, %c, %d, %e, %f, %t;
    .reg .b64 %A, %B, %C, %D, %E, %p, %o;
    .reg .b16 %h, %i, %h<4>;
    .reg .pred %q, %r, %p<3>;
    mov.u32 %t, %tid.x;
    mov.u32 %a, %ctaid.x;
    mad.lo.u32 %t, %a, 32, %t;
    ld.param.u64 %p, [in];
    mad.wide.u32 %p, %t, 24, %p;
    ld.param.u64 %o, [out];
    mad.wide.u32 %o, %t, 8, %o;
    ld.global.u64 %A, [%p];
    ld.global.u64 %B, [%p+8];
    ld.global.u64 %C, [%p+16];
    cvt.u32.u64 %a, %A;
    cvt.u32.u64 %b, %B;
    cvt.u32.u64 %c, %C;
    {narrow}mov.u32 %d, 0;
    {body}
    {result}
    st.global.u64 [%o], %D;
    ret;
}}
"
    )
}

/// The operands of every thread: edges and random numbers.
pub fn operands(seed: u64) -> Vec<[u64; 3]> {
    let mut rng = Numbers(seed);
    let mut value = || match rng.below(3) {
        0 => rng.next(),
        _ => EDGES[rng.below(EDGES.len() as u64) as usize],
    };
    (0..32 * WARPS).map(|_| [value(), value(), value()]).collect()
}

/// Runs the body plainly, counting and sanitizing; calls `judge` with the operands and results of each warp.
pub fn each_warp(body: &str, mut judge: impl FnMut(&[[u64; 3]], &[u64])) {
    let inputs = operands(body.len() as u64);
    let bytes: Vec<u8> = inputs.as_flattened().iter().flat_map(|v| v.to_le_bytes()).collect();
    let machine = Machine::new(&kernel(body));
    for options in every_mode() {
        let (input, output) = (machine.put(&bytes), machine.put(&vec![0; 8 * inputs.len()]));
        machine.run(WARPS as u32, 32, 0, &[input, output], &options).unwrap_or_else(|e| panic!("{body}: {e}"));
        let bytes = machine.get(output, 8 * inputs.len());
        let results: Vec<u64> = bytes.chunks(8).map(|out| u64::from_le_bytes(out.try_into().unwrap())).collect();
        inputs.chunks(32).zip(results.chunks(32)).for_each(|(inputs, results)| judge(inputs, results));
    }
}

/// What comes out of every lane is `expected` of what went in.
pub fn check(body: &str, expected: impl Fn(u64, u64, u64) -> u64) {
    each_warp(body, |inputs, results| {
        for (&got, &[a, b, c]) in results.iter().zip(inputs) {
            let want = expected(a, b, c);
            assert_eq!(got, want, "{body} of {a:#x}, {b:#x}, {c:#x}: {got:#x}, not {want:#x}");
        }
    });
}
