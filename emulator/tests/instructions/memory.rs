//! Loads, stores, atomics and asynchronous copies: every space, width and number of elements.

use crate::common::{HEAD, Machine, Numbers, every_mode};

const TYPES: [(&str, usize); 15] = [
    ("b8", 1),
    ("u8", 1),
    ("s8", 1),
    ("b16", 2),
    ("u16", 2),
    ("s16", 2),
    ("b32", 4),
    ("u32", 4),
    ("s32", 4),
    ("f32", 4),
    ("b64", 8),
    ("u64", 8),
    ("s64", 8),
    ("f64", 8),
    ("b32", 4),
];
const THREADS: usize = 64;
/// Bytes that each thread has.
const OWN: usize = 32;

/// A kernel in which every thread has 32 bytes at `%p`, at `%o`, in shared memory at `%s` and in local memory at `mine`.
fn machine(body: &str) -> Machine {
    Machine::new(&format!(
        "{HEAD}
.extern .shared .align 32 .b8 smem[];
.const .align 4 .b32 numbers[4] = {{10, 20, 30, 40}};
.global .align 8 .u64 place[2] = {{generic(numbers)+8, 77}};
.visible .entry k(.param .u64 in, .param .u64 out)
{{
    .local .align 32 .b8 mine[32];
    .reg .b16 %h<8>;
    .reg .b32 %a, %b, %c, %d, %t, %s, %r<8>;
    .reg .b64 %A, %B, %C, %D, %p, %o, %l, %x, %g<8>;
    .reg .pred %q;
    mov.u32 %t, %tid.x;
    ld.param.u64 %p, [in];
    ld.param.u64 %o, [out];
    mad.wide.u32 %p, %t, 32, %p;
    mad.wide.u32 %o, %t, 32, %o;
    mov.u32 %s, smem;
    mad.lo.u32 %s, %t, 32, %s;
    mov.u64 %l, mine;
{body}
    ret;
}}
"
    ))
}

/// Runs the body on random bytes in every mode; `expected` is what a thread's 32 bytes of output become, zeros before.
fn check(body: &str, expected: impl Fn(&[u8], &mut [u8])) {
    let mut rng = Numbers(body.len() as u64);
    let input: Vec<u8> = (0..THREADS * OWN).map(|_| rng.next() as u8).collect();
    let machine = machine(body);
    for options in every_mode() {
        let (from, to) = (machine.put(&input), machine.put(&vec![0; input.len()]));
        machine.run(1, THREADS as u32, (THREADS * OWN) as u32, &[from, to], &options).unwrap_or_else(|e| panic!("{body}: {e}"));
        for (got, own) in machine.get(to, input.len()).chunks(OWN).zip(input.chunks(OWN)) {
            let mut want = [0; OWN];
            expected(own, &mut want);
            assert_eq!(got, want, "{body} of {own:02x?} ({options:?})");
        }
    }
}

fn registers(bytes: usize, count: usize) -> String {
    let prefix = match bytes {
        8 => "%g",
        4 => "%r",
        _ => "%h",
    };
    let list: Vec<String> = (0..count).map(|index| format!("{prefix}{index}")).collect();
    if count == 1 { list.concat() } else { format!("{{{}}}", list.join(", ")) }
}

#[test]
fn every_space_type_and_width_goes_there_and_back() {
    for (ty, bytes) in TYPES {
        for (vector, count) in [("", 1), (".v2", 2), (".v4", 4)] {
            if bytes * count > 32 {
                continue;
            }
            let list = registers(bytes, count);
            let (load, store) =
                (format!("ld.global{vector}.{ty} {list}, [%p];"), format!("st.global{vector}.{ty} [%o], {list};"));
            let there_and_back = |space: &str, place: &str| {
                format!("st{space}{vector}.{ty} [{place}], {list}; ld{space}{vector}.{ty} {list}, [{place}];")
            };
            let bodies = [
                format!("{load}\n{store}"),
                format!("ld{vector}.{ty} {list}, [%p];\nst{vector}.{ty} [%o], {list};"),
                format!("{load}\n{}\n{store}", there_and_back(".shared", "%s")),
                format!("{load}\n{}\n{store}", there_and_back(".local", "%l")),
                format!("{load}\n{}\n{store}", there_and_back(".local", "mine")),
                format!("cvt.u64.u32 %x, %s; cvta.shared.u64 %x, %x;\n{load}\n{}\n{store}", there_and_back("", "%x")),
                format!("cvta.local.u64 %x, %l;\n{load}\n{}\n{store}", there_and_back("", "%x")),
            ];
            for body in bodies {
                check(&body, |own, out| out[..bytes * count].copy_from_slice(&own[..bytes * count]));
            }
        }
    }
}

