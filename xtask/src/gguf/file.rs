//! The container: key-value pairs, the tensor table and where each tensor's bytes lie.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};

use super::blocks::Format;
use super::cursor::Cursor;

/// How deep arrays may nest; the files in use have one level.
const MAX_DEPTH: u32 = 4;
/// The most dimensions a tensor has.
const MAX_DIMENSIONS: u32 = 4;
/// Where the data section starts, and each tensor in it, unless the file says otherwise.
const DEFAULT_ALIGNMENT: u64 = 32;

/// A metadata value; what a conversion has no use for is read past and not kept.
#[derive(Debug, Clone, PartialEq)]
enum Value<'a> {
    Integer(i128),
    Real(f64),
    String(&'a str),
    Array(Vec<Value<'a>>),
    /// A truth value.
    Skipped,
}

/// One tensor of a file.
#[derive(Debug, Clone)]
pub(crate) struct Entry<'a> {
    /// Its name in the file.
    pub(crate) name: &'a str,
    /// Its shape, outermost dimension first: the reverse of the file's order.
    pub(crate) shape: Vec<usize>,
    /// How its elements are stored.
    pub(crate) format: Format,
    data: &'a [u8],
}

impl Entry<'_> {
    /// Decodes its elements.
    pub(crate) fn decode(&self) -> Vec<f32> {
        self.format.decode(self.data)
    }
}

/// A file.
#[derive(Debug)]
pub(crate) struct Gguf<'a> {
    values: BTreeMap<&'a str, Value<'a>>,
    tensors: Vec<Entry<'a>>,
}

impl<'a> Gguf<'a> {
    /// Reads a file's header and finds its tensors.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self> {
        let mut cursor = Cursor::new(bytes);
        ensure!(&cursor.array::<4>()? == b"GGUF", "the file does not begin with the GGUF signature");
        let version = cursor.u32()?;
        ensure!(matches!(version, 2 | 3), "GGUF version {version} is not handled");
        let tensor_count = cursor.u64()?;
        let value_count = cursor.u64()?;
        let mut values = BTreeMap::new();
        for _ in 0..value_count {
            let key = cursor.string()?;
            let kind = cursor.u32()?;
            let value = read_value(&mut cursor, kind, MAX_DEPTH).with_context(|| format!("metadata key {key:?}"))?;
            ensure!(values.insert(key, value).is_none(), "metadata key {key:?} is there twice");
        }
        let mut places = BTreeMap::new();
        let mut order = Vec::new();
        for _ in 0..tensor_count {
            let place = Place::read(&mut cursor)?;
            order.push(place.name);
            ensure!(places.insert(place.name, place).is_none(), "a tensor is there twice");
        }
        let alignment = match values.get("general.alignment") {
            None => DEFAULT_ALIGNMENT,
            Some(Value::Integer(n)) => u64::try_from(*n).context("the alignment is out of range")?,
            Some(_) => bail!("the alignment is not a whole number"),
        };
        ensure!(alignment.is_power_of_two(), "the alignment {alignment} is not a power of two");
        let start = (cursor.position() as u64).checked_next_multiple_of(alignment).context("the header is too long")?;
        let tensors = order
            .into_iter()
            .filter_map(|name| places.remove(name))
            .map(|place| place.entry(bytes, start, alignment))
            .collect::<Result<_>>()?;
        Ok(Self { values, tensors })
    }

    /// The tensors, in the file's order.
    pub(crate) fn tensors(&self) -> &[Entry<'a>] {
        &self.tensors
    }

    /// A string of the metadata.
    pub(super) fn string(&self, key: &str) -> Result<&'a str> {
        match self.values.get(key) {
            Some(Value::String(text)) => Ok(text),
            _ => bail!("metadata key {key:?} is not there, or not a string"),
        }
    }

    /// A whole number of the metadata; `None` where it is not there.
    pub(super) fn integer(&self, key: &str) -> Result<Option<usize>> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Value::Integer(n)) => {
                usize::try_from(*n).map(Some).with_context(|| format!("metadata key {key:?} is out of range"))
            }
            Some(_) => bail!("metadata key {key:?} is not a whole number"),
        }
    }

    /// A number of the metadata that need not be whole; `None` where it is not there.
    pub(super) fn real(&self, key: &str) -> Result<Option<f64>> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Value::Real(x)) if x.is_finite() => Ok(Some(*x)),
            Some(_) => bail!("metadata key {key:?} is not a finite number"),
        }
    }

    /// An array of strings of the metadata.
    pub(super) fn strings(&self, key: &str) -> Result<Vec<&'a str>> {
        let as_string = |value: &Value<'a>| if let Value::String(text) = value { Some(*text) } else { None };
        self.array(key, as_string).with_context(|| format!("metadata key {key:?} is not an array of strings"))
    }

    /// An array of whole numbers of the metadata.
    pub(super) fn integers(&self, key: &str) -> Result<Vec<i128>> {
        let as_integer = |value: &Value<'a>| if let Value::Integer(n) = value { Some(*n) } else { None };
        self.array(key, as_integer).with_context(|| format!("metadata key {key:?} is not an array of whole numbers"))
    }

    fn array<T>(&self, key: &str, element: impl Fn(&Value<'a>) -> Option<T>) -> Option<Vec<T>> {
        match self.values.get(key) {
            Some(Value::Array(values)) => values.iter().map(element).collect(),
            _ => None,
        }
    }
}

