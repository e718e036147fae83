//! wcodec and those it is compared with, behind one interface.

use crate::common::{Failure, Result, timed, touched};
use crate::source::{Source, must_equal};
use bytemuck::{AnyBitPattern, NoUninit};
use pco::ChunkConfig;
use pco::data_types::Number;
use rayon::ThreadPool;
use std::io::Cursor;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use wcodec::{Archive, Backend, Encoder};
use zstd::bulk::{Compressor, Decompressor};

/// A codec at work on one source. Only the codec's own call is timed; what comes back is compared outside of that.
pub(crate) trait Coder {
    fn label(&self) -> String;
    /// Seconds; `None` where this codec is not to be encoded (again).
    fn encode(&mut self) -> Result<Option<f64>>;
    /// Seconds. `out` has room for the data section and for a cache line with each tensor.
    fn decode(&mut self, out: &mut [u8]) -> Result<f64>;
    /// Uncompressed bytes that `encode` takes, that `decode` gives.
    fn plain(&self) -> (usize, usize);
    /// Bytes that `encode` made.
    fn coded(&self) -> usize;
}

/// Every tensor, or other unit of decoding, begins on a cache line of its own.
pub(crate) const LINE: usize = 64;

/// Keeps a thread busy until it has had a core to itself for longer than Linux lets two threads take turns.
fn settle() {
    let begin = Instant::now();
    let (mut alone_since, mut last) = (begin, begin);
    while last - alone_since < Duration::from_millis(12) && last - begin < Duration::from_millis(500) {
        let now = Instant::now();
        if now - last > Duration::from_micros(300) {
            alone_since = now;
        }
        last = now;
    }
}

/// Runs `f` on a pool whose threads are all awake, each on its own core. Linux may wake a thread on the core of the thread that
/// wakes it (in a virtual machine it often does: an idle virtual CPU looks taken), and needs milliseconds to part them. That is
/// longer than a small file takes, so that two threads would measure as one.
fn on_awake<T: Send>(pool: &ThreadPool, f: impl FnOnce() -> T + Send) -> T {
    let others = pool.current_num_threads() - 1;
    pool.install(|| {
        let (settled, go) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (theirs, seen, caller) = (settled.clone(), go.clone(), rayon::current_thread_index());
        rayon::spawn_broadcast(move |_| {
            if rayon::current_thread_index() == caller {
                return;
            }
            settle();
            theirs.fetch_add(1, Ordering::Release);
            while !seen.load(Ordering::Acquire) {
                std::hint::spin_loop();
            }
            // Until there is work to find: a thread that finds none goes to sleep, and it all begins again.
            let start = Instant::now();
            while start.elapsed() < Duration::from_micros(200) {
                std::hint::spin_loop();
            }
        });
        while settled.load(Ordering::Acquire) < others {
            std::hint::spin_loop();
        }
        go.store(true, Ordering::Release);
        f()
    })
}

/// Room for what any of them makes of incompressible data.
fn room(len: usize) -> usize {
    len + len / 8 + (1 << 20)
}

/// The roof: a copy.
pub(crate) struct Memcpy<'a>(pub(crate) &'a Source);

impl Coder for Memcpy<'_> {
    fn label(&self) -> String {
        "memcpy".into()
    }

    fn encode(&mut self) -> Result<Option<f64>> {
        Ok(None)
    }

    fn decode(&mut self, out: &mut [u8]) -> Result<f64> {
        let data = &self.0.data;
        let ((), seconds) = timed(|| out[..data.len()].copy_from_slice(data));
        must_equal("memcpy", &out[..data.len()], data)?;
        Ok(seconds)
    }

    fn plain(&self) -> (usize, usize) {
        (self.0.data.len(), self.0.data.len())
    }

    fn coded(&self) -> usize {
        self.0.data.len()
    }
}

/// wcodec with one backend on a number of threads.
pub(crate) struct Wcodec<'a> {
    source: &'a Source,
    pool: &'a ThreadPool,
    backend: Backend,
    archive: Archive,
    /// Where to encode to; `None` where another row encodes already: the backend only decodes.
    output: Option<Vec<u8>>,
}

