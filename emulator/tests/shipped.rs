//! Faults planted into the PTX that is shipped, one at a time: each is found, at the line where it is. The PTX as it is runs clean.

#![allow(missing_docs)]

mod common;

use common::Numbers;
use std::collections::BTreeSet;
use std::sync::LazyLock;
use wcodec_device::job::{BlockJob, SHARED_BYTES, SLACK, THREADS, TileJob};
use wcodec_emulator::exec::{Launch, Options, Outcome, run};
use wcodec_emulator::memory::Memory;
use wcodec_emulator::ptx::{LoadedGlobals, Module};
use wcodec_emulator::sanitize::{Fault, FaultKind};

const PTX: &str = include_str!("../../shaders-ptx/wcodec.ptx");
const KERNEL: &str = "decode_bytes";
/// First slot and number of slots of a symbol: not as many as a thread fills, so that threads meet.
fn slots(s: u8) -> (u32, u32) {
    match u32::from(s) {
        s @ 0..128 => (8 * s, 8),
        s => (24 * s - 2048, 24),
    }
}

/// The text of the kernel and of what it calls, each line where it is in the whole: the other kernels are left out to save time.
static TEXT: LazyLock<String> = LazyLock::new(|| {
    let mut out = String::new();
    let mut other = false;
    for line in PTX.lines() {
        other |= line.starts_with(".visible .entry") && !line.contains(&format!(" {KERNEL}("));
        out += if other { "" } else { line };
        out += "\n";
        other &= line != "}";
    }
    out
});

/// The stream of `symbols` after `docs/format.md`, and how many words it has.
fn stream(symbols: &[u8]) -> (Vec<u8>, u32) {
    let full = symbols.len() / 128;
    let mut x = [1u32 << 16; 32];
    let mut words = Vec::new();
    // The last two symbols of each lane's last whole run stand in its state.
    let in_state = |c: usize, step: usize| c + 1 == full && step >= 2;
    for (lane, x) in x.iter_mut().enumerate().filter(|_| full > 0) {
        let at = 128 * (full - 1) + 4 * lane;
        *x |= u32::from(symbols[at + 2]) | u32::from(symbols[at + 3]) << 8;
    }
    for c in (0..symbols.len().div_ceil(128)).rev() {
        for (step, lane) in (0..4).rev().flat_map(|step| (0..32).rev().map(move |lane| (step, lane))) {
            let Some(&s) = symbols.get(128 * c + 4 * lane + step).filter(|_| !in_state(c, step)) else { continue };
            let (start, frequency) = slots(s);
            if x[lane] >= frequency << 20 {
                words.push(x[lane] as u16);
                x[lane] >>= 16;
            }
            x[lane] = (x[lane] / frequency) << 12 | (x[lane] % frequency + start);
        }
    }
    let mut out: Vec<u8> = x.iter().flat_map(|x| x.to_le_bytes()).collect();
    out.extend(words.iter().rev().flat_map(|w| w.to_le_bytes()));
    (out, words.len() as u32)
}

/// Decodes two tiles of `elements` bytes by the kernel of `text`, the second with two patches, into buffers that are exactly as long.
fn decode(text: &str, elements: u32, options: &Options) -> Result<Outcome, Fault> {
    let module = Module::parse(text).unwrap_or_else(|e| panic!("{e}"));
    let memory = Memory::new(1 << 24);
    let globals = LoadedGlobals::load(module.globals(), &memory).unwrap();
    let put = |bytes: &[u8]| {
        let address = memory.alloc(bytes.len() as u64).unwrap();
        memory.write(address, bytes).unwrap();
        address
    };
    let mut rng = Numbers(u64::from(elements));
    let mut expected = Vec::new();
    let jobs = [0, 1].map(|number| {
        let mut bytes: Vec<u8> = (0..elements).map(|_| rng.next() as u8).collect();
        let (mut coded, words) = stream(&bytes);
        if number == 1 {
            let positions = [3, elements as u16 - 1];
            coded.extend(positions.iter().flat_map(|p| p.to_le_bytes()));
            for position in positions {
                bytes[usize::from(position)] ^= 0x55;
                coded.push(bytes[usize::from(position)]);
            }
        }
        coded.resize(coded.len().next_multiple_of(16) + SLACK, 0);
        expected.push(bytes);
        let (stream, output) = (put(&coded), memory.alloc(u64::from(elements)).unwrap());
        let (stride, patches) = (u64::from(elements), 2 * number);
        TileJob { stream, output, stride, width: elements, elements, words, patches, status: number, ..TileJob::default() }
    });
    let tables = put(&(0..=255).flat_map(|s| (slots(s).1 as u16).to_le_bytes()).collect::<Vec<_>>());
    let blocks = put(bytemuck::bytes_of(&BlockJob { jobs: 2, ..BlockJob::default() }));
    let list = put(bytemuck::cast_slice(&jobs));
    let statuses = put(&[255; 8]);
    let params = [tables, blocks, list, statuses].iter().flat_map(|p| p.to_le_bytes()).collect();
    let launch = Launch { grid: [1; 3], block: [THREADS, 1, 1], dynamic_shared: SHARED_BYTES, params };
    let outcome = run(module.kernel(KERNEL).unwrap(), &globals, &memory, &launch, options)?;
    // What the sanitizer has nothing to say about is right, where the text is.
    if text == *TEXT {
        let read = |address, len| {
            let mut out = vec![0; len];
            memory.read(address, &mut out).unwrap();
            out
        };
        assert_eq!(read(statuses, 8), [0; 8]);
        assert!(jobs.iter().zip(&expected).all(|(job, bytes)| read(job.output, bytes.len()) == *bytes));
    }
    Ok(outcome)
}

