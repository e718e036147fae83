//! What several of these tests need: numbers, tensors, source files, archives.

#![allow(dead_code, unreachable_pub)]

pub mod allocator;
pub mod base;
pub mod contexts;
pub mod forge;
pub mod progressive;
pub mod quantizable;
pub mod structured;
pub mod target;
pub mod trellised;
pub mod writer;

use std::io::Cursor;
use wcodec::{Archive, Backend, Dtype, Encoder, ReadAt, TensorInput};

/// SplitMix64: the same numbers everywhere.
pub struct Numbers(pub u64);

impl Numbers {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// Below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// One of these.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    /// From 0 to 1.
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Standard normal, nearly.
    pub fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }
}

/// All types of known size.
pub const DTYPES: [Dtype; 22] = [
    Dtype::BOOL,
    Dtype::F4,
    Dtype::F6_E2M3,
    Dtype::F6_E3M2,
    Dtype::U8,
    Dtype::I8,
    Dtype::F8_E5M2,
    Dtype::F8_E4M3,
    Dtype::F8_E8M0,
    Dtype::F8_E4M3FNUZ,
    Dtype::F8_E5M2FNUZ,
    Dtype::I16,
    Dtype::U16,
    Dtype::F16,
    Dtype::BF16,
    Dtype::I32,
    Dtype::U32,
    Dtype::F32,
    Dtype::C64,
    Dtype::F64,
    Dtype::I64,
    Dtype::U64,
];

/// How values are spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fill {
    /// One value.
    Constant,
    /// Zeros and, now and then, anything.
    Rare,
    /// As weights are.
    Gaussian,
    /// As weights are, with a few exponents far away.
    Outliers,
    /// Noise.
    Random,
    /// Few values.
    Few,
    /// A smooth ramp.
    Ramp,
    /// Weights between infinities, NaNs with payloads, negative zeros and subnormals.
    Special,
    /// Mantissas of noise below exponents of few values: what keeps FP8 in layout 130.
    Skewed,
}

pub const FILLS: [Fill; 9] = [
    Fill::Constant,
    Fill::Rare,
    Fill::Gaussian,
    Fill::Outliers,
    Fill::Random,
    Fill::Few,
    Fill::Ramp,
    Fill::Special,
    Fill::Skewed,
];

/// Sign, exponent and mantissa bits of the real types.
fn float_bits(dtype: Dtype) -> Option<(u32, u32)> {
    Some(match dtype {
        Dtype::F4 => (2, 1),
        Dtype::F6_E2M3 => (2, 3),
        Dtype::F6_E3M2 => (3, 2),
        Dtype::F8_E5M2 | Dtype::F8_E5M2FNUZ => (5, 2),
        Dtype::F8_E4M3 | Dtype::F8_E4M3FNUZ => (4, 3),
        Dtype::F16 => (5, 10),
        Dtype::BF16 => (8, 7),
        Dtype::F32 => (8, 23),
        Dtype::F64 => (11, 52),
        _ => return None,
    })
}

/// `x` as a number of the type, truncated; out of its range it becomes the largest.
fn number(dtype: Dtype, x: f64) -> u64 {
    if dtype == Dtype::C64 {
        return u64::from((x as f32).to_bits()) | u64::from(((x * 0.7) as f32).to_bits()) << 32;
    }
    let Some((e, m)) = float_bits(dtype) else { return (x * 1000.0) as i64 as u64 };
    let bits = x.abs().to_bits();
    let bias = (1i64 << (e - 1)) - 1;
    let exponent = (bits >> 52) as i64 - 1023 + bias;
    let mantissa = bits & ((1 << 52) - 1);
    let magnitude = if exponent <= 0 {
        0
    } else if exponent >= 1 << e {
        (1 << (e + m)) - 1
    } else {
        (exponent as u64) << m | mantissa >> (52 - m)
    };
    u64::from(x < 0.0) << (e + m) | magnitude
}

