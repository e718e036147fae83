//! wcodec on one thread. Each tensor is an archive of its own; what an archive with no elements has anyway is not counted, since a
//! checkpoint has that once. Tables, which a checkpoint's tensors share, are counted with each tensor.

use super::{Coder, Outcome, Piece, compare, median, touch};
use crate::error::{Error, ErrorKind, Result};
use rayon::ThreadPool;
use std::io::Cursor;
use wcodec::{Archive, Encoder, Profile, TensorInput};

pub(super) struct Wcodec {
    profile: Profile,
    pool: ThreadPool,
    coded: Vec<u8>,
    decoded: Vec<u8>,
}

impl Wcodec {
    pub(super) fn new(profile: Profile) -> Result<Self> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
        let pool = pool.map_err(|e| Error::new(ErrorKind::Io, format!("starting a thread: {e}")))?;
        Ok(Self { profile, pool, coded: Vec::new(), decoded: Vec::new() })
    }
}

impl Coder for Wcodec {
    fn label(&self) -> &str {
        match self.profile {
            Profile::Default => "wcodec default",
            _ => "wcodec max",
        }
    }

    /// Profile max is slow.
    fn limit(&self) -> usize {
        if self.profile == Profile::Default { usize::MAX } else { 16 << 20 }
    }

    fn measure(&mut self, piece: &Piece<'_>, runs: u32) -> Result<Outcome> {
        let label = self.label().to_owned();
        let failed = |e: wcodec::Error| Error::new(ErrorKind::Mismatch, format!("{label}: {}: {e}", piece.name));
        let Self { profile, pool, coded, decoded } = self;
        let encoder = Encoder::new().profile(*profile);
        let input = [TensorInput { name: piece.name, dtype: piece.dtype, shape: piece.shape, data: piece.data }];
        let none = vec![0; piece.shape.len().max(1)];
        let empty = [TensorInput { name: piece.name, dtype: piece.dtype, shape: &none, data: &[] }];
        let bytes = piece.data.len();
        touch(coded, bytes + bytes / 8 + (1 << 16));
        touch(decoded, bytes);
        let out = &mut decoded[..bytes];
        let (encode_s, decode_s) = pool
            .install(|| -> wcodec::Result<_> {
                let encode_s = median(runs, || {
                    coded.clear();
                    encoder.encode_tensors(&input, Cursor::new(&mut *coded)).map(|_| ())
                })?;
                let archive = Archive::from_bytes(coded.as_slice())?;
                let decode_s = median(runs, || archive.tensors().try_for_each(|t| t.decode_into(out)))?;
                Ok((encode_s, decode_s))
            })
            .map_err(failed)?;
        compare(&label, piece, out)?;
        let mut header = Vec::new();
        pool.install(|| encoder.encode_tensors(&empty, Cursor::new(&mut header))).map_err(failed)?;
        let coded = coded.len().saturating_sub(header.len()) as u64;
        Ok(Outcome { bytes: bytes as u64, coded, encode_s, decode_s })
    }
}