#[test]
fn orders_scopes_and_cache_hints_change_no_value() {
    for load in [
        "ld.volatile.global",
        "ld.relaxed.gpu.global",
        "ld.acquire.sys.global",
        "ld.global.ca",
        "ld.global.cg",
        "ld.global.nc",
        "ldu.global",
    ] {
        check(&format!("{load}.u32 %a, [%p+4];\nst.global.u32 [%o], %a;"), |own, out| out[..4].copy_from_slice(&own[4..8]));
    }
    for store in ["st.volatile.global", "st.relaxed.gpu.global", "st.release.sys.global", "st.global.wb", "st.global.cs"] {
        check(&format!("ld.global.u32 %a, [%p];\n{store}.u32 [%o+28], %a;"), |own, out| out[28..].copy_from_slice(&own[..4]));
    }
}

#[test]
fn narrow_loads_are_extended_as_their_type_says() {
    let wide = |ty: &str| format!("ld.global.{ty} %A, [%p+8];\nst.global.u64 [%o], %A;");
    let word = |ty: &str| format!("ld.global.{ty} %a, [%p+8];\nst.global.u32 [%o], %a;");
    type Extended = fn(&[u8]) -> i64;
    let types: [(&str, Extended); 6] = [
        ("s8", |v| i64::from(v[0] as i8)),
        ("u8", |v| i64::from(v[0])),
        ("s16", |v| i64::from(i16::from_le_bytes([v[0], v[1]]))),
        ("u16", |v| i64::from(u16::from_le_bytes([v[0], v[1]]))),
        ("s32", |v| i64::from(i32::from_le_bytes([v[0], v[1], v[2], v[3]]))),
        ("u32", |v| i64::from(u32::from_le_bytes([v[0], v[1], v[2], v[3]]))),
    ];
    for (ty, extended) in types {
        check(&wide(ty), |own, out| out[..8].copy_from_slice(&extended(&own[8..]).to_le_bytes()));
        check(&word(ty), |own, out| out[..4].copy_from_slice(&(extended(&own[8..]) as i32).to_le_bytes()));
    }
    // A store of a wider register stores its low bits.
    check("ld.global.u32 %a, [%p];\nst.global.u8 [%o], %a;\nst.global.u16 [%o+2], %a;", |own, out| {
        (out[0], out[2], out[3]) = (own[0], own[0], own[1]);
    });
}

#[test]
fn predicates_keep_lanes_from_memory() {
    let body = "and.b32 %a, %t, 1;\nsetp.eq.u32 %q, %a, 0;\nmov.u32 %b, 0;\n@%q ld.global.u32 %b, [%p];\n@!%q ld.global.u32 %b, [%p+4];\n\
        setp.lt.u32 %q, %b, 2147483648;\n@%q st.global.u32 [%o], %b;";
    let machine = machine(body);
    let input: Vec<u8> = (0..THREADS * OWN).map(|i| (i * 37 % 251) as u8).collect();
    let (from, to) = (machine.put(&input), machine.put(&vec![0; input.len()]));
    machine.run(1, THREADS as u32, 0, &[from, to], &every_mode()[2]).unwrap();
    for (thread, (got, own)) in machine.get(to, input.len()).chunks(OWN).zip(input.chunks(OWN)).enumerate() {
        let word = if thread % 2 == 0 { &own[..4] } else { &own[4..8] };
        assert_eq!(&got[..4], if word[3] < 128 { word } else { &[0; 4] }, "thread {thread}");
    }
}

#[test]
fn variables_of_the_module() {
    check("ld.const.v2.u32 {%a, %b}, [numbers+8];\nst.global.v2.u32 [%o], {%a, %b};", |_, out| (out[0], out[4]) = (30, 40));
    check(
        "ld.global.u64 %x, [place];\nld.u32 %a, [%x];\nld.global.u32 %b, [place+8];\nst.global.v2.u32 [%o], {%a, %b};",
        |_, out| {
            (out[0], out[4]) = (30, 77);
        },
    );
}

/// What an atomic leaves, by its name and type.
fn combined(operation: &str, ty: &str, old: u64, b: u64, c: u64) -> u64 {
    let signed = |v: u64| if ty == "s32" { i64::from(v as i32) } else { v as i64 };
    let float = |f32: fn(f32, f32) -> f32, f64: fn(f64, f64) -> f64| match ty {
        "f32" => u64::from(f32(f32::from_bits(old as u32), f32::from_bits(b as u32)).to_bits()),
        _ => f64(f64::from_bits(old), f64::from_bits(b)).to_bits(),
    };
    match operation {
        "add" if ty.starts_with('f') => float(|a, b| a + b, |a, b| a + b),
        "add" => old.wrapping_add(b),
        "min" if ty.starts_with('s') => signed(old).min(signed(b)) as u64,
        "max" if ty.starts_with('s') => signed(old).max(signed(b)) as u64,
        "min" => old.min(b),
        "max" => old.max(b),
        "and" => old & b,
        "or" => old | b,
        "xor" => old ^ b,
        "exch" => b,
        "cas" => {
            if old == b {
                c
            } else {
                old
            }
        }
        "inc" => {
            if old >= b {
                0
            } else {
                old + 1
            }
        }
        _ => {
            if old == 0 || old > b {
                b
            } else {
                old - 1
            }
        }
    }
}

