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

#[test]
fn memory_of_the_block_and_of_the_thread_has_its_bounds() {
    let sound = "st.shared.u32 [%s], %t;";
    let fault = planted(FaultKind::OutOfBounds, sound, "st.shared.u32 [%s+4], %t;", "st.shared");
    assert_eq!((fault.warp, fault.lane, fault.address), (1, Some(31), Some(256)), "{fault}");
    let sound = ".local .align 16 .b8 mine[16];\nst.local.u32 [mine+12], %t;\nst.global.u32 [%o], %t;";
    planted(FaultKind::OutOfBounds, sound, &sound.replace("mine+12", "mine+16"), "st.local");
    let sound = "ld.param.u64 %x, [out];\nst.global.u64 [%o], %x;".replace("u64 [%o], %x", "u32 [%o], %t");
    planted(FaultKind::ReadOnly, &sound, &sound.replace("st.global.u32 [%o]", "st.param.u32 [out]"), "st.param");
}

#[test]
fn bounds_alignment_and_masks_are_checked_without_the_sanitizer_too() {
    for (body, kind) in [
        ("st.global.u32 [%o+4], %t;", FaultKind::OutOfBounds),
        ("ld.global.u32 %a, [%p+2];", FaultKind::Misaligned),
        ("bar.warp.sync 0x7fffffff;", FaultKind::WrongMask),
        ("st.shared.u16 [%s+1], %t;", FaultKind::Misaligned),
    ] {
        let m = machine(body);
        let (input, output) = (m.put(&[1; 256]), m.put(&[0; 256]));
        let fault = m.run(1, 64, 256, &[input, output], &Options { sanitize: false, ..SANITIZE }).unwrap_err();
        assert_eq!(fault.kind, kind, "{fault}");
    }
}

#[test]
fn an_off_by_one_store_into_another_buffer_is_none_of_its_own() {
    // Allocations lie next to each other nowhere: one byte past the end is never the next one's first.
    let m = machine("st.global.u32 [%o], %t;");
    let buffers: Vec<u64> = (0..8).map(|_| m.put(&[0; 255])).collect();
    for &buffer in &buffers {
        let fault = m.run(1, 64, 0, &[buffer, buffer], &SANITIZE).unwrap_err();
        assert_eq!((fault.kind, fault.address), (FaultKind::OutOfBounds, Some(buffer + 252)), "{fault}");
    }
}

#[test]
fn words_that_are_written_in_part() {
    let sound = "st.shared.u32 [%s], %t;\nld.shared.u32 %b, [%s];\nst.global.u32 [%o], %b;";
    let fault = planted(FaultKind::Uninitialised, sound, &sound.replace("st.shared.u32", "st.shared.u16"), "ld.shared");
    assert!(fault.detail.contains("byte 2"), "{fault}");
    let sound = ".local .align 4 .b8 mine[8];\nst.local.u32 [mine+4], %t;\nld.local.u32 %b, [mine+4];\nst.global.u32 [%o], %b;";
    planted(FaultKind::Uninitialised, sound, &sound.replace("%b, [mine+4]", "%b, [mine]"), "ld.local");
    let sound = "st.shared.u32 [%s], 0;\natom.shared.add.u32 %b, [%s], 1;\nst.global.u32 [%o], %b;";
    planted(FaultKind::Uninitialised, sound, &sound.replace("st.shared.u32 [%s], 0;", "mov.u32 %b, 0;"), "atom.shared");
}

#[test]
fn shared_memory_of_one_block_is_not_what_the_next_one_finds() {
    let body = "mov.u32 %a, %ctaid.x;\nsetp.eq.u32 %q, %a, 0;\n@%q st.shared.u32 [%s], %t;\nld.shared.u32 %b, [%s];";
    let m = machine(body);
    let (input, output) = (m.put(&[1; 256]), m.put(&[0; 256]));
    m.run(1, 64, 256, &[input, output], &SANITIZE).unwrap();
    let fault = m.run(2, 64, 256, &[input, output], &SANITIZE).unwrap_err();
    assert_eq!((fault.kind, fault.block), (FaultKind::Uninitialised, [1, 0, 0]), "{fault}");
}

#[test]
fn lanes_of_a_warp_that_do_not_wait_for_each_other() {
    let sound = "st.shared.u32 [%s], %t;\nbar.warp.sync 0xffffffff;\nxor.b32 %a, %s, 4;\nld.shared.u32 %b, [%a];\nst.global.u32 [%o], %b;";
    let fault = planted(FaultKind::Race, sound, &sound.replace("bar.warp.sync 0xffffffff;", ""), "ld.shared");
    assert!(fault.detail.contains("the same block"), "{fault}");
    let sound = "st.global.u32 [%o], 7;";
    let faulty = "ld.param.u64 %x, [out];\nst.global.u32 [%x], %l;";
    let fault = planted(FaultKind::Race, sound, faulty, "st.global");
    assert!(fault.detail.contains("different values"), "{fault}");
}

