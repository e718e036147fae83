//! LZ4, one block.

use super::{Library, Piece};

pub(super) struct Lz4;

impl Library for Lz4 {
    fn label(&self) -> &str {
        "lz4"
    }

    fn limit(&self) -> usize {
        32 << 20
    }

    fn encode(&mut self, piece: &Piece<'_>, out: &mut Vec<u8>) -> Result<(), String> {
        // Its pages are there from the call before, most of them.
        out.resize(lz4_flex::block::get_maximum_output_size(piece.data.len()), 0);
        let n = lz4_flex::block::compress_into(piece.data, out).map_err(|e| e.to_string())?;
        out.truncate(n);
        Ok(())
    }

    fn decode(&mut self, _: &Piece<'_>, coded: &[u8], out: &mut [u8]) -> Result<(), String> {
        let n = lz4_flex::block::decompress_into(coded, out).map_err(|e| e.to_string())?;
        if n == out.len() { Ok(()) } else { Err("too few bytes".into()) }
    }
}