/// A row of the tensor table.
struct Place<'a> {
    name: &'a str,
    shape: Vec<usize>,
    format: Format,
    offset: u64,
}

impl<'a> Place<'a> {
    fn read(cursor: &mut Cursor<'a>) -> Result<Self> {
        let name = cursor.string()?;
        let dimensions = cursor.u32()?;
        let in_range = (1..=MAX_DIMENSIONS).contains(&dimensions);
        ensure!(in_range, "tensor {name:?} has {dimensions} dimensions");
        let mut shape = (0..dimensions).map(|_| cursor.length()).collect::<Result<Vec<_>>>()?;
        shape.reverse();
        let format = Format::from_code(cursor.u32()?).with_context(|| format!("tensor {name:?}"))?;
        Ok(Self { name, shape, format, offset: cursor.u64()? })
    }

    fn entry(self, bytes: &'a [u8], start: u64, alignment: u64) -> Result<Entry<'a>> {
        let Self { name, shape, format, offset } = self;
        let range = || -> Result<&'a [u8]> {
            ensure!(offset.is_multiple_of(alignment), "its offset {offset} is not aligned");
            let (cols, outer) = shape.split_last().context("it has no dimensions")?;
            let rows = outer.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).context("it is larger than memory")?;
            let length = format.byte_len(rows, *cols)?;
            let from = start.checked_add(offset).and_then(|n| usize::try_from(n).ok());
            let data = from.and_then(|from| bytes.get(from..from.checked_add(length)?));
            data.context("its data lie outside the file")
        };
        let data = range().with_context(|| format!("tensor {name:?}"))?;
        Ok(Entry { name, shape, format, data })
    }
}

