//! Decoding on the CPU: one body per algorithm, several instruction sets, chosen once at run time.
//!
//! A backend decodes a rANS stream to its symbols ([`Backend::decode_symbols`]) and joins planes to elements ([`join`]). The symbol
//! decoder is written by hand for each instruction set; the joins are one plain loop each, compiled for each instruction set.

mod contexts;
pub(crate) mod fused;
mod join;
mod portable;
pub(crate) mod tile;
pub(crate) mod view;
#[cfg(target_arch = "x86_64")]
mod x86;

use contexts::{ContextStream, Progress};
use fused::Sink;
use std::sync::OnceLock;
use wcodec_device::rans::{CHUNK, Entry, LANES, SLOTS};

/// An instruction set that can decode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Backend {
    /// Plain Rust, any CPU.
    Portable,
    /// x86-64 with AVX2: eight lanes a vector, states gathered from the table.
    Avx2,
    /// x86-64 with AVX-512 (F, BW, VL, DQ): sixteen lanes a vector, words spread by `vpexpandd`.
    Avx512,
}

impl Backend {
    /// All that this CPU can run, slowest first.
    pub fn available() -> &'static [Backend] {
        static LIST: OnceLock<Vec<Backend>> = OnceLock::new();
        LIST.get_or_init(|| {
            #[allow(unused_mut)]
            let mut list = vec![Backend::Portable];
            #[cfg(target_arch = "x86_64")]
            {
                if x86::Avx2::new().is_some() {
                    list.push(Backend::Avx2);
                }
                if x86::Avx512::new().is_some() {
                    list.push(Backend::Avx512);
                }
            }
            list
        })
    }

    /// The fastest that this CPU can run, or the one that `WCODEC_CPU` (`portable`, `avx2`, `avx512`) names if it can.
    pub fn best() -> Backend {
        static BEST: OnceLock<Backend> = OnceLock::new();
        *BEST.get_or_init(|| {
            let wanted = std::env::var("WCODEC_CPU").unwrap_or_default();
            let list = Self::available();
            let named = list.iter().find(|b| b.name() == wanted);
            *named.unwrap_or(&list[list.len() - 1])
        })
    }

    /// `portable`, `avx2` or `avx512`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        }
    }

    /// Runs `body` compiled for this backend.
    pub(crate) fn run(self, body: impl Body) {
        #[cfg(target_arch = "x86_64")]
        {
            if self == Self::Avx512
                && let Some(cpu) = x86::Avx512::new()
            {
                return cpu.run(body);
            }
            if self == Self::Avx2
                && let Some(cpu) = x86::Avx2::new()
            {
                return cpu.run(body);
            }
        }
        body.run();
    }

    /// Encodes whole chunks backwards if this backend has a loop for that: see `x86/encode512.rs`.
    pub(crate) fn encode_chunks(
        self,
        packed: &[u32; 256],
        state: &mut [u32; LANES],
        chunks: &mut [[u8; CHUNK]],
        last_steps: usize,
        words: &mut [u16],
        replace: &mut Replace<'_>,
    ) -> Option<usize> {
        #[cfg(target_arch = "x86_64")]
        if self == Self::Avx512
            && let Some(cpu) = x86::Avx512::new()
        {
            return Some(cpu.encode_chunks(packed, state, chunks, last_steps, words, replace));
        }
        let _ = (packed, state, chunks, last_steps, words, replace);
        None
    }

    /// Decodes streams of which the first chunks go where `sinks` say, if this backend has a loop for that: see `fused.rs`. Returns how
    /// many chunks of each did; the others' symbols are in their buffers.
    fn decode_fused(self, jobs: &mut [Job<'_, '_>], sinks: &[Sink<'_>], out: &mut [u8]) -> Result<usize, (usize, StreamFault)> {
        #[cfg(target_arch = "x86_64")]
        if self == Self::Avx512
            && jobs.len() == sinks.len()
            && jobs.len() <= x86::SIDE
            && let Some(cpu) = x86::Avx512::new()
        {
            return cpu.decode_fused(jobs, sinks, out);
        }
        let _ = (sinks, out);
        self.decode_symbols(jobs).map(|()| 0)
    }

    /// Decodes first chunks of a stream with contexts, if this backend has a loop for that.
    fn context_chunks(self, stream: &ContextStream<'_>, progress: &mut Progress<'_>, out: &mut [u8]) {
        #[cfg(target_arch = "x86_64")]
        if self == Self::Avx512
            && let Some(cpu) = x86::Avx512::new()
        {
            return cpu.context_chunks(stream, progress, out);
        }
        let _ = (stream, progress, out);
    }

    /// Decodes streams, each to as many symbols as its buffer has bytes. The error names the stream that failed.
    pub(crate) fn decode_symbols(self, jobs: &mut [Job<'_, '_>]) -> Result<(), (usize, StreamFault)> {
        #[cfg(target_arch = "x86_64")]
        {
            if self == Self::Avx512
                && let Some(cpu) = x86::Avx512::new()
            {
                return cpu.decode(jobs);
            }
            if self == Self::Avx2
                && let Some(cpu) = x86::Avx2::new()
            {
                return cpu.decode(jobs);
            }
        }
        jobs.iter_mut().enumerate().try_for_each(|(i, (stream, out))| portable::decode_symbols(*stream, out).map_err(|f| (i, f)))
    }
}

/// Plain code that is to be compiled for an instruction set: `run` must be `#[inline(always)]`. (A closure cannot be.)
pub(crate) trait Body {
    fn run(self);
}

/// Replaces, in a chunk of this number, the symbols of its first steps (so many) that have no probability.
pub(crate) type Replace<'a> = dyn FnMut(usize, &mut [u8; CHUNK], usize) + 'a;

/// A stream and where its symbols go.
pub(crate) type Job<'a, 'o> = (Stream<'a>, &'o mut [u8]);

/// A rANS stream as it lies in a tile's payload.
#[derive(Clone, Copy)]
pub(crate) struct Stream<'a> {
    pub table: &'a [Entry; SLOTS],
    pub states: &'a [u8; 4 * LANES],
    /// Two bytes a word, and whatever follows them: vector loads may touch it, decoding never uses it.
    pub bytes: &'a [u8],
    /// Bytes of `bytes` that are words.
    pub words: usize,
}

/// How a stream failed its own checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamFault {
    /// More words wanted than there are.
    Exhausted,
    /// Words left over.
    Surplus,
    /// A lane did not end where the encoder began.
    State,
    /// A lane's first state is below the floor.
    Start,
}

impl StreamFault {
    pub(crate) fn message(self) -> &'static str {
        match self {
            Self::Exhausted => "the stream ends too early",
            Self::Surplus => "the stream has words left over",
            Self::State => "a lane's final state is not the encoder's first",
            Self::Start => "a lane's initial state is below the floor",
        }
    }
}