/// `len` bytes of a tensor of `dtype`.
pub fn fill(dtype: Dtype, len: usize, fill: Fill, seed: u64) -> Vec<u8> {
    let mut rng = Numbers(seed);
    let bits = dtype.bits().unwrap();
    let mask = if bits == 64 { u64::MAX } else { (1 << bits) - 1 };
    let few: Vec<u64> = (0..2 + rng.below(4)).map(|_| rng.next()).collect();
    let (start, step) = (rng.normal(), rng.unit() * 1e-3);
    // Small enough for the types of few exponents too.
    let scale = if bits <= 8 { 0.5 } else { 0.02 };
    let mut element = |i: usize| match fill {
        Fill::Constant => few[0],
        Fill::Rare => match rng.below(500) {
            0 => rng.next(),
            _ => 0,
        },
        Fill::Gaussian => number(dtype, rng.normal() * scale),
        Fill::Outliers => match rng.below(200) {
            0 => number(dtype, rng.normal() * f64::from(2.0f32.powi(rng.below(200) as i32 - 100))),
            _ => number(dtype, rng.normal() * scale),
        },
        Fill::Random => rng.next(),
        Fill::Few => rng.pick(&few),
        Fill::Ramp => number(dtype, start + step * i as f64),
        Fill::Special => match rng.below(6) {
            0 => number(dtype, f64::INFINITY) | rng.next() << (bits - 1),
            1 => mask ^ rng.below(8),
            2 => 1 << (bits - 1),
            3 => rng.below(8),
            _ => number(dtype, rng.normal() * scale),
        },
        Fill::Skewed => match float_bits(dtype) {
            Some((e, m)) => {
                let exponent = (1 << (e - 1)) - u64::from(rng.next().trailing_ones().min(3)) - 1;
                (rng.next() & 1) << (e + m) | exponent << m | rng.next() & ((1 << m) - 1)
            }
            None => rng.next() & mask >> (bits / 2),
        },
    };
    // Elements of less than a byte are packed, the first lowest.
    let mut out = Vec::with_capacity(len + 8);
    let (mut waiting, mut have) = (0u128, 0);
    let mut i = 0;
    while out.len() < len {
        waiting |= u128::from(element(i) & mask) << have;
        have += bits;
        i += 1;
        while have >= 8 {
            out.push(waiting as u8);
            waiting >>= 8;
            have -= 8;
        }
    }
    out.truncate(len);
    out
}

/// A tensor with its bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Owned {
    pub name: String,
    pub dtype: Dtype,
    pub shape: Vec<u64>,
    pub data: Vec<u8>,
}

impl std::fmt::Debug for Owned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?} {:?}", self.name, self.dtype, self.shape)
    }
}

impl Owned {
    pub fn new(name: &str, dtype: Dtype, shape: &[u64], how: Fill, seed: u64) -> Self {
        let len = shape.iter().product::<u64>() * u64::from(dtype.bits().unwrap()) / 8;
        Self { name: name.into(), dtype, shape: shape.into(), data: fill(dtype, len as usize, how, seed) }
    }

    /// Weights whose rows and columns have scales of their own.
    pub fn scaled(name: &str, dtype: Dtype, shape: [u64; 2], seed: u64) -> Self {
        let mut rng = Numbers(seed);
        let mut scales = |n: u64| -> Vec<f64> { (0..n).map(|_| 2f64.powf(1.5 * rng.normal())).collect() };
        let (rows, columns) = (scales(shape[0]), scales(shape[1]));
        let bytes = dtype.bits().unwrap() as usize / 8;
        let scale = if bytes == 1 { 0.05 } else { 0.02 };
        let of = |i: usize| rows[i / columns.len()] * columns[i % columns.len()] * scale;
        let element = |i: usize| {
            let x = rng.normal() * of(i);
            // Integers stay inside their range.
            number(dtype, if float_bits(dtype).is_some() { x } else { x.clamp(-0.127, 0.127) }).to_le_bytes()
        };
        let data = (0..rows.len() * columns.len()).map(element).flat_map(|b| b[..bytes].to_vec()).collect();
        Self { name: name.into(), dtype, shape: shape.into(), data }
    }

    /// Smooth elements with a little noise, and a rough patch among them.
    pub fn smooth(name: &str, dtype: Dtype, shape: [u64; 2], seed: u64) -> Self {
        let mut rng = Numbers(seed);
        let [a, b, c] = [0; 3].map(|_| 4.0 + 20.0 * rng.unit());
        let bytes = dtype.bits().unwrap() as usize / 8;
        let mut element = |i: u64| {
            let (y, x) = ((i / shape[1]) as f64, (i % shape[1]) as f64);
            let rough = if i % shape[1] > shape[1] / 2 && i / shape[1] > shape[0] / 2 { (y + 2.0 * x).cos() } else { 0.0 };
            let value = (x / a).sin() + (y / b).cos() + 0.5 * ((x + y) / c).sin() + 0.7 * rough + 0.02 * rng.normal();
            let value = if float_bits(dtype).is_some() { value } else { 0.035 * value };
            number(dtype, value).to_le_bytes()[..bytes].to_vec()
        };
        let data = (0..shape[0] * shape[1]).flat_map(&mut element).collect();
        Self { name: name.into(), dtype, shape: shape.into(), data }
    }

