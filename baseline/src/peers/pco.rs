//! pco: it codes numbers, and its model of them is as good as their type is right. BF16 and FP8, which it does not know, are their bits as
//! unsigned numbers.

use super::{Library, Piece};
use bytemuck::{AnyBitPattern, NoUninit};
use half::f16;
use pco::ChunkConfig;
use pco::data_types::Number;
use wcodec::Dtype;

pub(super) struct Pco;

impl Library for Pco {
    fn label(&self) -> &str {
        "pco"
    }

    fn limit(&self) -> usize {
        8 << 20
    }

    fn encode(&mut self, piece: &Piece<'_>, out: &mut Vec<u8>) -> Result<(), String> {
        match piece.dtype {
            Dtype::F16 => encode::<f16>(piece.data, out),
            Dtype::F32 => encode::<f32>(piece.data, out),
            Dtype::I64 => encode::<i64>(piece.data, out),
            Dtype::I32 => encode::<i32>(piece.data, out),
            Dtype::I8 => encode::<i8>(piece.data, out),
            Dtype::BF16 => encode::<u16>(piece.data, out),
            _ => encode::<u8>(piece.data, out),
        }
    }

    fn decode(&mut self, piece: &Piece<'_>, coded: &[u8], out: &mut [u8]) -> Result<(), String> {
        match piece.dtype {
            Dtype::F16 => decode::<f16>(coded, out),
            Dtype::F32 => decode::<f32>(coded, out),
            Dtype::I64 => decode::<i64>(coded, out),
            Dtype::I32 => decode::<i32>(coded, out),
            Dtype::I8 => decode::<i8>(coded, out),
            Dtype::BF16 => decode::<u16>(coded, out),
            _ => decode::<u8>(coded, out),
        }
    }
}

fn encode<T: Number + AnyBitPattern>(source: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
    let mut config = ChunkConfig::default();
    // Numbers of eight bits have to be asked for.
    config.enable_8_bit = true;
    // The address of no bytes need not be a number's.
    let numbers: &[T] = match source.is_empty() {
        true => &[],
        false => bytemuck::try_cast_slice(source).map_err(|e| e.to_string())?,
    };
    pco::standalone::simple_compress_into(numbers, &config, out).map(|_| ()).map_err(|e| e.to_string())
}

fn decode<T: Number + NoUninit + AnyBitPattern>(coded: &[u8], out: &mut [u8]) -> Result<(), String> {
    if out.is_empty() {
        return Ok(());
    }
    let out: &mut [T] = bytemuck::try_cast_slice_mut(out).map_err(|e| e.to_string())?;
    let progress = pco::standalone::simple_decompress_into(coded, out).map_err(|e| e.to_string())?;
    if progress.n_processed == out.len() { Ok(()) } else { Err("too few numbers".into()) }
}
