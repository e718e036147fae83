//! PyTorch's files (`.bin`, `.pt`, `.pth`), read without running them.
//!
//! ```text
//! zip      the container: which bytes are which file
//! pickle   the state dict: which tensors there are, and in which files
//! ```

mod pickle;
#[cfg(test)]
mod tests;
mod zip;

use crate::dtype::Dtype;
use crate::encode::{EncodeReport, Encoder};
use crate::error::{Error, ErrorKind, Result};
use crate::output::{refuse_existing, replace_file};
use crate::source::spliced::{Spliced, header};
use crate::source::{FileReader, ReadAt};
use pickle::{Id, Node, Unpickled};
use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::ops::Range;
use std::path::Path;

/// What to do about a file that is refused.
const ADVICE: &str =
    "convert it where you trust it: safetensors.torch.save_file(torch.load(FILE, weights_only=True), 'model.safetensors')";
/// Bytes of a pickle, at most.
const MAX_PICKLE: u64 = 64 << 20;

/// A state dict that `torch.save` wrote, to be read as the safetensors file of the same tensors.
pub struct TorchFile<R = FileReader> {
    reader: R,
    header: Vec<u8>,
    /// Where the bytes of each tensor lie.
    places: Vec<Range<u64>>,
}

impl TorchFile {
    /// Opens a file: reads its pickle, which it does not run.
    ///
    /// A pickle is a program. This one's words are read as data, and only those that tensors are made of are known; one with any other is refused, by
    /// the first such word.
    ///
    /// # Errors
    /// What is no zip archive of `torch.save` (files from before PyTorch 1.6), what holds anything but tensors by name, tensors that are not contiguous.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let reader = FileReader::open(path).map_err(|e| Error::io("opening", e).with_path(path))?;
        Self::new(reader).map_err(|e| e.with_path(path))
    }

    /// Whether a file begins as those that PyTorch writes: as a zip archive, or as a pickle.
    pub fn looks_like_one(path: impl AsRef<Path>) -> bool {
        let mut head = [0; 9];
        let read = std::fs::File::open(path).and_then(|mut f| std::io::Read::read_exact(&mut f, &mut head));
        read.is_ok() && is_torch(&head)
    }
}

fn is_torch(head: &[u8; 9]) -> bool {
    // The length of a safetensors header may be any number below 2^32.
    let safetensors = head[4..] == *b"\0\0\0\0{";
    let pickle = head[0] == 0x80 && (2..=5).contains(&head[1]);
    !safetensors && (head.starts_with(b"PK\x03\x04") || pickle)
}

impl<R: ReadAt> TorchFile<R> {
    fn new(reader: R) -> Result<Self> {
        let (header, places) = read(&reader).map_err(advised)?;
        Ok(Self { reader, header, places })
    }

    fn spliced(&self) -> Spliced<'_> {
        let mut spliced = Spliced::default();
        spliced.push_bytes(self.header.clone());
        self.places.iter().for_each(|p| spliced.push_from(&self.reader, p.start, p.end - p.start));
        spliced
    }

    /// Calls `f` with the safetensors file of the same tensors.
    pub fn with_safetensors<T>(&self, f: impl FnOnce(&dyn ReadAt) -> T) -> T {
        f(&self.spliced())
    }
}

impl Encoder {
    /// Encodes the tensors of a PyTorch file. What the archive restores is the safetensors file of these tensors, not the PyTorch file.
    ///
    /// # Errors
    /// Those of [`TorchFile::open`] and of [`encode_file`](Self::encode_file).
    pub fn encode_torch_file(&self, input: impl AsRef<Path>, output: impl AsRef<Path>) -> Result<EncodeReport> {
        let (input, output) = (input.as_ref(), output.as_ref());
        refuse_existing(output, self.options.overwrite)?;
        let torch = TorchFile::open(input)?;
        replace_file(output, self.options.overwrite, |file| {
            let mut buffered = std::io::BufWriter::with_capacity(1 << 20, file);
            let report = torch
                .with_safetensors(|source| self.encode_source(source, &mut buffered))
                .map_err(|e| if e.is_elsewhere() { e.with_path(output) } else { e.with_path(input) })?;
            buffered.flush().map_err(|e| Error::io("writing", e).with_path(output))?;
            Ok(report)
        })
    }
}

/// Says what to do about a file that is refused.
fn advised(e: Error) -> Error {
    match e.kind() {
        ErrorKind::BadSource => Error::bad_source(format!("{e}; {ADVICE}")),
        _ => e,
    }
}

