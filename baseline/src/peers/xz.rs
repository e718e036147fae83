//! xz at its default level.

use super::{Library, Piece};
use liblzma::stream::{Action, Check, Status, Stream};

const LEVEL: u32 = 6;
/// What decoding may use of memory.
const MEMORY: u64 = 256 << 20;

pub(super) struct Xz;

impl Library for Xz {
    fn label(&self) -> &str {
        "xz -6"
    }

    fn limit(&self) -> usize {
        1 << 20
    }

    fn encode(&mut self, piece: &Piece<'_>, out: &mut Vec<u8>) -> Result<(), String> {
        let mut stream = Stream::new_easy_encoder(LEVEL, Check::Crc32).map_err(|e| e.to_string())?;
        out.reserve(piece.data.len() + piece.data.len() / 8 + 1024);
        match stream.process_vec(piece.data, out, Action::Finish) {
            Ok(Status::StreamEnd) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    }

    fn decode(&mut self, _: &Piece<'_>, coded: &[u8], out: &mut [u8]) -> Result<(), String> {
        let mut stream = Stream::new_stream_decoder(MEMORY, 0).map_err(|e| e.to_string())?;
        match stream.process(coded, out, Action::Finish) {
            Ok(_) if stream.total_out() == out.len() as u64 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    }
}