#[test]
fn blocks_that_share_a_word() {
    let m = machine("st.global.u32 [%o], %t;");
    let atomic = machine("red.global.add.u32 [%o], %t;");
    for (m, sound) in [(m, false), (atomic, true)] {
        let (input, output) = (m.put(&[1; 256]), m.put(&[0; 256]));
        m.run(1, 64, 0, &[input, output], &SANITIZE).unwrap();
        match m.run(2, 64, 0, &[input, output], &SANITIZE) {
            Ok(_) => assert!(sound, "a race between blocks is missed"),
            Err(fault) => {
                assert!(!sound && fault.kind == FaultKind::Race && fault.detail.contains("another block"), "{fault}");
            }
        }
    }
}

#[test]
fn masks_that_lanes_do_not_agree_about() {
    let sound = "mov.u32 %a, 0xffffffff;\nbar.warp.sync %a;\nst.global.u32 [%o], %t;";
    planted(FaultKind::WrongMask, sound, &sound.replace("mov.u32 %a, 0xffffffff;", "or.b32 %a, %l, 0xffffffe0;"), "bar.warp");
    for operation in ["shfl.sync.bfly.b32 %b, %a, 1, 31", "match.any.sync.b32 %b, %a", "redux.sync.add.u32 %b, %a"] {
        let sound = format!("mov.u32 %a, %t;\n{operation}, 0xffffffff;\nst.global.u32 [%o], %b;");
        let name = operation.split_whitespace().next().unwrap();
        planted(FaultKind::WrongMask, &sound, &sound.replace("0xffffffff", "0x0000ffff"), name);
        let divergent = format!(
            "mov.u32 %a, %t;\nmov.u32 %b, 0;\nsetp.lt.u32 %q, %l, 7;\n@%q bra L;\n{operation}, 0xffffffff;\nL: st.global.u32 [%o], %b;"
        );
        planted(FaultKind::DivergentSync, &sound, &divergent, name);
    }
}

#[test]
fn warps_that_wait_at_different_barriers_or_not_at_all() {
    let sound = "setp.lt.u32 %q, %t, 32;\n@%q bra L;\nbar.sync 0;\nbra.uni M;\nL: bar.sync 0;\nM: st.global.u32 [%o], %t;";
    planted(FaultKind::BarrierDivergence, sound, &sound.replace("L: bar.sync 0", "L: bar.sync 1"), "L: bar.sync");
    planted(FaultKind::BarrierDivergence, sound, &sound.replace("L: bar.sync 0;", "L: ret;"), "bar.sync");
    planted(FaultKind::BarrierDivergence, sound, &sound.replace("bar.sync 0;\nbra", "bar.sync 16;\nbra"), "bar.sync 16");
}

#[test]
fn launches_that_cannot_be() {
    let m = machine("st.global.u32 [%o], %t;");
    let (input, output) = (m.put(&[1; 256]), m.put(&[0; 256]));
    for (blocks, threads, shared) in [(0, 64, 0), (1, 0, 0), (1, 1025, 0), (1, 64, 228 << 10)] {
        let fault = m.run(blocks, threads, shared, &[input, output], &SANITIZE).unwrap_err();
        assert_eq!((fault.kind, fault.line), (FaultKind::BadLaunch, 0), "{fault}");
    }
    assert_eq!(m.run(1, 64, 0, &[input], &SANITIZE).unwrap_err().kind, FaultKind::BadLaunch);
    assert_eq!(m.get(output, 256), [0; 256]);
}

#[test]
fn a_fault_says_all_that_is_known() {
    let m = machine("mov.u32 %a, %ctaid.x;\nsetp.eq.u32 %q, %a, 2;\n@%q ld.global.u32 %a, [%p+4];");
    let (input, output) = (m.put(&[1; 256]), m.put(&[0; 256]));
    let fault = m.run(3, 64, 0, &[input, output], &SANITIZE).unwrap_err();
    let text = fault.to_string();
    for part in ["OutOfBounds", "kernel k", "PTX line 21", "block (2, 0, 0)", "warp 1", "lane 31", &format!("{:#x}", input + 256)]
    {
        assert!(text.contains(part), "{part} in {text}");
    }
}
