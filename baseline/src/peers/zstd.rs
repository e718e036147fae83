//! zstd, one-shot.

use super::{Library, Piece};
use crate::error::{Error, ErrorKind, Result};
use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::compress_bound;

/// Levels above this are slow.
const FAST: i32 = 9;

pub(super) struct Zstd {
    label: String,
    level: i32,
    encoder: Compressor<'static>,
    decoder: Decompressor<'static>,
}

impl Zstd {
    pub(super) fn new(level: i32) -> Result<Self> {
        let failed = |e| Error::new(ErrorKind::Io, format!("zstd: {e}"));
        let (encoder, decoder) = (Compressor::new(level).map_err(failed)?, Decompressor::new().map_err(failed)?);
        Ok(Self { label: format!("zstd -{level}"), level, encoder, decoder })
    }
}

impl Library for Zstd {
    fn label(&self) -> &str {
        &self.label
    }

    fn limit(&self) -> usize {
        if self.level > FAST { 1 << 20 } else { 32 << 20 }
    }

    fn encode(&mut self, piece: &Piece<'_>, out: &mut Vec<u8>) -> Result<(), String> {
        out.reserve(compress_bound(piece.data.len()));
        self.encoder.compress_to_buffer(piece.data, out).map_err(|e| e.to_string())?;
        Ok(())
    }

    fn decode(&mut self, _: &Piece<'_>, coded: &[u8], out: &mut [u8]) -> Result<(), String> {
        let n = self.decoder.decompress_to_buffer(coded, out).map_err(|e| e.to_string())?;
        if n == out.len() { Ok(()) } else { Err("too few bytes".into()) }
    }
}
