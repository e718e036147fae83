//! wcodec and those it is compared with, a file each, behind one interface.

mod lz4;
mod pco;
mod python;
mod wcodec;
mod xz;
mod zstd;

use crate::error::{Error, ErrorKind, Result};
use ::wcodec::Dtype;
use serde::Serialize;
use std::time::Instant;

/// A stored tensor, or as much of it as a slow coder gets.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'a> {
    /// The tensor's name.
    pub name: &'a str,
    /// Its element type.
    pub dtype: Dtype,
    /// Its shape; of a part of a tensor, one dimension.
    pub shape: &'a [u64],
    /// Its bytes.
    pub data: &'a [u8],
}

/// What a coder made of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Outcome {
    /// Bytes that it was given.
    pub bytes: u64,
    /// Bytes that it made.
    pub coded: u64,
    /// Seconds of encoding, the median.
    pub encode_s: f64,
    /// Seconds of decoding, the median.
    pub decode_s: f64,
}

/// A coder and how it is called.
pub trait Coder: Send {
    /// Its name and its setting: `zstd -3`.
    fn label(&self) -> &str;
    /// Bytes of a tensor that it gets at most: a slow one gets a part.
    fn limit(&self) -> usize {
        usize::MAX
    }
    /// Encodes and decodes, `runs` times or for as long as that takes next to no time, and compares.
    fn measure(&mut self, piece: &Piece<'_>, runs: u32) -> Result<Outcome>;
}

/// Coders that are there, and names of those that are not with the reason.
pub type Found = (Vec<Box<dyn Coder>>, Vec<(String, String)>);

/// All that are there, and names of those that are not with the reason. `only` chooses by the first word of the label.
pub fn all(only: &[String]) -> Result<Found> {
    let mut coders: Vec<Box<dyn Coder>> = vec![
        Box::new(wcodec::Wcodec::new(::wcodec::Profile::Default)?),
        Box::new(wcodec::Wcodec::new(::wcodec::Profile::Max)?),
        Box::new(InProcess::new(zstd::Zstd::new(3)?)),
        Box::new(InProcess::new(zstd::Zstd::new(19)?)),
        Box::new(InProcess::new(lz4::Lz4)),
        Box::new(InProcess::new(pco::Pco)),
        Box::new(InProcess::new(xz::Xz)),
    ];
    let chosen = |name: &str| {
        let name = name.split(' ').next().unwrap_or(name);
        only.is_empty() || only.iter().any(|o| o == name)
    };
    let known: Vec<&str> = coders.iter().filter_map(|c| c.label().split(' ').next()).chain(python::PACKAGES).collect();
    if let Some(odd) = only.iter().find(|o| !known.contains(&o.as_str())) {
        let mut known = known;
        known.dedup();
        return Err(Error::new(ErrorKind::Usage, format!("{odd}: no such coder; there are {}", known.join(", "))));
    }
    coders.retain(|c| chosen(c.label()));
    let mut absent = Vec::new();
    for package in python::PACKAGES.into_iter().filter(|p| chosen(p)) {
        match python::Python::start(package) {
            Ok(coder) => coders.push(Box::new(coder)),
            Err(why) => absent.push((package.to_owned(), why)),
        }
    }
    if coders.is_empty() {
        let why: Vec<_> = absent.iter().map(|(name, why)| format!("{name}: {why}")).collect();
        return Err(Error::new(ErrorKind::Usage, format!("no coder is left: {}", why.join("; "))));
    }
    Ok((coders, absent))
}

/// A library that is called in this process.
trait Library: Send {
    fn label(&self) -> &str;
    fn limit(&self) -> usize;
    /// Encodes into `out`, which is empty and keeps its memory from call to call.
    fn encode(&mut self, piece: &Piece<'_>, out: &mut Vec<u8>) -> Result<(), String>;
    /// Decodes into all of `out`.
    fn decode(&mut self, piece: &Piece<'_>, coded: &[u8], out: &mut [u8]) -> Result<(), String>;
}

/// Measures a library. Its buffers stay: page faults are nobody's speed.
struct InProcess<L> {
    library: L,
    coded: Vec<u8>,
    decoded: Vec<u8>,
}

impl<L: Library> InProcess<L> {
    fn new(library: L) -> Self {
        Self { library, coded: Vec::new(), decoded: Vec::new() }
    }
}

impl<L: Library> Coder for InProcess<L> {
    fn label(&self) -> &str {
        self.library.label()
    }

    fn limit(&self) -> usize {
        self.library.limit()
    }

    fn measure(&mut self, piece: &Piece<'_>, runs: u32) -> Result<Outcome> {
        let Self { library, coded, decoded } = self;
        let label = library.label().to_owned();
        let failed = |what: &str, why: String| Error::new(ErrorKind::Mismatch, format!("{label}: {what} {}: {why}", piece.name));
        touch(coded, piece.data.len() + piece.data.len() / 8 + 4096);
        let encode_s = median(runs, || {
            coded.clear();
            library.encode(piece, coded)
        })
        .map_err(|why| failed("encoding", why))?;
        touch(decoded, piece.data.len());
        let out = &mut decoded[..piece.data.len()];
        let decode_s = median(runs, || library.decode(piece, coded, out)).map_err(|why| failed("decoding", why))?;
        compare(&label, piece, out)?;
        Ok(Outcome { bytes: piece.data.len() as u64, coded: coded.len() as u64, encode_s, decode_s })
    }
}

/// Memory that is really there.
fn touch(buffer: &mut Vec<u8>, len: usize) {
    if buffer.len() < len {
        buffer.resize(len, 1);
    }
}

/// Fails unless the piece came back.
fn compare(label: &str, piece: &Piece<'_>, out: &[u8]) -> Result<()> {
    match out == piece.data {
        true => Ok(()),
        false => Err(Error::new(ErrorKind::Mismatch, format!("{label}: {} did not come back exactly", piece.name))),
    }
}

/// What repetitions may take together, in seconds: a large tensor is one measurement, small ones are too short to be only one.
const ENOUGH: f64 = 0.05;

/// The median of the times of a call.
fn median<E>(runs: u32, mut call: impl FnMut() -> Result<(), E>) -> Result<f64, E> {
    let (mut times, mut sum) = (Vec::new(), 0.0);
    while times.len() < runs as usize && (times.is_empty() || sum < ENOUGH) {
        let start = Instant::now();
        call()?;
        let seconds = start.elapsed().as_secs_f64();
        sum += seconds;
        times.push(seconds);
    }
    times.sort_by(f64::total_cmp);
    Ok(times.get(times.len() / 2).copied().unwrap_or(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_coder_gives_back_every_type_and_any_length() {
        let (mut coders, _) = all(&[]).expect("coders");
        for dtype in [Dtype::BF16, Dtype::F16, Dtype::F32, Dtype::I8, Dtype::U8, Dtype::F8_E4M3, Dtype::I64, Dtype::BOOL] {
            let width = dtype.bits().unwrap_or(8) as usize / 8;
            for elements in [0, 1, 3, 1000] {
                let data: Vec<u8> = (0..elements * width).map(|n| (n * n % 251) as u8).collect();
                let shape = [elements as u64];
                let piece = Piece { name: "w", dtype, shape: &shape, data: &data };
                for coder in &mut coders {
                    let label = coder.label().to_owned();
                    let outcome = coder.measure(&piece, 2).unwrap_or_else(|e| panic!("{label}, {dtype:?} × {elements}: {e}"));
                    assert_eq!(outcome.bytes as usize, data.len(), "{label}");
                }
            }
        }
    }

    #[test]
    fn coders_are_chosen_by_name() {
        let labels = |only: &[&str]| {
            let only: Vec<_> = only.iter().map(|&o| o.to_owned()).collect();
            all(&only).map(|(coders, _)| coders.iter().map(|c| c.label().to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(labels(&["lz4", "zstd"]).expect("known"), ["zstd -3", "zstd -19", "lz4"]);
        let e = labels(&["gzip"]).expect_err("unknown");
        assert!(e.kind() == ErrorKind::Usage && e.to_string().contains("zstd"), "{e}");
    }
}
