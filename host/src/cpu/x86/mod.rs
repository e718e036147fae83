//! Symbol decoders for x86-64.
//!
//! Each vector decoder runs whole chunks while at least a chunk's worst case of words (128) and one vector load (16 words) is left,
//! so it reads words without looking. Then the rest of the words are copied to a small buffer with that much slack behind it,
//! decoding goes on there, and a look after each chunk finds a stream that wants more than it has. The last full chunk and the
//! partial one are the portable code's: see `portable.rs`.
#![allow(unsafe_code)]

mod avx2;
mod avx512;

use super::StreamFault;
use super::portable::Lanes;
use wcodec_device::rans::{CHUNK, Entry, SLOTS};

/// Proof that the CPU has AVX2 and POPCNT.
#[derive(Clone, Copy)]
pub(super) struct Avx2(());

/// Proof that the CPU has AVX-512 F, BW, DQ and VL, and POPCNT.
#[derive(Clone, Copy)]
pub(super) struct Avx512(());

impl Avx2 {
    pub(super) fn new() -> Option<Self> {
        (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("popcnt")).then_some(Self(()))
    }
}

impl Avx512 {
    pub(super) fn new() -> Option<Self> {
        (is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("popcnt"))
        .then_some(Self(()))
    }
}

/// Words that must lie ahead of a chunk: every lane may take one in each step, and the last load reaches 16 beyond.
const AHEAD: usize = CHUNK + 16;

/// Decodes as many of `chunks` as it may, each with at least [`AHEAD`] words at `words`; returns how many chunks and words it used.
///
/// # Safety
/// The CPU features of the implementation must be present.
type Kernel = unsafe fn(table: &[Entry; SLOTS], state: &mut [u32; 32], words: &[u8], chunks: &mut [[u8; CHUNK]]) -> (usize, usize);

/// Runs `kernel` over the whole chunks in `out`.
///
/// # Safety
/// The CPU features of `kernel` must be present.
unsafe fn run_chunks(kernel: Kernel, table: &[Entry; SLOTS], lanes: &mut Lanes<'_>, out: &mut [u8]) -> Result<(), StreamFault> {
    let chunks = out.as_chunks_mut::<CHUNK>().0;
    // SAFETY: the caller vouches for the CPU.
    let (done, used) = unsafe { kernel(table, &mut lanes.state, lanes.words, chunks) };
    lanes.words = &lanes.words[2 * used..];
    let mut chunks = &mut chunks[done..];
    if chunks.is_empty() {
        return Ok(());
    }
    // Fewer than AHEAD words are left: go on in a copy that has slack.
    let mut buffer = [0u8; 2 * (2 * AHEAD + CHUNK)];
    let left = lanes.words.len();
    buffer[..left].copy_from_slice(lanes.words);
    let mut at = 0;
    while !chunks.is_empty() {
        let (one, rest) = chunks.split_at_mut(1);
        // SAFETY: the caller vouches for the CPU.
        let (_, used) = unsafe { kernel(table, &mut lanes.state, &buffer[at..at + 2 * AHEAD], one) };
        at += 2 * used;
        if at > left {
            return Err(StreamFault::Exhausted);
        }
        chunks = rest;
    }
    lanes.words = &lanes.words[at..];
    Ok(())
}

macro_rules! impl_decode {
    ($token:ty, $kernel:path) => {
        impl $token {
            pub(in crate::cpu) fn decode_symbols(
                self,
                stream: super::Stream<'_>,
                out: &mut [u8],
            ) -> Result<(), super::StreamFault> {
                let mut lanes = Lanes::new(&stream)?;
                let (body, end) = out.split_at_mut(super::portable::body_len(out.len()));
                // SAFETY: `self` exists only where the CPU has the features.
                unsafe { run_chunks($kernel, stream.table, &mut lanes, body)? };
                lanes.finish(stream.table, end)
            }
        }
    };
}

impl_decode!(Avx2, avx2::chunks);
impl_decode!(Avx512, avx512::chunks);
