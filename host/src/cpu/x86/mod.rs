//! Symbol decoders for x86-64.
//!
//! Each vector decoder runs whole chunks while at least a chunk's worst case of words (128) and one vector load (16 words) can be read,
//! so it reads words without looking. Whether they were words is looked at afterwards: behind a stream lies the rest of its
//! tile's payload, mostly a raw plane, so that rarely any chunk is left. If one is, the last words are copied to a buffer that
//! has that much slack. The last full chunk and the partial one are the portable code's: see `portable.rs`.
#![allow(unsafe_code)]

mod avx2;
mod avx512;
mod contexts512;
mod encode512;
mod fused512;
mod stream;

pub(super) use stream::{Fence, copy as stream_copy};

use super::contexts::{ContextStream, Progress};
use super::fused::Sink;
use super::portable::{Lanes, body_len};
use super::{Body, Job, StreamFault};
use wcodec_device::rans::{CHUNK, Entry, LANE_RUN, LANES, SLOTS};

/// Proof that the CPU has AVX2 and POPCNT.
#[derive(Clone, Copy)]
pub(super) struct Avx2(());

/// Proof that the CPU has AVX-512 F, BW, DQ and VL, AVX2 and POPCNT.
#[derive(Clone, Copy)]
pub(super) struct Avx512(());

/// The [`Kernels`] of a module.
macro_rules! kernels {
    ($arch:ident) => {
        Kernels {
            one: $arch::chunks::<1, LANE_RUN>,
            two: $arch::chunks::<2, LANE_RUN>,
            three: $arch::chunks::<3, LANE_RUN>,
            four: $arch::chunks::<4, LANE_RUN>,
            last: $arch::chunks::<1, { LANE_RUN - 2 }>,
        }
    };
}

impl Avx2 {
    /// Runs `body` compiled for these features.
    #[inline]
    pub(super) fn run(self, body: impl Body) {
        #[target_feature(enable = "avx2,popcnt")]
        fn with_features(body: impl Body) {
            body.run()
        }
        // SAFETY: `self` exists only where the CPU has the features.
        unsafe { with_features(body) }
    }

    pub(super) fn new() -> Option<Self> {
        (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("popcnt")).then_some(Self(()))
    }

    pub(super) fn decode(self, jobs: &mut [Job<'_, '_>]) -> Result<(), (usize, StreamFault)> {
        // SAFETY: `self` exists only where the CPU has the features.
        unsafe { decode_jobs(&kernels!(avx2), jobs, |_, _| 0) }
    }
}

impl Avx512 {
    /// Runs `body` compiled for these features.
    #[inline]
    pub(super) fn run(self, body: impl Body) {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,popcnt")]
        fn with_features(body: impl Body) {
            body.run()
        }
        // SAFETY: `self` exists only where the CPU has the features.
        unsafe { with_features(body) }
    }

    pub(super) fn new() -> Option<Self> {
        (is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("popcnt"))
        .then_some(Self(()))
    }

    pub(super) fn decode(self, jobs: &mut [Job<'_, '_>]) -> Result<(), (usize, StreamFault)> {
        // SAFETY: `self` exists only where the CPU has the features.
        unsafe { decode_jobs(&kernels!(avx512), jobs, |_, _| 0) }
    }

    /// Decodes first chunks of a stream with contexts.
    pub(super) fn context_chunks(self, stream: &ContextStream<'_>, progress: &mut Progress<'_>, out: &mut [u8]) {
        // SAFETY: `self` exists only where the CPU has the features.
        unsafe { contexts512::chunks(stream, progress, out) }
    }

