//! What is counted, of kernels whose events are known: in all, and by line of the PTX.

#![allow(missing_docs)]

mod common;

use common::{HEAD, Machine};
use wcodec_emulator::count::{Counters, Events, Pipe, Traffic};
use wcodec_emulator::exec::Options;

const COUNT: Options = Options { sanitize: true, count: true, threads: 2, instruction_limit: Some(1 << 16) };

/// Counts a kernel of 3 blocks of 64 threads, and numbers its lines by their text.
fn count(body: &str) -> (Counters, impl Fn(&str) -> u32 + use<>) {
    let text = format!(
        "{HEAD}.extern .shared .align 16 .b8 smem[];
.visible .entry k(.param .u64 in, .param .u64 out)
{{
    .reg .b32 %a, %b, %t, %l, %s;
    .reg .b64 %p, %o, %x;
    .reg .f32 %f;
    .reg .pred %q;
    mov.u32 %t, %tid.x;
    mov.u32 %l, %laneid;
    ld.param.u64 %p, [in];
    ld.param.u64 %o, [out];
    mov.u32 %s, smem;
{body}
    ret;
}}
"
    );
    let machine = Machine::new(&text);
    let (input, output) = (machine.put(&[1; 1 << 16]), machine.put(&[0; 1 << 16]));
    let outcome = machine.run(3, 64, 16 << 10, &[input, output], &COUNT).unwrap_or_else(|fault| panic!("{fault}"));
    let counters = outcome.counters.unwrap();
    assert_eq!(counters.total.lane_instructions, outcome.thread_instructions);
    let mut sum = Events::default();
    counters.lines.values().for_each(|events| sum.add(events));
    assert_eq!(sum, counters.total, "lines add up");
    (counters, move |needle: &str| 1 + text.lines().position(|line| line.contains(needle)).unwrap() as u32)
}

#[test]
fn instructions_by_pipe_and_line() {
    let body = "add.u32 %a, %t, 1;\nmad.lo.u32 %a, %a, 3, %t;\npopc.b32 %b, %a;\nsetp.lt.u32 %q, %l, 8;\nvote.sync.ballot.b32 %b, %q, 0xffffffff;\n@%q xor.b32 %a, %a, 1;\nbar.sync 0;";
    let (counters, line) = count(body);
    let one = |needle: &str, pipe: Pipe, lanes: u64| {
        let events = counters.lines[&line(needle)];
        assert_eq!((events.instructions(), events.pipe(pipe), events.lane_instructions), (6, 6, 6 * lanes), "{needle}");
    };
    one("add.u32", Pipe::Alu, 32);
    one("mad.lo", Pipe::Fma, 32);
    one("popc", Pipe::Xu, 32);
    one("vote", Pipe::Warp, 32);
    one("xor.b32", Pipe::Alu, 8);
    one("bar.sync", Pipe::Control, 32);
    assert_eq!(counters.lines[&line("xor.b32")].active_ratio(), 0.25);
    let ratio = counters.total.active_ratio();
    assert!(ratio > 0.9 && ratio < 1.0, "{ratio}");
}

#[test]
fn a_loop_that_lanes_leave_counts_the_lanes_that_stay() {
    let (counters, line) = count("mov.u32 %a, %l;\nL: sub.u32 %a, %a, 1;\nsetp.ge.s32 %q, %a, 0;\n@%q bra L;");
    let events = counters.lines[&line("sub.u32")];
    // Lane l goes round l + 1 times.
    assert_eq!((events.instructions(), events.lane_instructions), (6 * 32, 6 * 528));
}

#[test]
fn sectors_of_global_memory() {
    let body = "mad.wide.u32 %x, %l, 4, %p;\nld.global.u32 %a, [%x];\nmad.wide.u32 %x, %l, 64, %p;\nld.global.u32 %b, [%x+4];\n\
        mad.wide.u32 %x, %t, 16, %o;\nmov.u32 %b, %ctaid.x;\nmad.wide.u32 %x, %b, 1024, %x;\nst.global.v4.u32 [%x], {%a, %a, %a, %a};";
    let (counters, line) = count(body);
    let whole = |needle: &str| counters.lines[&line(needle)];
    let traffic = |requests, sectors, full_sectors, bytes| Traffic { requests, sectors, full_sectors, bytes };
    assert_eq!(whole("[%x];").global_loads, traffic(6, 6 * 4, 6 * 4, 6 * 128));
    assert_eq!(whole("[%x+4];").global_loads, traffic(6, 6 * 32, 0, 6 * 128));
    assert_eq!(whole("st.global").global_stores, traffic(6, 6 * 16, 6 * 16, 6 * 512));
    // All warps read the same: four sectors of 32 in a row, and every second one of 2 KiB, of which two are among the four.
    assert_eq!(counters.read_sectors, 4 + 32 - 2);
}

#[test]
fn wavefronts_of_shared_memory() {
    let body = "mad.lo.u32 %a, %t, 4, %s;\nst.shared.u32 [%a], %t;\nbar.sync 1;\nmad.lo.u32 %a, %t, 128, %s;\n\
        st.shared.v2.u32 [%a], {%t, %t};\nbar.sync 0;\nld.shared.u32 %b, [%s+4];";
    let (counters, line) = count(body);
    let of = |needle: &str| {
        let events = counters.lines[&line(needle)];
        (events.shared_requests, events.shared_wavefronts, events.shared_ideal_wavefronts)
    };
    assert_eq!(of("st.shared.u32"), (6, 6, 6));
    // All lanes of each half of the warp want the same two banks.
    assert_eq!(of("st.shared.v2"), (6, 6 * 32, 6 * 2));
    assert_eq!(of("ld.shared.u32"), (6, 6, 6), "one word for all");
}
