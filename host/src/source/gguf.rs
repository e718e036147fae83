//! The header of a GGUF file, versions 2 and 3: counts, key-value pairs, tensors' names, shapes, types and places; then, aligned, the tensors.
//!
//! Of the pairs only the alignment is used. Nothing else of them is kept: a vocabulary takes megabytes.

use super::ReadAt;
use super::safetensors::{Entry, Header};
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use std::collections::HashSet;

/// What a GGUF file begins with.
pub(crate) const MAGIC: &[u8; 4] = b"GGUF";

/// Bytes of the header that are fetched at a time.
const WINDOW: usize = 1 << 20;
/// Longest name, of a tensor or of a pair.
const MAX_NAME: u64 = 65535;
/// Dimensions at most: as `ggml` has them.
const MAX_DIMS: u32 = 4;
/// Arrays within arrays at most.
const MAX_DEPTH: u32 = 8;
const ALIGNMENT: &[u8] = b"general.alignment";

/// Reads a file front to back.
struct Reader<'a> {
    source: &'a dyn ReadAt,
    at: u64,
    window: Vec<u8>,
    /// Where the window begins.
    start: u64,
}

impl Reader<'_> {
    fn fail<T>(&self, why: String) -> Result<T> {
        Err(Error::bad_source(why).at(self.at))
    }

    fn left(&self) -> u64 {
        self.source.size() - self.at
    }

    /// The next `n` bytes, not more than a window.
    fn bytes(&mut self, n: usize, what: &str) -> Result<&[u8]> {
        if n as u64 > self.left() {
            return self.fail(format!("the file ends within {what}"));
        }
        let inside = self.at >= self.start && self.at + n as u64 <= self.start + self.window.len() as u64;
        if !inside {
            let len = self.left().min(WINDOW.max(n) as u64) as usize;
            let read = self.source.fetch(self.at, len).map_err(|e| Error::io("reading the header", e).at(self.at))?;
            (self.window, self.start) = (read.into_owned(), self.at);
        }
        let first = (self.at - self.start) as usize;
        self.at += n as u64;
        Ok(&self.window[first..first + n])
    }

    fn skip(&mut self, n: u64, what: &str) -> Result<()> {
        if n > self.left() {
            return self.fail(format!("the file ends within {what}"));
        }
        self.at += n;
        Ok(())
    }

    fn u32(&mut self, what: &str) -> Result<u32> {
        let bytes = self.bytes(4, what)?;
        Ok(bytes.try_into().map(u32::from_le_bytes).unwrap_or_default())
    }

    fn u64(&mut self, what: &str) -> Result<u64> {
        let bytes = self.bytes(8, what)?;
        Ok(bytes.try_into().map(u64::from_le_bytes).unwrap_or_default())
    }

    fn name(&mut self, what: &str) -> Result<&[u8]> {
        let len = self.u64(what)?;
        if len > MAX_NAME {
            return self.fail(format!("{what} of {len} bytes; at most {MAX_NAME} are supported"));
        }
        self.bytes(len as usize, what)
    }

    /// Passes over a value; gives it if it is a 32-bit number.
    fn value(&mut self, kind: u32, depth: u32) -> Result<Option<u32>> {
        let what = "a key's value";
        match (kind, scalar_bytes(kind)) {
            (4, _) => return self.u32(what).map(Some),
            (_, Some(bytes)) => self.skip(bytes, what)?,
            (8, _) => {
                let len = self.u64(what)?;
                self.skip(len, what)?;
            }
            (9, _) if depth < MAX_DEPTH => {
                let (of, count) = (self.u32(what)?, self.u64(what)?);
                match scalar_bytes(of) {
                    Some(bytes) => self.skip(count.saturating_mul(bytes), what)?,
                    None => {
                        for _ in 0..count {
                            self.value(of, depth + 1)?;
                        }
                    }
                }
            }
            _ => return self.fail(format!("{what} has the unknown type {kind}")),
        }
        Ok(None)
    }
}

/// Bytes of a value of this type, if that says it.
fn scalar_bytes(kind: u32) -> Option<u64> {
    Some(match kind {
        0 | 1 | 7 => 1,
        2 | 3 => 2,
        4..=6 => 4,
        10..=12 => 8,
        _ => return None,
    })
}

/// A tensor as the header has it.
struct Info {
    name: String,
    shape: Vec<u64>,
    kind: u32,
    offset: u64,
    /// Where in the header that stands.
    at: u64,
}