    /// Decodes at most [`SIDE`] jobs, each stream's first chunks joined into `out` as its sink says; returns how many chunks were. The
    /// symbols of those are not in the jobs' buffers, all others are.
    pub(super) fn decode_fused(
        self,
        jobs: &mut [Job<'_, '_>],
        sinks: &[Sink<'_>],
        out: &mut [u8],
    ) -> Result<usize, (usize, StreamFault)> {
        let mut joined = 0;
        let fused = |runs: &mut [Run<'_, '_>], most| {
            joined = self.fused(runs, sinks, most, out);
            joined
        };
        // SAFETY: `self` exists only where the CPU has the features.
        unsafe { decode_jobs(&kernels!(avx512), jobs, fused) }?;
        Ok(joined)
    }
}

/// Streams decoded side by side.
pub(super) const SIDE: usize = 4;

/// Words that must lie ahead of a chunk: every lane may take one in each step, and the last load reaches 16 beyond.
const AHEAD: usize = CHUNK + 16;

/// A stream in the middle of decoding.
struct Run<'a, 'o> {
    table: &'a [Entry; SLOTS],
    state: [u32; LANES],
    /// Words, and what may be read behind them.
    words: &'a [u8],
    chunks: &'o mut [[u8; CHUNK]],
    /// Words that the last call of the kernel took.
    used: usize,
}

impl Run<'_, '_> {
    /// Drops `done` decoded chunks and the words they took.
    fn advance(&mut self, done: usize) {
        let chunks = std::mem::take(&mut self.chunks);
        self.chunks = &mut chunks[done..];
        self.words = &self.words[2 * self.used..];
        self.used = 0;
    }
}

/// Decodes up to `most` chunks of each run, as long as every run has [`AHEAD`] words before each chunk; returns how many.
/// `most` must not exceed any run's chunks.
///
/// # Safety
/// The CPU features of the implementation must be present.
type Kernel<const N: usize> = unsafe fn(&mut [Run<'_, '_>; N], usize) -> usize;

/// A decoder's loops for one to [`SIDE`] streams, and the one for the two steps of a last full chunk.
struct Kernels {
    one: Kernel<1>,
    two: Kernel<2>,
    three: Kernel<3>,
    four: Kernel<4>,
    last: Kernel<1>,
}

/// Decodes all jobs; the error names the one that failed. `first` may decode first chunks of a group, at most so many, elsewhere than to
/// its buffers, and returns how many it did.
///
/// # Safety
/// The CPU features of the kernels must be present.
unsafe fn decode_jobs(
    kernels: &Kernels,
    jobs: &mut [Job<'_, '_>],
    mut first: impl FnMut(&mut [Run<'_, '_>], usize) -> usize,
) -> Result<(), (usize, StreamFault)> {
    for (group, jobs) in jobs.chunks_mut(SIDE).enumerate() {
        let number = |i: usize| SIDE * group + i;
        let mut runs = Vec::with_capacity(SIDE);
        let mut ends = Vec::with_capacity(SIDE);
        for (i, (stream, out)) in jobs.iter_mut().enumerate() {
            let lanes = Lanes::new(stream).map_err(|f| (number(i), f))?;
            let (body, end) = out.split_at_mut(body_len(out.len()));
            let chunks = body.as_chunks_mut::<CHUNK>().0;
            runs.push(Run { table: stream.table, state: lanes.state, words: stream.bytes, chunks, used: 0 });
            ends.push((stream.bytes.len(), stream.words, end));
        }
        let most = runs.iter().map(|r| r.chunks.len()).min().unwrap_or(0);
        let done = first(&mut runs, most);
        runs.iter_mut().for_each(|r| r.advance(done));
        // SAFETY: the caller vouches for the CPU.
        unsafe { run_together(kernels, &mut runs) };
        for (i, (run, (bytes, words, end))) in runs.into_iter().zip(ends).enumerate() {
            let left = words.checked_sub(bytes - run.words.len()).ok_or((number(i), StreamFault::Exhausted))?;
            // SAFETY: the caller vouches for the CPU.
            unsafe { finish_run(kernels, run, left, end) }.map_err(|f| (number(i), f))?;
        }
    }
    Ok(())
}

/// Decodes as many chunks as all runs have.
///
/// # Safety
/// The CPU features of the kernels must be present.
unsafe fn run_together(kernels: &Kernels, runs: &mut [Run<'_, '_>]) {
    let most = runs.iter().map(|r| r.chunks.len()).min().unwrap_or(0);
    macro_rules! side {
        ($($kernel:ident),*) => {
            $(if let Ok(runs) = runs.try_into() {
                // SAFETY: the caller vouches for the CPU.
                unsafe { (kernels.$kernel)(runs, most) }
            } else)* {
                return;
            }
        };
    }
    let done = side!(four, three, two);
    runs.iter_mut().for_each(|r| r.advance(done));
}

/// Decodes what is left of a run, of whose bytes `left` are words.
///
/// # Safety
/// The CPU features of the kernels must be present.
unsafe fn finish_run(kernels: &Kernels, run: Run<'_, '_>, left: usize, end: &mut [u8]) -> Result<(), StreamFault> {
    let before = run.words.len();
    let mut runs = [run];
    let most = runs[0].chunks.len();
    // SAFETY: the caller vouches for the CPU.
    let done = unsafe { (kernels.one)(&mut runs, most) };
    runs[0].advance(done);
    let mut begun = false;
    if runs[0].chunks.is_empty()
        && let Some((last, _)) = end.split_first_chunk_mut::<CHUNK>()
    {
        runs[0].chunks = std::slice::from_mut(last);
        // SAFETY: the caller vouches for the CPU.
        begun = unsafe { (kernels.last)(&mut runs, 1) } == 1;
        runs[0].advance(1);
    }
    let [mut run] = runs;
    let left = left.checked_sub(before - run.words.len()).ok_or(StreamFault::Exhausted)?;
    let mut words = &run.words[..left];
    if !run.chunks.is_empty() {
        // Fewer than AHEAD words can be read: go on in a copy that has slack.
        let mut buffer = [0u8; 2 * (2 * AHEAD + CHUNK)];
        buffer[..left].copy_from_slice(words);
        let mut at = 0;
        for chunk in run.chunks.chunks_mut(1) {
            let copy = Run { table: run.table, state: run.state, words: &buffer[at..at + 2 * AHEAD], chunks: chunk, used: 0 };
            let mut runs = [copy];
            // SAFETY: the caller vouches for the CPU.
            unsafe { (kernels.one)(&mut runs, 1) };
            run.state = runs[0].state;
            at += 2 * runs[0].used;
            if at > left {
                return Err(StreamFault::Exhausted);
            }
        }
        words = &words[at..];
    }
    Lanes { state: run.state, words }.finish(run.table, end, begun)
}
