//! Branches, calls, barriers, special registers, parameters.

use crate::common::{HEAD, Machine, every_mode};
use wcodec_emulator::exec::{Launch, run};
use wcodec_emulator::ptx::Module;

/// A kernel whose threads each store `%d` at `out`, by their number in the grid.
fn text(functions: &str, body: &str) -> String {
    format!(
        "{HEAD}{functions}
.visible .entry k(.param .u64 out, .param .u32 word, .param .s16 half, .param .u8 byte)
{{
    .reg .b16 %h;
    .reg .b32 %a, %b, %c, %d, %e, %i, %n, %t;
    .reg .b64 %A, %o;
    .reg .pred %p, %q, %r;
    mov.u32 %t, %tid.x;
    mov.u32 %i, %ctaid.x;
    mov.u32 %n, %ntid.x;
    mad.lo.u32 %i, %i, %n, %t;
    mov.u32 %d, 0;
    {body}
    ld.param.u64 %o, [out];
    mad.wide.u32 %o, %i, 4, %o;
    st.global.u32 [%o], %d;
    ret;
}}
"
    )
}

/// Runs `blocks` of `threads` in every mode; `expected` is by block and thread.
fn check_with(functions: &str, body: &str, blocks: u32, threads: u32, expected: impl Fn(u32, u32) -> u32) {
    let machine = Machine::new(&text(functions, body));
    for options in every_mode() {
        let out = machine.put(&vec![0; 4 * (blocks * threads) as usize]);
        let mut params = out.to_le_bytes().to_vec();
        params.extend([0x78, 0x56, 0x34, 0x92, 0xfe, 0xff, 0xe7]);
        let launch = Launch { grid: [blocks, 1, 1], block: [threads, 1, 1], dynamic_shared: 256, params };
        run(machine.module.kernel("k").unwrap(), &machine.globals, &machine.memory, &launch, &options)
            .unwrap_or_else(|fault| panic!("{body}: {fault}"));
        for (index, word) in (0..).zip(machine.get(out, 4 * (blocks * threads) as usize).chunks(4)) {
            let got = u32::from_le_bytes(word.try_into().unwrap());
            let (block, thread) = (index / threads, index % threads);
            assert_eq!(got, expected(block, thread), "{body}: block {block}, thread {thread} ({options:?})");
        }
    }
}

fn check(body: &str, expected: impl Fn(u32, u32) -> u32) {
    check_with("", body, 3, 96, expected);
}

#[test]
fn special_registers() {
    let mask =
        |f: fn(u32, u32) -> bool| move |_: u32, thread: u32| (0..32).filter(|&bit| f(bit, thread % 32)).map(|bit| 1 << bit).sum();
    check("mov.u32 %d, %laneid;", |_, thread| thread % 32);
    check("mov.u32 %d, %warpid;", |_, thread| thread / 32);
    check("mov.u32 %d, %nwarpid;", |_, _| 3);
    check("mov.u32 %d, %ctaid.x;", |block, _| block);
    check("mov.u32 %d, %nctaid.x;", |_, _| 3);
    check("mov.u32 %d, %ntid.x;", |_, _| 96);
    check("mov.u32 %a, %tid.y; mov.u32 %b, %ntid.z; mov.u32 %c, %nctaid.y; mad.lo.u32 %d, %b, %c, %a;", |_, _| 1);
    check("mov.u32 %d, %lanemask_lt;", mask(|bit, lane| bit < lane));
    check("mov.u32 %d, %lanemask_le;", mask(|bit, lane| bit <= lane));
    check("mov.u32 %d, %lanemask_eq;", mask(|bit, lane| bit == lane));
    check("mov.u32 %d, %lanemask_ge;", mask(|bit, lane| bit >= lane));
    check("mov.u32 %d, %lanemask_gt;", mask(|bit, lane| bit > lane));
    check("mov.u32 %d, %dynamic_smem_size;", |_, _| 256);
    check("mov.u32 %d, WARP_SZ;", |_, _| 32);
    check("mov.u32 %a, %clock; mov.u32 %b, %clock; sub.u32 %c, %b, %a; min.u32 %d, %c, 1;", |_, _| 1);
    check(
        "and.b32 %a, %t, 1; setp.eq.u32 %p, %a, 0; @%p activemask.b32 %d;",
        |_, thread| if thread % 2 == 0 { 0x5555_5555 } else { 0 },
    );
}