/// Reads one value of a type.
fn read_value<'a>(cursor: &mut Cursor<'a>, kind: u32, depth: u32) -> Result<Value<'a>> {
    Ok(match kind {
        0 => Value::Integer(u8::from_le_bytes(cursor.array()?).into()),
        1 => Value::Integer(i8::from_le_bytes(cursor.array()?).into()),
        2 => Value::Integer(u16::from_le_bytes(cursor.array()?).into()),
        3 => Value::Integer(i16::from_le_bytes(cursor.array()?).into()),
        4 => Value::Integer(cursor.u32()?.into()),
        5 => Value::Integer(i32::from_le_bytes(cursor.array()?).into()),
        8 => Value::String(cursor.string()?),
        9 => {
            ensure!(depth > 0, "arrays nest too deeply");
            let (kind, count) = (cursor.u32()?, cursor.u64()?);
            // Nothing is reserved for the count: each element takes at least a byte, so a false one runs into the end
            // of the file.
            let mut values = Vec::new();
            for _ in 0..count {
                values.push(read_value(cursor, kind, depth - 1)?);
            }
            Value::Array(values)
        }
        10 => Value::Integer(cursor.u64()?.into()),
        11 => Value::Integer(i64::from_le_bytes(cursor.array()?).into()),
        6 => Value::Real(f32::from_le_bytes(cursor.array()?).into()),
        7 => cursor.take(1).map(|_| Value::Skipped)?,
        12 => Value::Real(f64::from_le_bytes(cursor.array()?)),
        _ => bail!("value type {kind} is not known"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::testing::Builder;

    fn small() -> Builder {
        Builder::default()
            .string("general.architecture", "llama")
            .value("deep", 9, &[&9u32.to_le_bytes()[..], &1u64.to_le_bytes(), &array(0, &[1, 2, 3])].concat())
            .value("float", 6, &1.5f32.to_le_bytes())
            .value("bool", 7, &[1])
            .value("double", 12, &[0; 8])
            .value("words", 9, &[&8u32.to_le_bytes()[..], &1u64.to_le_bytes(), &2u64.to_le_bytes(), b"hi"].concat())
            .value("bytes", 9, &array(0, &[1, 2, 3]))
            .value("minus", 5, &(-3i32).to_le_bytes())
            .value("count", 10, &7u64.to_le_bytes())
            .tensor("a", &[3, 2], 0, &[1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0].map(f32::to_le_bytes).concat())
            .tensor("b", &[32], 8, &[0; 34])
    }

    fn array(kind: u32, elements: &[u8]) -> Vec<u8> {
        [&kind.to_le_bytes()[..], &(elements.len() as u64).to_le_bytes(), elements].concat()
    }

    #[test]
    fn a_hand_built_file_reads() {
        let bytes = small().build();
        let file = Gguf::parse(&bytes).expect("parses");
        assert_eq!(file.string("general.architecture").expect("there"), "llama");
        assert_eq!(file.integer("count").expect("whole"), Some(7));
        assert_eq!(file.integer("absent").expect("no error"), None);
        assert!(file.integer("minus").is_err() && file.integer("float").is_err() && file.string("count").is_err());
        assert_eq!(file.real("float").expect("a number"), Some(1.5));
        assert_eq!(file.real("absent").expect("no error"), None);
        assert_eq!(file.strings("words").expect("strings"), ["hi"]);
        assert_eq!(file.integers("bytes").expect("numbers"), [1, 2, 3]);
        assert!(file.real("count").is_err() && file.strings("bytes").is_err() && file.integers("words").is_err());
        assert!(file.strings("deep").is_err() && file.strings("bool").is_err() && file.integers("absent").is_err());
        let [a, b] = file.tensors() else { panic!("two tensors") };
        assert_eq!((a.name, a.shape.as_slice(), a.format), ("a", [2, 3].as_slice(), Format::F32));
        assert_eq!(a.decode(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!((b.shape.as_slice(), b.decode()), ([32].as_slice(), vec![0.0; 32]));
    }

    #[test]
    fn every_truncation_is_an_error() {
        let bytes = small().build();
        for end in 0..bytes.len() {
            assert!(Gguf::parse(&bytes[..end]).is_err(), "{end} of {} bytes", bytes.len());
        }
    }

    #[test]
    fn no_changed_byte_panics() {
        let bytes = small().build();
        for at in 0..bytes.len() {
            for value in [0x00, 0x01, 0x09, 0x7F, 0x80, 0xFF] {
                let mut changed = bytes.clone();
                changed[at] = value;
                if let Ok(file) = Gguf::parse(&changed) {
                    for tensor in file.tensors() {
                        let count: usize = tensor.shape.iter().product();
                        assert_eq!(tensor.decode().len(), count);
                    }
                }
            }
        }
    }

    #[test]
    fn nonsense_is_refused() {
        let refused = |builder: Builder, why: &str| {
            let bytes = builder.build();
            let error = format!("{:#}", Gguf::parse(&bytes).expect_err(why));
            assert!(error.contains(why), "{error:?} does not say {why:?}");
        };
        refused(Builder::default().version(1), "version 1");
        refused(Builder::default().value("k", 13, &[]), "value type 13");
        refused(Builder::default().value("k", 0, &[1]).value("k", 0, &[1]), "there twice");
        refused(Builder::default().value("general.alignment", 4, &3u32.to_le_bytes()), "power of two");
        refused(Builder::default().string("general.alignment", "32"), "whole number");
        refused(Builder::default().tensor("t", &[], 0, &[]), "0 dimensions");
        refused(Builder::default().tensor("t", &[1; 5], 0, &[0; 4]), "5 dimensions");
        refused(Builder::default().tensor("t", &[1], 99, &[0; 4]), "format 99");
        refused(Builder::default().tensor("t", &[33], 8, &[0; 68]), "do not divide");
        refused(Builder::default().tensor("t", &[2], 0, &[0; 4]), "outside the file");
        refused(Builder::default().tensor("t", &[1 << 40; 3], 0, &[]), "larger than memory");
        refused(Builder::default().tensor("t", &[1], 0, &[0; 4]).tensor("t", &[1], 0, &[0; 4]), "there twice");
        let nested = (0..6).fold(array(0, &[]), |inner, _| [&9u32.to_le_bytes()[..], &[1, 0, 0, 0, 0, 0, 0, 0], &inner].concat());
        refused(Builder::default().value("k", 9, &nested), "too deeply");
        assert!(Gguf::parse(b"GGML").is_err());
    }
}
