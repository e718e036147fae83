//! Thread instructions a second on one core: plain, counting, sanitizing.
//!
//! `cargo bench -p wcodec-emulator --bench speed`
//!
//! The kernel is an entropy decoder's loop in small: a table look-up in shared memory, a multiply-add, a ballot, two popcounts, a load of two bytes, a store.

#![allow(missing_docs)]

use std::time::Instant;
use wcodec_emulator::exec::{Launch, Options, run};
use wcodec_emulator::memory::Memory;
use wcodec_emulator::ptx::{LoadedGlobals, Module};

const TURNS: u32 = 2000;
const BLOCKS: u32 = 64;

const PTX: &str = "
.version 7.0
.target sm_80
.address_size 64
.extern .shared .align 16 .b8 smem[];
.visible .entry k(.param .u64 in, .param .u64 out, .param .u64 turns)
{
    .reg .b32 %t, %l, %x, %e, %f, %m, %n, %w, %s, %i;
    .reg .b64 %p, %a, %o;
    .reg .pred %q;
    mov.u32 %t, %tid.x;
    mov.u32 %l, %lanemask_lt;
    mov.u32 %s, smem;
    mad.lo.u32 %e, %t, 4, %s;
    st.shared.u32 [%e], %t;
    bar.sync 0;
    ld.param.u64 %p, [in];
    ld.param.u64 %o, [out];
    mov.u32 %m, %ctaid.x;
    mad.lo.u32 %m, %m, 256, %t;
    mad.wide.u32 %o, %m, 4, %o;
    ld.param.u32 %i, [turns];
    mad.lo.u32 %x, %t, 2654435761, 77;
L:
    and.b32 %e, %x, 255;
    shl.b32 %e, %e, 2;
    add.u32 %e, %e, %s;
    ld.shared.u32 %e, [%e];
    shr.u32 %f, %x, 12;
    mad.lo.u32 %x, %f, 3001, %e;
    setp.lt.u32 %q, %x, 1073741824;
    vote.sync.ballot.b32 %m, %q, 0xffffffff;
    and.b32 %n, %m, %l;
    popc.b32 %n, %n;
    mad.wide.u32 %a, %n, 2, %p;
    ld.global.u16 %w, [%a];
    @%q mad.lo.u32 %x, %x, 65536, %w;
    popc.b32 %m, %m;
    add.u32 %x, %x, %m;
    st.global.u32 [%o], %x;
    sub.u32 %i, %i, 1;
    setp.ne.u32 %q, %i, 0;
    @%q bra L;
    ret;
}
";

fn main() {
    if !std::env::args().any(|a| a == "--bench") {
        println!("not measuring: run this with `cargo bench`");
        return;
    }
    let module = Module::parse(PTX).expect("parses");
    let memory = Memory::new(1 << 24);
    let globals = LoadedGlobals::load(module.globals(), &memory).expect("no globals");
    let input = memory.alloc(256).expect("memory");
    let output = memory.alloc(u64::from(BLOCKS) * 1024).expect("memory");
    memory.fill8(input, 3, 256).expect("written");
    let params: Vec<u8> = [input, output, u64::from(TURNS)].iter().flat_map(|p| p.to_le_bytes()).collect();
    let launch = Launch { grid: [BLOCKS, 1, 1], block: [256, 1, 1], dynamic_shared: 1024, params };
    for (name, sanitize, count) in [("plain", false, false), ("counting", false, true), ("sanitizing", true, false)] {
        let options = Options { sanitize, count, threads: 1, instruction_limit: None };
        let mut best = f64::INFINITY;
        let mut executed = 0;
        for _ in 0..5 {
            let start = Instant::now();
            let outcome = run(module.kernel("k").expect("there"), &globals, &memory, &launch, &options).expect("no fault");
            best = best.min(start.elapsed().as_secs_f64());
            executed = outcome.thread_instructions;
        }
        println!(
            "{name:12} {:7.0} million thread instructions a second ({executed} in {best:.3} s, one core)",
            executed as f64 / best / 1e6
        );
    }
}