impl<'a> Wcodec<'a> {
    /// One for each backend on the first pool, and one with the fastest on each other pool.
    pub(crate) fn all(source: &'a Source, pools: &'a [ThreadPool]) -> Result<Vec<Self>> {
        let mut output = touched(room(source.file.len()));
        pools[0].install(|| Encoder::new().encode_source(&source.file, Cursor::new(&mut output)))?;
        let bytes: Arc<[u8]> = output.as_slice().into();
        let best = *Backend::available().last().ok_or("no backend")?;
        let first = Backend::available().iter().map(|&backend| (&pools[0], backend));
        let others = pools[1..].iter().map(|pool| (pool, best));
        let mut output = Some(output);
        let one = |(i, (pool, backend)): (usize, (&'a ThreadPool, Backend))| {
            let mut archive = Archive::from_bytes(bytes.clone())?;
            archive.set_backend(backend);
            let output = if i + 1 == Backend::available().len() { output.take() } else { None };
            Ok(Self { source, pool, backend, archive, output })
        };
        first.chain(others).enumerate().map(one).collect()
    }
}

impl Coder for Wcodec<'_> {
    fn label(&self) -> String {
        match self.pool.current_num_threads() {
            1 => format!("wcodec {}", self.backend.name()),
            n => format!("wcodec {}, {n} threads", self.backend.name()),
        }
    }

    fn encode(&mut self) -> Result<Option<f64>> {
        let Some(output) = &mut self.output else { return Ok(None) };
        output.clear();
        let file = &self.source.file;
        let (report, seconds) = self.pool.install(|| timed(|| Encoder::new().encode_source(file, Cursor::new(&mut *output))));
        match report?.archive_bytes == self.archive.archive_bytes() {
            true => Ok(Some(seconds)),
            false => Err("wcodec: encoding twice gave two archives".into()),
        }
    }

    fn decode(&mut self, out: &mut [u8]) -> Result<f64> {
        let mut rest = out;
        let mut jobs = Vec::new();
        for tensor in self.archive.tensors() {
            let len = tensor.byte_len() as usize;
            let (part, after) = rest.split_at_mut(len.next_multiple_of(LINE));
            jobs.push((tensor, &mut part[..len]));
            rest = after;
        }
        let (done, seconds) = on_awake(self.pool, || timed(|| self.archive.decode_many(&mut jobs)));
        done?;
        // In the archive's order, which is the file's.
        let mut original = &self.source.data[..];
        for (_, out) in &jobs {
            let (part, after) = original.split_at_checked(out.len()).ok_or("wcodec: more tensors than the file has")?;
            must_equal("wcodec", out, part)?;
            original = after;
        }
        if original.is_empty() { Ok(seconds) } else { Err("wcodec: fewer tensors than the file has".into()) }
    }

    fn plain(&self) -> (usize, usize) {
        (self.source.file.len(), self.source.data.len())
    }

    fn coded(&self) -> usize {
        self.archive.archive_bytes() as usize
    }
}

/// zstd, one-shot.
pub(crate) struct Zstd<'a> {
    source: &'a [u8],
    level: i32,
    encoder: Compressor<'static>,
    decoder: Decompressor<'static>,
    coded: Vec<u8>,
}

/// Levels above this take minutes: they get the first bytes only, and encode those only once.
const ZSTD_FAST: i32 = 9;
const ZSTD_PREFIX: usize = 8_000_000;

impl<'a> Zstd<'a> {
    pub(crate) fn new(source: &'a Source, level: i32) -> Result<Self> {
        let len = source.data.len();
        let source = &source.data[..if level > ZSTD_FAST { len.min(ZSTD_PREFIX) } else { len }];
        let coded = touched(room(source.len()));
        Ok(Self { source, level, encoder: Compressor::new(level)?, decoder: Decompressor::new()?, coded })
    }
}

impl Coder for Zstd<'_> {
    fn label(&self) -> String {
        let part = if self.level > ZSTD_FAST { ", first 8 MB" } else { "" };
        format!("zstd -{}{part}", self.level)
    }

    fn encode(&mut self) -> Result<Option<f64>> {
        if self.level > ZSTD_FAST && !self.coded.is_empty() {
            return Ok(None);
        }
        self.coded.clear();
        let (done, seconds) = timed(|| self.encoder.compress_to_buffer(self.source, &mut self.coded));
        done?;
        Ok(Some(seconds))
    }

    fn decode(&mut self, out: &mut [u8]) -> Result<f64> {
        let out = &mut out[..self.source.len()];
        let (done, seconds) = timed(|| self.decoder.decompress_to_buffer(&self.coded, out));
        done?;
        must_equal("zstd", out, self.source)?;
        Ok(seconds)
    }

    fn plain(&self) -> (usize, usize) {
        (self.source.len(), self.source.len())
    }

    fn coded(&self) -> usize {
        self.coded.len()
    }
}

/// LZ4, one block.
pub(crate) struct Lz4<'a> {
    source: &'a [u8],
    coded: Vec<u8>,
    len: usize,
}