/// The safetensors header, and where each tensor's bytes are.
fn read(reader: &dyn ReadAt) -> Result<(Vec<u8>, Vec<Range<u64>>)> {
    let mut magic = [0; 4];
    reader.read_exact_at(0, &mut magic).map_err(|e| Error::io("reading", e))?;
    if magic != *b"PK\x03\x04" {
        return Err(Error::bad_source("a bare pickle, or a file from before PyTorch 1.6"));
    }
    let files = zip::entries(reader)?;
    let suffix = "data.pkl";
    let pickles: Vec<_> = files.iter().filter(|(name, _)| name.ends_with(&format!("/{suffix}")) || *name == suffix).collect();
    let [(name, place)] = pickles[..] else {
        return Err(Error::bad_source("a zip archive, but not one of torch.save: it has not one data.pkl"));
    };
    let root = name.strip_suffix(suffix).unwrap_or_default();
    let fetch = |place: &Range<u64>| {
        let len = place.end - place.start;
        if len > MAX_PICKLE {
            return Err(Error::bad_source(format!("a pickle of {len} bytes is no state dict")));
        }
        reader.fetch(place.start, len as usize).map_err(|e| Error::io("reading", e))
    };
    if let Some(place) = files.get(&format!("{root}byteorder"))
        && fetch(place)?.trim_ascii() != b"little"
    {
        return Err(Error::bad_source("its tensors are not little-endian"));
    }
    let unpickled = pickle::run(&fetch(place)?)?;
    let tensors = tensors(&unpickled)?;
    let mut places = Vec::with_capacity(tensors.len());
    let mut entries = Vec::with_capacity(tensors.len());
    for (name, id) in tensors {
        let (dtype, shape, place) = locate(&unpickled, id, root, &files).map_err(|e| e.with_tensor(name))?;
        entries.push((name, dtype, shape, place.end - place.start));
        places.push(place);
    }
    let entries: Vec<_> = entries.iter().map(|(name, dtype, shape, len)| (*name, *dtype, &shape[..], *len)).collect();
    Ok((header(&[], entries), places))
}

/// The tensors of a state dict by name, in its order.
fn tensors(unpickled: &Unpickled) -> Result<Vec<(&str, Id)>> {
    let Node::Dict(items) = unpickled.get(unpickled.root()) else {
        return Err(Error::bad_source("it holds no dictionary of tensors by name"));
    };
    let mut names = HashSet::new();
    let mut tensors = Vec::with_capacity(items.len());
    for (key, value) in items {
        let Node::Text(name) = unpickled.get(*key) else {
            return Err(Error::bad_source("one of its keys is no name"));
        };
        if !matches!(unpickled.get(*value), Node::Tensor { .. }) {
            let why = format!("'{name}' is no tensor, and nothing but tensors would come back: save the state dict alone");
            return Err(Error::bad_source(why));
        }
        if !names.insert(name) {
            return Err(Error::bad_source("it is there twice").with_tensor(name));
        }
        if name == "__metadata__" {
            return Err(Error::bad_source("a safetensors file cannot hold a tensor of this name").with_tensor(name));
        }
        tensors.push((name.as_str(), *value));
    }
    Ok(tensors)
}

/// A tensor's type, shape, and where its bytes are.
fn locate(
    unpickled: &Unpickled,
    id: Id,
    root: &str,
    files: &HashMap<String, Range<u64>>,
) -> Result<(&'static str, Vec<u64>, Range<u64>)> {
    let Node::Tensor { storage, dtype, offset, shape, strides } = unpickled.get(id) else {
        return Err(Error::bad_source("it is no tensor"));
    };
    let (shape, strides) = (unpickled.numbers(*shape), unpickled.numbers(*strides));
    let Node::Storage { key, .. } = unpickled.get(*storage) else {
        return Err(Error::bad_source("it has no storage"));
    };
    let too_large = || Error::bad_source(format!("{dtype} of shape {shape:?} is no possible number of bytes"));
    let known = Dtype::from_name(dtype);
    let len = known.byte_len(&shape).ok_or_else(too_large)?;
    let size = known.bits().map_or(1, |bits| (bits / 8).max(1)) as u64;
    // Dimensions of one element have whatever stride they like; nothing lies nowhere.
    let mut expected = 1u64;
    let mut contiguous = shape.len() == strides.len();
    for (&n, &stride) in shape.iter().zip(&strides).rev() {
        contiguous &= n == 1 || stride == expected;
        expected = expected.checked_mul(n.max(1)).ok_or_else(too_large)?;
    }
    if !contiguous && len > 0 {
        let why = format!("it is not contiguous (shape {shape:?}, strides {strides:?}): save it with .contiguous()");
        return Err(Error::bad_source(why));
    }
    let Node::Text(key) = unpickled.get(*key) else {
        return Err(Error::bad_source("its storage has no name"));
    };
    let file =
        files.get(&format!("{root}data/{key}")).ok_or_else(|| Error::bad_source(format!("its storage, '{key}', is missing")))?;
    let start = offset.checked_mul(size).and_then(|at| at.checked_add(file.start));
    let end = start.and_then(|start| start.checked_add(len)).filter(|end| *end <= file.end);
    match (start, end) {
        (Some(start), Some(end)) => Ok((dtype, shape, start..end)),
        _ => Err(Error::bad_source(format!("it ends beyond its storage, '{key}'"))),
    }
}
