//! Differential tests: the `device` crate's primitives compiled for the host against the same compiled to PTX, on random inputs.

#![allow(missing_docs)]

#[path = "../common/mod.rs"]
mod common;

use common::{Numbers, every_mode};
use wcodec_device::job::TileJob;
use wcodec_device::layout::PlaneMode;
use wcodec_device::planes::{self, Layout};
use wcodec_device::rans::{self, Entry, SLOTS, TableError};
use wcodec_emulator::exec::{Launch, Options, run};
use wcodec_emulator::memory::Memory;
use wcodec_emulator::ptx::{LoadedGlobals, Module};

include!("cases.rs");

/// Written by the compiler; `probe/lib.rs` says how.
const PTX: &str = include_str!("primitives.ptx");

/// Threads of a launch: the last warp is not full.
const BLOCKS: u32 = 16;
const THREADS: u32 = 240;

type Primitive = fn(u64, u64, u64) -> u64;

macro_rules! on_the_host {
    ($($name:ident = |$a:ident, $b:ident, $c:ident| $body:expr;)*) => {
        /// Every primitive, as the host's compiler has it.
        const PRIMITIVES: &[(&str, Primitive)] = &[$((stringify!($name), |$a, $b, $c| $body)),*];
    };
}
primitives!(on_the_host);

/// Runs a kernel of the module with these buffers, and returns the last one.
fn on_the_emulator(module: &Module, name: &str, grid: [u32; 2], buffers: &[&[u8]], out: usize, options: &Options) -> Vec<u8> {
    let memory = Memory::new(1 << 28);
    let globals = LoadedGlobals::load(module.globals(), &memory).unwrap();
    let mut params = Vec::new();
    for buffer in buffers {
        let address = memory.alloc(buffer.len() as u64).unwrap();
        memory.write(address, buffer).unwrap();
        params.extend(address.to_le_bytes());
    }
    let output = memory.alloc(out as u64).unwrap();
    params.extend(output.to_le_bytes());
    let launch = Launch { grid: [grid[0], 1, 1], block: [grid[1], 1, 1], dynamic_shared: 0, params };
    let kernel = module.kernel(name).unwrap_or_else(|| panic!("no kernel {name}: the PTX is to be made anew"));
    run(kernel, &globals, &memory, &launch, options).unwrap_or_else(|fault| panic!("{name}: {fault}"));
    let mut bytes = vec![0; out];
    memory.read(output, &mut bytes).unwrap();
    bytes
}

/// Half the numbers are small or have few bits, where primitives change their ways.
fn number(rng: &mut Numbers) -> u64 {
    let bits = rng.next();
    match rng.below(6) {
        0 => bits & 0xff,
        1 => bits & 0xffff,
        2 => bits & rng.next() & rng.next(),
        _ => bits,
    }
}

#[test]
fn primitives_compute_the_same_on_both_sides() {
    let module = Module::parse(PTX).unwrap();
    let mut rng = Numbers(0x5eed);
    let count = (BLOCKS * THREADS) as usize;
    for &(name, primitive) in PRIMITIVES {
        for options in every_mode() {
            let inputs: Vec<[u64; 3]> = (0..count).map(|_| [(); 3].map(|()| number(&mut rng))).collect();
            let bytes: Vec<u8> = inputs.as_flattened().iter().flat_map(|value| value.to_le_bytes()).collect();
            let out = on_the_emulator(&module, name, [BLOCKS, THREADS], &[&bytes], 8 * count, &options);
            for (result, &[a, b, c]) in out.chunks_exact(8).zip(&inputs) {
                let got = u64::from_le_bytes(result.try_into().unwrap());
                let expected = primitive(a, b, c);
                assert_eq!(got, expected, "{name} of {a:#x}, {b:#x}, {c:#x}: {got:#x}, on the host {expected:#x}");
            }
        }
    }
}

/// Frequencies that add up to 4096, most of the time.
fn frequencies(rng: &mut Numbers) -> [u16; 256] {
    let mut freqs = [0; 256];
    let symbols = rng.below(256) + 1;
    for _ in 0..SLOTS {
        freqs[rng.below(symbols) as usize] += 1;
    }
    if rng.below(4) == 0 {
        freqs[rng.below(256) as usize] ^= 1;
    }
    freqs
}

#[test]
fn tables_expand_to_the_same_on_both_sides() {
    let module = Module::parse(PTX).unwrap();
    let mut rng = Numbers(7);
    let freqs: Vec<[u16; 256]> = (0..64).map(|_| frequencies(&mut rng)).collect();
    let bytes: Vec<u8> = freqs.as_flattened().iter().flat_map(|freq| freq.to_le_bytes()).collect();
    let host: Vec<(Result<(), TableError>, Vec<u32>)> = freqs
        .iter()
        .map(|freqs| {
            let mut table = Box::new([Entry::default(); SLOTS]);
            (rans::expand_table(freqs, &mut table), table.iter().map(|entry| entry.0).collect())
        })
        .collect();
    assert!(host.iter().any(|(outcome, _)| outcome.is_ok()) && host.iter().any(|(outcome, _)| outcome.is_err()));
    // Tables and outcomes in one buffer each: the kernel's second and third parameter.
    let memory = Memory::new(1 << 28);
    let globals = LoadedGlobals::load(module.globals(), &memory).unwrap();
    let zeros = vec![0; 64 * 4 * SLOTS];
    let [source, tables, outcomes] = [&bytes[..], &zeros, &zeros[..512]].map(|buffer| {
        let address = memory.alloc(buffer.len() as u64).unwrap();
        memory.write(address, buffer).unwrap();
        address
    });
    let params = [source, tables, outcomes].iter().flat_map(|address| address.to_le_bytes()).collect();
    let launch = Launch { grid: [2, 1, 1], block: [32, 1, 1], dynamic_shared: 0, params };
    let options = Options { sanitize: true, threads: 2, ..Options::default() };
    run(module.kernel("expand_table").unwrap(), &globals, &memory, &launch, &options).unwrap_or_else(|fault| panic!("{fault}"));
    for (index, (outcome, expected)) in (0..).zip(&host) {
        let (mut table, mut code) = (vec![0; 4 * SLOTS], [0; 8]);
        memory.read(tables + index * 4 * SLOTS as u64, &mut table).unwrap();
        memory.read(outcomes + index * 8, &mut code).unwrap();
        let words: Vec<u32> = table.chunks_exact(4).map(|word| u32::from_le_bytes(word.try_into().unwrap())).collect();
        assert_eq!(&words, expected, "table {index}");
        let code = u64::from_le_bytes(code);
        let said = match (code >> 32, code as u32) {
            (0, 0) => Ok(()),
            (1, sum) => Err(TableError::Sum(sum)),
            (2, symbol) => Err(TableError::Whole(symbol as u8)),
            other => panic!("{other:?}"),
        };
        assert_eq!(said, *outcome, "table {index}");
    }
}