    /// Waves that turn from row to row and fade: what weights of neighbours' values find, and nothing else does.
    pub fn waves(name: &str, dtype: Dtype, shape: [u64; 2], seed: u64) -> Self {
        let mut rng = Numbers(seed);
        let [a, b, fade] = [0; 3].map(|_| 0.3 + 0.5 * rng.unit());
        let bytes = dtype.bits().unwrap() as usize / 8;
        let element = |i: u64| {
            let (y, x) = ((i / shape[1]) as f64, (i % shape[1]) as f64);
            let value = 0.7 * (a * x + b * y).cos() * (-0.04 * fade * (x % 60.0 + y % 40.0)).exp();
            let value = if float_bits(dtype).is_some() { value } else { 0.17 * value };
            number(dtype, value).to_le_bytes()[..bytes].to_vec()
        };
        let data = (0..shape[0] * shape[1]).flat_map(element).collect();
        Self { name: name.into(), dtype, shape: shape.into(), data }
    }

    pub fn input(&self) -> TensorInput<'_> {
        TensorInput { name: &self.name, dtype: self.dtype, shape: &self.shape, data: &self.data }
    }
}

/// An archive of tensors in memory.
pub fn encode_tensors(tensors: &[Owned]) -> Vec<u8> {
    let inputs: Vec<_> = tensors.iter().map(Owned::input).collect();
    let mut out = Cursor::new(Vec::new());
    Encoder::new().encode_tensors(&inputs, &mut out).unwrap();
    out.into_inner()
}

/// With profile `max`.
pub fn encode_max(tensors: &[Owned]) -> Vec<u8> {
    let inputs: Vec<_> = tensors.iter().map(Owned::input).collect();
    let mut out = Cursor::new(Vec::new());
    Encoder::new().profile(wcodec::Profile::Max).encode_tensors(&inputs, &mut out).unwrap();
    out.into_inner()
}

/// A progressive archive of a safetensors file.
pub fn encode_progressive(source: &dyn ReadAt) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    Encoder::new().progressive(true).encode_source(source, &mut out).unwrap();
    out.into_inner()
}

/// An archive of a safetensors file.
pub fn encode_source(source: &dyn ReadAt) -> wcodec::Result<Vec<u8>> {
    let mut out = Cursor::new(Vec::new());
    Encoder::new().encode_source(source, &mut out)?;
    Ok(out.into_inner())
}

pub fn open(archive: &[u8]) -> Archive {
    Archive::from_bytes(archive).unwrap()
}

/// The archive on each backend that this machine has.
pub fn on_every_backend(archive: &[u8]) -> impl Iterator<Item = (Backend, Archive)> {
    Backend::available().iter().map(move |&backend| {
        let mut a = open(archive);
        a.set_backend(backend);
        (backend, a)
    })
}

/// Every tensor's bytes, one after the other.
pub fn decoded(archive: &Archive) -> wcodec::Result<Vec<u8>> {
    Ok(archive.decode_all()?.into_iter().flat_map(|(_, bytes)| bytes).collect())
}

/// The source file that an archive restores.
pub fn restored(archive: &Archive) -> wcodec::Result<Vec<u8>> {
    let mut out = Vec::new();
    archive.write_source(&mut out, |_, _| ())?;
    Ok(out)
}

/// A safetensors file of this header and these bytes.
pub fn raw_safetensors(header: &str, data: &[u8]) -> Vec<u8> {
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    file.extend_from_slice(data);
    file
}

/// One tensor of a safetensors header.
pub fn header_entry(name: &str, dtype: &str, shape: &[u64], begin: u64, end: u64) -> String {
    let name = serde_json::to_string(name).unwrap();
    format!(r#"{name}:{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[{begin},{end}]}}"#)
}

/// A safetensors file of these tensors, in this order.
pub fn safetensors(tensors: &[Owned]) -> Vec<u8> {
    let (mut entries, mut data) = (Vec::new(), Vec::new());
    for t in tensors {
        let begin = data.len() as u64;
        data.extend_from_slice(&t.data);
        entries.push(header_entry(&t.name, t.dtype.name().unwrap(), &t.shape, begin, data.len() as u64));
    }
    raw_safetensors(&format!("{{{}}}", entries.join(",")), &data)
}