#[test]
fn every_atomic() {
    let integers: &[&str] = &["u32", "s32", "u64", "s64"];
    let cases: [(&str, &[&str]); 10] = [
        ("add", &["u32", "s32", "u64", "f32", "f64"]),
        ("min", integers),
        ("max", integers),
        ("and", &["b32", "b64"]),
        ("or", &["b32", "b64"]),
        ("xor", &["b32", "b64"]),
        ("exch", &["b32", "b64"]),
        ("cas", &["b32", "b64"]),
        ("inc", &["u32"]),
        ("dec", &["u32"]),
    ];
    for (operation, ty) in cases.iter().flat_map(|(operation, types)| types.iter().map(move |ty| (*operation, *ty))) {
        let (bytes, r) = if ty.ends_with("64") { (8, "g") } else { (4, "r") };
        let bits = format!("b{}", 8 * bytes);
        // The first operand is made to agree in half of the lanes, where equality matters, and is no NaN.
        let agree = "and.b32 %d, %t, 1;\nsetp.eq.u32 %q, %d, 0;";
        let agree = format!("{agree}\n@%q mov.{bits} %{r}1, %{r}0;");
        let agree = if operation == "cas" { agree } else { String::new() };
        let values =
            format!("ld.global.{bits} %{r}0, [%p];\nld.global.{bits} %{r}1, [%p+8];\nld.global.{bits} %{r}2, [%p+16];\n{agree}");
        let c = if operation == "cas" { format!(", %{r}2") } else { String::new() };
        for (space, place) in [(".shared", "%s"), (".global", "%o"), ("", "%x")] {
            let generic = if space.is_empty() { "cvt.u64.u32 %x, %s; cvta.shared.u64 %x, %x;" } else { "" };
            let plain = if space.is_empty() { ".shared" } else { space };
            let at = if space.is_empty() { "%s" } else { place };
            let atom = format!("atom{space}.{operation}.{ty} %{r}3, [{place}], %{r}1{c};");
            let red = (!matches!(operation, "exch" | "cas"))
                .then(|| format!("mov.{bits} %{r}3, %{r}0;\nred{space}.{operation}.{ty} [{place}], %{r}1;"));
            for instruction in [Some(atom), red].into_iter().flatten() {
                let body = format!(
                    "{values}\n{generic}\nst{plain}.{bits} [{at}], %{r}0;\n{instruction}\nld{plain}.{bits} %{r}4, [{at}];\n\
                     st.global.{bits} [%o], %{r}4;\nst.global.{bits} [%o+8], %{r}3;\nst.global.u32 [%o+16], %t;"
                );
                let lane = std::cell::Cell::new(0u32);
                check(&body, |own, out| {
                    let word =
                        |at: usize| u64::from_le_bytes(own[at..at + 8].try_into().unwrap()) & (u64::MAX >> (64 - 8 * bytes));
                    let thread = lane.replace((lane.get() + 1) % THREADS as u32);
                    let (old, b) = (word(0), if operation == "cas" && thread.is_multiple_of(2) { word(0) } else { word(8) });
                    out[..bytes].copy_from_slice(&combined(operation, ty, old, b, word(16)).to_le_bytes()[..bytes]);
                    out[8..8 + bytes].copy_from_slice(&old.to_le_bytes()[..bytes]);
                    out[16..20].copy_from_slice(&thread.to_le_bytes());
                });
            }
        }
    }
}

#[test]
fn atomics_of_all_lanes_and_blocks_on_one_word_all_count() {
    let machine = machine(
        "ld.param.u64 %o, [out];\natom.global.add.u32 %a, [%o], 3;\nred.global.inc.u32 [%o+4], 99;\natom.global.cas.b32 %b, [%o+8], 0, %t;",
    );
    let (from, to) = (machine.put(&[0; 64]), machine.put(&[0; 64]));
    for mut options in every_mode() {
        options.threads = 4;
        machine.memory.fill8(to, 0, 64).unwrap();
        machine.run(40, 64, 0, &[from, to], &options).unwrap();
        let words: Vec<u32> = machine.get(to, 8).chunks(4).map(|word| u32::from_le_bytes(word.try_into().unwrap())).collect();
        assert_eq!(words, [3 * 40 * 64, 40 * 64 % 100]);
    }
}

#[test]
fn asynchronous_copies_fill_up_with_zeros() {
    for (bytes, mode) in [(4, "ca"), (8, "ca"), (16, "ca"), (16, "cg")] {
        let rest = "cp.async.commit_group;\ncp.async.wait_group 0;\nld.shared.v4.u32 {%r0, %r1, %r2, %r3}, [%s];\nst.global.v4.u32 [%o], {%r0, %r1, %r2, %r3};";
        let clear = "mov.u32 %a, 0;\nst.shared.v4.u32 [%s], {%a, %a, %a, %a};";
        check(&format!("{clear}\ncp.async.{mode}.shared.global [%s], [%p], {bytes};\n{rest}"), |own, out| {
            out[..bytes].copy_from_slice(&own[..bytes]);
        });
        let some = bytes - 3;
        check(&format!("{clear}\ncp.async.{mode}.shared.global [%s], [%p], {bytes}, {some};\n{rest}"), |own, out| {
            out[..some].copy_from_slice(&own[..some]);
        });
    }
}
