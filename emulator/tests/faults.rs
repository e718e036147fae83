//! Planted faults: each is found, and said to be where it is; the sound kernel beside it passes.

#![allow(missing_docs)]

mod common;

use common::{HEAD, Machine};
use wcodec_emulator::exec::{Options, Outcome};
use wcodec_emulator::sanitize::{Fault, FaultKind};

const SANITIZE: Options = Options { sanitize: true, count: false, threads: 2, instruction_limit: Some(1 << 16) };

/// A kernel with two buffers, `%p` and `%o`, thread `%t` and lane `%l`.
fn machine(body: &str) -> Machine {
    Machine::new(&format!(
        "{HEAD}
.extern .shared .align 16 .b8 smem[];
.visible .entry k(.param .u64 in, .param .u64 out)
{{
    .reg .b32 %a, %b, %t, %l, %s;
    .reg .b64 %p, %o, %x;
    .reg .pred %q;
    mov.u32 %t, %tid.x;
    mov.u32 %l, %laneid;
    ld.param.u64 %p, [in];
    ld.param.u64 %o, [out];
    mad.wide.u32 %p, %t, 4, %p;
    mad.wide.u32 %o, %t, 4, %o;
    mov.u32 %s, smem;
    mad.lo.u32 %s, %t, 4, %s;
{body}
    ret;
}}
"
    ))
}

/// One block of two warps, 256-byte buffers.
fn run(body: &str) -> Result<Outcome, Fault> {
    let m = machine(body);
    let (input, output) = (m.put(&[1; 256]), m.put(&[0; 256]));
    m.run(1, 64, 256, &[input, output], &SANITIZE)
}

/// The faulty body differs from the sound one in the line that is to be blamed, or lacks one before it.
fn planted(kind: FaultKind, sound: &str, faulty: &str, blamed: &str) -> Fault {
    run(sound).unwrap_or_else(|e| panic!("the sound kernel: {e}"));
    let fault = run(faulty).expect_err("the fault is found");
    assert_eq!((fault.kind, fault.kernel.as_str(), fault.block), (kind, "k", [0; 3]), "{fault}");
    let text_before = 19 + faulty.lines().take_while(|l| !l.contains(blamed)).count() as u32;
    assert_eq!(fault.line, text_before, "{fault}");
    fault
}

#[test]
fn a_removed_barrier() {
    let sound = "st.shared.u32 [%s], %t;\nbar.sync 0;\nxor.b32 %a, %s, 128;\nld.shared.u32 %b, [%a];\nbar.sync 1;\nst.shared.u32 [%s], %b;";
    let fault = planted(FaultKind::Race, sound, &sound.replace("bar.sync 1;", ""), "ld.shared");
    assert!(fault.lane.is_some() && fault.address.is_some(), "{fault}");
}

#[test]
fn an_off_by_one_store() {
    let sound = "st.global.u32 [%o], %t;";
    let fault = planted(FaultKind::OutOfBounds, sound, "st.global.u32 [%o+4], %t;", "st.global");
    assert_eq!((fault.warp, fault.lane), (1, Some(31)), "{fault}");
}

#[test]
fn a_wrong_mask() {
    let sound = "setp.lt.u32 %q, %l, 7;\nvote.sync.ballot.b32 %a, %q, 0xffffffff;\nst.global.u32 [%o], %a;";
    planted(FaultKind::WrongMask, sound, &sound.replace("0xffffffff", "0x7fffffff"), "vote");
}

#[test]
fn a_divergent_vote() {
    let sound = "setp.lt.u32 %q, %l, 7;\nvote.sync.ballot.b32 %a, %q, 0xffffffff;\nst.global.u32 [%o], %a;";
    let faulty = "setp.lt.u32 %q, %l, 7;\n@%q bra L;\nvote.sync.ballot.b32 %a, %q, 0xffffffff;\nL: st.global.u32 [%o], %t;";
    planted(FaultKind::DivergentSync, sound, faulty, "vote");
}

#[test]
fn unwritten_shared_memory() {
    let sound = "st.shared.u32 [%s], %t;\nld.shared.u32 %b, [%s];\nst.global.u32 [%o], %b;";
    planted(FaultKind::Uninitialised, sound, &sound.replace("st.shared.u32 [%s], %t;", "add.u32 %a, %t, 1;"), "ld.shared");
}

#[test]
fn a_misaligned_vector() {
    let sound = "setp.ne.u32 %q, %t, 0;\n@%q bra L;\nld.global.v4.u32 {%a, %b, %a, %b}, [%p];\nL: st.global.u32 [%o], %t;";
    let fault = planted(FaultKind::Misaligned, sound, &sound.replace("[%p]", "[%p+8]"), "ld.global");
    assert_eq!((fault.warp, fault.lane), (0, Some(0)));
}

#[test]
fn a_barrier_for_some() {
    let sound = "bar.sync 0;\nst.global.u32 [%o], %t;";
    let faulty = "setp.lt.u32 %q, %l, 7;\n@%q bra L;\nbar.sync 0;\nL: st.global.u32 [%o], %t;";
    planted(FaultKind::BarrierDivergence, sound, faulty, "bar.sync");
}

#[test]
fn two_warps_one_word() {
    let sound = "st.global.u32 [%o], %t;";
    let faulty = "ld.param.u64 %x, [out];\nmad.wide.u32 %x, %l, 4, %x;\nst.global.u32 [%x], %t;";
    let fault = planted(FaultKind::Race, sound, faulty, "st.global");
    assert!(fault.detail.contains("warp"), "{fault}");
}

#[test]
fn a_trap_and_a_hang() {
    let sound = "st.global.u32 [%o], %t;";
    planted(FaultKind::Trap, sound, "trap;", "trap");
    let hang = run("L: add.u32 %a, %a, 1;\nbra L;").unwrap_err();
    assert_eq!(hang.kind, FaultKind::Hang);
}

#[test]
fn a_freed_buffer_and_an_unwritten_one() {
    let m = machine("ld.global.u32 %a, [%p];\nst.global.u32 [%o], %a;");
    let (input, output) = (m.put(&[1; 256]), m.put(&[0; 256]));
    m.run(1, 64, 0, &[input, output], &SANITIZE).unwrap();
    let unwritten = m.memory.alloc(256).unwrap();
    let fault = m.run(1, 64, 0, &[unwritten, output], &SANITIZE).unwrap_err();
    assert_eq!((fault.kind, fault.address), (FaultKind::Uninitialised, Some(unwritten)), "{fault}");
    m.memory.free(input).unwrap();
    let fault = m.run(1, 64, 0, &[input, output], &SANITIZE).unwrap_err();
    assert_eq!((fault.kind, fault.address, fault.lane), (FaultKind::UseAfterFree, Some(input), Some(0)), "{fault}");
}