/// Reads and checks the header. Tensors of unknown types have the dtype [`Dtype::Other`] and all bytes up to the next tensor.
pub(crate) fn read_header(source: &dyn ReadAt) -> Result<Header> {
    let mut r = Reader { source, at: 4, window: Vec::new(), start: 0 };
    let version = r.u32("the version")?;
    if version != 2 && version != 3 {
        let swapped = [2, 3].contains(&version.swap_bytes());
        let why = if swapped {
            "big-endian"
        } else if version == 1 {
            "version 1"
        } else {
            "of a newer version"
        };
        return Err(Error::bad_source(format!(
            "the GGUF file is {why} ({version:#x}): versions 2 and 3, little-endian, are read"
        ))
        .at(4));
    }
    let (tensors, pairs) = (r.u64("the number of tensors")?, r.u64("the number of keys")?);
    let mut alignment = 32;
    for _ in 0..pairs {
        let is_alignment = r.name("a key's name")? == ALIGNMENT;
        let kind = r.u32("a key's type")?;
        match r.value(kind, 0)? {
            Some(value) if is_alignment => alignment = value as u64,
            None if is_alignment => return r.fail("general.alignment is no 32-bit number".into()),
            _ => {}
        }
    }
    if alignment == 0 || alignment > 1 << 30 {
        return r.fail(format!("an alignment of {alignment} bytes"));
    }
    // An entry takes 24 bytes at least.
    if tensors > r.left() / 24 {
        return r.fail(format!("{tensors} tensors are more than the file has room for"));
    }
    let (mut infos, mut names) = (Vec::new(), HashSet::new());
    for _ in 0..tensors {
        infos.push(info(&mut r, &mut names)?);
    }
    let start = r.at.next_multiple_of(alignment);
    // Without tensors, nothing need follow the header.
    if start > source.size() && infos.iter().any(|i| !i.shape.contains(&0)) {
        return Err(Error::bad_source("the file ends before its tensors begin").at(r.at));
    }
    let start = start.min(source.size());
    // Those without bytes share their place with whatever comes next.
    infos.sort_by_key(|i| (i.offset, !i.shape.contains(&0)));
    let ends: Vec<u64> = infos.iter().skip(1).map(|i| i.offset).chain([source.size() - start]).collect();
    let mut entries = Vec::with_capacity(infos.len());
    for (info, end) in infos.into_iter().zip(ends) {
        entries.push(entry(info, start, end, alignment, source.size())?);
    }
    Ok(Header { len: start, tensors: entries })
}

fn info(r: &mut Reader<'_>, names: &mut HashSet<String>) -> Result<Info> {
    let at = r.at;
    let name = r.name("a tensor's name")?;
    let Ok(name) = std::str::from_utf8(name).map(str::to_owned) else { return r.fail("a tensor's name is not UTF-8".into()) };
    if !names.insert(name.clone()) {
        return Err(Error::bad_source("the name appears twice").with_tensor(&name).at(at));
    }
    let dims = r.u32("a tensor's dimensions")?;
    if dims > MAX_DIMS {
        let why = format!("it has {dims} dimensions; at most {MAX_DIMS} are possible");
        return Err(Error::bad_source(why).with_tensor(&name).at(at));
    }
    let mut shape = Vec::new();
    for _ in 0..dims {
        shape.push(r.u64("a tensor's dimensions")?);
    }
    // The file has the contiguous one first.
    shape.reverse();
    let (kind, offset) = (r.u32("a tensor's type")?, r.u64("a tensor's place")?);
    Ok(Info { name, shape, kind, offset, at })
}

/// A tensor's entry, whose bytes end where others begin at the latest.
fn entry(info: Info, start: u64, end: u64, alignment: u64, size: u64) -> Result<Entry> {
    let Info { name, shape, kind, offset, at } = info;
    let fail = |why: String| Err(Error::bad_source(why).with_tensor(&name).at(at));
    if !offset.is_multiple_of(alignment) {
        return fail(format!("its data begins at {offset}, which is no multiple of the alignment, {alignment}"));
    }
    let (dtype, len) = match Dtype::from_gguf(kind) {
        Some(dtype) => match dtype.byte_len(&shape) {
            Some(len) => (dtype, len),
            None => return fail(format!("{dtype:?} of shape {shape:?} is no possible number of bytes")),
        },
        None => {
            tracing::warn!(target: "wcodec::encode", "{name}: blocks of the unknown type {kind} are kept as plain bytes");
            (Dtype::Other, end.saturating_sub(offset))
        }
    };
    if offset.checked_add(len).is_none_or(|e| e > size - start) {
        return fail(format!("its {len} bytes from {offset} on are not in the file"));
    }
    if offset + len > end {
        return fail(format!("its {len} bytes from {offset} on overlap the next tensor, at {end}"));
    }
    let dtype_name = dtype.name().map_or_else(|| format!("GGML_{kind}"), str::to_owned);
    Ok(Entry { name, dtype, dtype_name, shape, offset: start + offset, len })
}