#[test]
fn blocks_and_grids_of_three_axes() {
    let machine = Machine::new(&text(
        "",
        "mov.u32 %a, %tid.y; mov.u32 %b, %tid.z; mad.lo.u32 %a, %b, 3, %a; mov.u32 %b, %tid.x; mad.lo.u32 %a, %a, 5, %b;
    mov.u32 %b, %ctaid.z; mov.u32 %c, %ctaid.y; mad.lo.u32 %b, %b, 2, %c; mov.u32 %c, %ctaid.x; mad.lo.u32 %b, %b, 2, %c;
    mad.lo.u32 %i, %b, 30, %a; mov.u32 %d, %i;",
    ));
    let out = machine.put(&[0; 4 * 8 * 30]);
    let mut params = out.to_le_bytes().to_vec();
    params.extend([0; 7]);
    let launch = Launch { grid: [2, 2, 2], block: [5, 3, 2], dynamic_shared: 0, params };
    run(machine.module.kernel("k").unwrap(), &machine.globals, &machine.memory, &launch, &every_mode()[2]).unwrap();
    let expected: Vec<u8> = (0..8 * 30u32).flat_map(u32::to_le_bytes).collect();
    assert_eq!(machine.get(out, expected.len()), expected);
}

#[test]
fn parameters_of_every_width() {
    check("ld.param.u32 %d, [word];", |_, _| 0x9234_5678);
    check("ld.param.s16 %d, [half];", |_, _| -2i32 as u32);
    check("ld.param.u16 %d, [half];", |_, _| 0xfffe);
    check("ld.param.u8 %d, [byte];", |_, _| 0xe7);
    check("ld.param.s8 %d, [byte];", |_, _| 0xe7u8 as i8 as u32);
    check("ld.param.u16 %d, [word+2];", |_, _| 0x9234);
    let text = text("", "ld.param.u64 %A, [byte];\ncvt.u32.u64 %d, %A;");
    let line = 1 + text.lines().position(|line| line.contains("[byte]")).unwrap() as u32;
    assert_eq!(Module::parse(&text).map(|_| ()).unwrap_err().line, line);
}

#[test]
fn tables_of_branches_and_nested_loops() {
    let body = "and.b32 %a, %t, 3;
T: .branchtargets L0, L1, L2, L3;
    brx.idx %a, T;
L0: add.u32 %d, %d, 1; bra.uni E;
L1: add.u32 %d, %d, 10;
L2: add.u32 %d, %d, 100; bra.uni E;
L3: mov.u32 %b, %t;
M: add.u32 %d, %d, 1000; sub.u32 %b, %b, 3; setp.gt.s32 %p, %b, 0; @%p bra M;
E: vote.sync.ballot.b32 %c, 1, 0xffffffff; setp.ne.u32 %p, %c, 4294967295; @%p trap;";
    check(body, |_, thread| [1, 110, 100, 1000 * thread.div_ceil(3)][thread as usize % 4]);
}

#[test]
fn lanes_that_leave_early_are_waited_for_no_more() {
    let machine = Machine::new(&text(
        "",
        "setp.lt.u32 %p, %t, 7; @%p ret; vote.sync.ballot.b32 %d, 1, 0xffffff80; bar.warp.sync 0xffffff80;",
    ));
    let out = machine.put(&[0; 128]);
    let mut params = out.to_le_bytes().to_vec();
    params.extend([0; 7]);
    let launch = Launch { grid: [1; 3], block: [32, 1, 1], dynamic_shared: 0, params };
    run(machine.module.kernel("k").unwrap(), &machine.globals, &machine.memory, &launch, &every_mode()[2]).unwrap();
    for (thread, word) in machine.get(out, 128).chunks(4).enumerate() {
        assert_eq!(word, if thread < 7 { [0; 4] } else { 0xffff_ff80u32.to_le_bytes() });
    }
}