impl<'a> Lz4<'a> {
    pub(crate) fn new(source: &'a Source) -> Self {
        let len = lz4_flex::block::get_maximum_output_size(source.data.len());
        Self { source: &source.data, coded: vec![1; len], len: 0 }
    }
}

impl Coder for Lz4<'_> {
    fn label(&self) -> String {
        "lz4".into()
    }

    fn encode(&mut self) -> Result<Option<f64>> {
        let (len, seconds) = timed(|| lz4_flex::block::compress_into(self.source, &mut self.coded));
        self.len = len?;
        Ok(Some(seconds))
    }

    fn decode(&mut self, out: &mut [u8]) -> Result<f64> {
        let out = &mut out[..self.source.len()];
        let (done, seconds) = timed(|| lz4_flex::block::decompress_into(&self.coded[..self.len], out));
        done?;
        must_equal("lz4", out, self.source)?;
        Ok(seconds)
    }

    fn plain(&self) -> (usize, usize) {
        (self.source.len(), self.source.len())
    }

    fn coded(&self) -> usize {
        self.len
    }
}

/// pco, one stream for each element type: it codes numbers, and its model of them is as good as their type is right.
pub(crate) struct Pco<'a>(Vec<Numbers<'a>>);

/// All elements of one type.
struct Numbers<'a> {
    source: &'a [u8],
    coded: Vec<u8>,
    encode: fn(&[u8], &mut Vec<u8>) -> Result<()>,
    decode: fn(&[u8], &mut [u8]) -> Result<()>,
}

impl<'a> Numbers<'a> {
    fn of<T: Number + NoUninit + AnyBitPattern>(source: &'a [u8]) -> Self {
        Self { source, coded: touched(room(source.len())), encode: pco_encode::<T>, decode: pco_decode::<T> }
    }
}

fn pco_encode<T: Number + AnyBitPattern>(source: &[u8], coded: &mut Vec<u8>) -> Result<()> {
    // Eight-bit numbers have to be asked for.
    let mut config = ChunkConfig::default();
    config.enable_8_bit = true;
    let numbers: &[T] = bytemuck::try_cast_slice(source).map_err(|e| Failure::from(e.to_string()))?;
    pco::standalone::simple_compress_into(numbers, &config, coded)?;
    Ok(())
}

fn pco_decode<T: Number + NoUninit + AnyBitPattern>(coded: &[u8], out: &mut [u8]) -> Result<()> {
    let out: &mut [T] = bytemuck::try_cast_slice_mut(out).map_err(|e| Failure::from(e.to_string()))?;
    let progress = pco::standalone::simple_decompress_into(coded, out)?;
    if progress.finished && progress.n_processed == out.len() { Ok(()) } else { Err("pco: too few numbers".into()) }
}

impl<'a> Pco<'a> {
    pub(crate) fn new(source: &'a Source) -> Self {
        let numbers = source.by_type.iter().map(|(dtype, bytes)| match dtype.as_str() {
            "F16" => Numbers::of::<half::f16>(bytes),
            "F32" => Numbers::of::<f32>(bytes),
            "I8" => Numbers::of::<i8>(bytes),
            "I64" => Numbers::of::<i64>(bytes),
            // pco knows no BF16 and no FP8: their bits as unsigned numbers.
            "BF16" => Numbers::of::<u16>(bytes),
            _ => Numbers::of::<u8>(bytes),
        });
        Self(numbers.collect())
    }
}

impl Coder for Pco<'_> {
    fn label(&self) -> String {
        "pco".into()
    }

    fn encode(&mut self) -> Result<Option<f64>> {
        self.0.iter_mut().for_each(|n| n.coded.clear());
        let (done, seconds) = timed(|| self.0.iter_mut().try_for_each(|n| (n.encode)(n.source, &mut n.coded)));
        done?;
        Ok(Some(seconds))
    }

    fn decode(&mut self, out: &mut [u8]) -> Result<f64> {
        let mut rest = out;
        let mut jobs = Vec::new();
        for numbers in &self.0 {
            let len = numbers.source.len();
            let (part, after) = rest.split_at_mut(len.next_multiple_of(LINE));
            jobs.push((numbers, &mut part[..len]));
            rest = after;
        }
        let (done, seconds) = timed(|| jobs.iter_mut().try_for_each(|(n, out)| (n.decode)(&n.coded, out)));
        done?;
        jobs.iter().try_for_each(|(n, out)| must_equal("pco", out, n.source))?;
        Ok(seconds)
    }

    fn plain(&self) -> (usize, usize) {
        let len = self.0.iter().map(|n| n.source.len()).sum();
        (len, len)
    }

    fn coded(&self) -> usize {
        self.0.iter().map(|n| n.coded.len()).sum()
    }
}