const SANITIZE: Options = Options { sanitize: true, count: false, threads: 1, instruction_limit: Some(1 << 20) };

/// Whole chunks, and one that is not.
const MIXED: u32 = 4 * 128 + 41;

/// The lines, from 1, that decoding executes.
fn executed(elements: u32) -> BTreeSet<u32> {
    let counting = Options { sanitize: false, count: true, ..SANITIZE };
    decode(&TEXT, elements, &counting).unwrap().counters.unwrap().lines.into_keys().collect()
}

/// Lines that decoding executes and that have `what` in them.
fn lines_with(elements: u32, what: &str) -> Vec<(u32, &'static str)> {
    let executed = executed(elements);
    let found = TEXT.lines().zip(1..).filter(|(line, number)| line.contains(what) && executed.contains(number));
    found.map(|(line, number)| (number, line)).collect()
}

/// What comes of decoding with a line put in the place of another.
fn planted(elements: u32, at: u32, line: &str) -> Result<Outcome, Fault> {
    let lines: Vec<&str> = TEXT.lines().zip(1..).map(|(old, number)| if number == at { line } else { old }).collect();
    decode(&lines.join("\n"), elements, &SANITIZE)
}

#[test]
fn nothing_is_wrong_with_it() {
    for elements in [128, MIXED] {
        decode(&TEXT, elements, &SANITIZE).unwrap();
    }
}

#[test]
fn removed_barriers() {
    let barriers = lines_with(MIXED, "bar.sync");
    assert_eq!(barriers.len(), 7);
    let found: Vec<bool> = barriers
        .iter()
        .map(|&(at, _)| match planted(MIXED, at, "") {
            Err(fault) => {
                assert_eq!(fault.kind, FaultKind::Race, "line {at}: {fault}");
                true
            }
            Ok(_) => false,
        })
        .collect();
    // The scans' second barriers guard words that another barrier comes before they are written again.
    assert_eq!(found, [true, false, true, true, false, true, true]);
}

#[test]
fn wrong_masks() {
    let masks = ["4294967295", "0xffffffff"];
    let lines: Vec<_> =
        masks.iter().flat_map(|mask| lines_with(MIXED, mask)).filter(|(_, line)| line.contains(".sync")).collect();
    for kind in ["vote.sync", "shfl.sync", "bar.warp.sync"] {
        assert!(lines.iter().any(|(_, line)| line.contains(kind)), "{kind}");
    }
    for (at, line) in lines {
        let faulty = masks.iter().fold(line.to_owned(), |line, mask| line.replace(mask, "0x7fffffff"));
        let fault = planted(MIXED, at, &faulty).expect_err(line);
        assert_eq!((fault.kind, fault.line, fault.lane), (FaultKind::WrongMask, at, Some(31)), "{line}: {fault}");
    }
}

#[test]
fn stores_elsewhere() {
    // Every store a tile farther on.
    let lines = lines_with(MIXED, "st.global");
    assert!(lines.len() >= 5, "{lines:?}");
    for (at, line) in lines {
        let fault = planted(MIXED, at, &line.replace(']', &format!("+{}]", MIXED.next_multiple_of(4)))).expect_err(line);
        assert_eq!((fault.kind, fault.line), (FaultKind::OutOfBounds, at), "{line}: {fault}");
    }
    // One word too far: the last lane of the only chunk.
    let lines = lines_with(128, "st.global.u32");
    let found = lines.iter().filter(|(at, line)| {
        let fault = planted(128, *at, &line.replace(']', "+4]")).err();
        fault.is_some_and(|f| (f.kind, f.line, f.lane) == (FaultKind::OutOfBounds, *at, Some(31)))
    });
    assert_eq!(found.count(), 1, "{lines:?}");
}

#[test]
fn shared_memory_unwritten() {
    let stores = lines_with(MIXED, "st.shared");
    // The slots are zeroed, sixteen a thread, and each warp leaves a word: whatever comes later finds something there.
    for &(at, line) in &stores[..17] {
        let fault = planted(MIXED, at, "").expect_err(line);
        assert_eq!(fault.kind, FaultKind::Uninitialised, "{line}: {fault}");
        assert!(TEXT.lines().nth(fault.line as usize - 1).unwrap().contains("ld.shared"), "{line}: {fault}");
    }
}