#[test]
fn functions_are_called() {
    let functions = "
.func (.param .b32 r) collatz(.param .b32 n)
{
    .reg .b32 %x, %y, %z;
    .reg .pred %p;
    ld.param.b32 %x, [n];
    mov.b32 %y, 0;
L:  setp.le.u32 %p, %x, 1;
    @%p bra D;
    add.u32 %y, %y, 1;
    and.b32 %z, %x, 1;
    setp.eq.u32 %p, %z, 0;
    @%p bra H;
    mad.lo.u32 %x, %x, 3, 1;
    bra L;
H:  shr.u32 %x, %x, 1;
    bra L;
D:  st.param.b32 [r], %y;
    ret;
}
";
    let body = "{
    .param .b32 argument;
    .param .b32 result;
    st.param.b32 [argument], %t;
    call (result), collatz, (argument);
    ld.param.b32 %d, [result];
    }";
    check_with(functions, body, 1, 64, |_, thread| {
        let (mut n, mut steps) = (thread, 0);
        while n > 1 {
            n = if n % 2 == 0 { n / 2 } else { 3 * n + 1 };
            steps += 1;
        }
        steps
    });
}

#[test]
fn barriers_count_and_combine() {
    // Seventeen threads of the block's 96 have the predicate.
    let some = "setp.lt.u32 %p, %t, 17;";
    check(&format!("{some} barrier.red.popc.u32 %d, 0, %p;"), |_, _| 17);
    check(&format!("{some} barrier.red.and.pred %q, 0, %p; selp.u32 %d, 5, 6, %q;"), |_, _| 6);
    check(&format!("{some} barrier.red.or.pred %q, 1, %p; selp.u32 %d, 5, 6, %q;"), |_, _| 5);
    check(&format!("{some} barrier.red.and.pred %q, 15, !%p; selp.u32 %d, 5, 6, %q;"), |_, _| 6);
    // Two warps meet, the third one goes by.
    check("setp.ge.u32 %p, %t, 64; @%p bra L; bar.sync 3, 64; mov.u32 %d, 1;\nL:", |_, thread| u32::from(thread < 64));
    // The first warp announces what the second one waits for.
    check(
        "setp.ge.u32 %p, %t, 32; @%p bra L; bar.arrive 2, 64; bra.uni M;\nL: setp.ge.u32 %q, %t, 64; @%q bra M; bar.sync 2, 64; mov.u32 %d, 9;\nM:",
        |_, thread| {
            if (32..64).contains(&thread) { 9 } else { 0 }
        },
    );
    // Fences, prefetches and sleeps do nothing that shows.
    check("membar.gl; fence.acq_rel.gpu; nanosleep.u32 20; mov.u32 %d, 4;", |_, _| 4);
}

#[test]
fn what_is_unknown_names_its_line() {
    let unknown = [
        "ex2.approx.f32 %d, %a;",
        "mov.u32 %d, %envreg3;",
        "ld.global.u32 %nobody, [%o];",
        "bra NOWHERE;",
        "add.u32 %d, %A, 1;",
        "tex.2d.v4.f32.f32 {%a, %b, %c, %d}, [t, {%a, %b}];",
        "call nobody;",
    ];
    for instruction in unknown {
        let text = text("", instruction);
        let line = 1 + text.lines().position(|line| line.contains(instruction)).unwrap() as u32;
        let error = Module::parse(&text).map(|_| ()).expect_err(instruction);
        assert_eq!(error.line, line, "{instruction}: {error}");
    }
}
