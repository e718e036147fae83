//! The header of a safetensors file: an 8-byte length, a JSON object, then the tensors' bytes without a gap.
//!
//! The `safetensors` crate reads well-formed files; this reader exists because it also keeps what that crate refuses or forgets:
//! dtypes it has never heard of, and the offset of whatever is wrong.

use super::ReadAt;
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use std::collections::HashSet;
use std::fmt;

/// Longest header that the format allows.
const MAX_HEADER: u64 = 100_000_000;

/// One tensor of a source file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub name: String,
    pub dtype: Dtype,
    /// Name of the dtype as the file spells it.
    pub dtype_name: String,
    pub shape: Vec<u64>,
    /// Position in the file.
    pub offset: u64,
    pub len: u64,
}

/// A parsed header.
#[derive(Debug)]
pub(crate) struct Header {
    /// Bytes before the first tensor.
    pub len: u64,
    /// In file order.
    pub tensors: Vec<Entry>,
}

#[derive(serde::Deserialize)]
struct Info {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

struct Tensors(Vec<(String, Info)>);

impl<'de> serde::Deserialize<'de> for Tensors {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = Tensors;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "an object of tensors by name")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tensors, A::Error> {
                let (mut list, mut names) = (Vec::new(), HashSet::new());
                while let Some(name) = map.next_key::<String>()? {
                    if !names.insert(name.clone()) {
                        return Err(A::Error::custom(format!("the name '{}' appears twice", name.escape_debug())));
                    }
                    if name == "__metadata__" {
                        map.next_value::<IgnoredAny>()?;
                    } else {
                        list.push((name, map.next_value()?));
                    }
                }
                Ok(Tensors(list))
            }
        }
        d.deserialize_map(V)
    }
}

/// Reads and checks the header: every byte after it belongs to exactly one tensor.
pub(crate) fn read_header(source: &dyn ReadAt) -> Result<Header> {
    let size = source.size();
    let hint = "is this a safetensors file?";
    if size < 8 {
        return Err(Error::bad_source(format!("{size} bytes are too few for a safetensors file")));
    }
    let mut prefix = [0; 8];
    source.read_exact_at(0, &mut prefix).map_err(|e| Error::io("reading the header's length", e))?;
    let json_len = u64::from_le_bytes(prefix);
    if json_len > MAX_HEADER {
        let why = format!("the header's length, {json_len}, is above the format's limit of {MAX_HEADER} bytes; {hint}");
        return Err(Error::bad_source(why).at(0));
    }
    if json_len > size - 8 {
        let why = format!("the header's length, {json_len}, is more than the file's {size} bytes; {hint}");
        return Err(Error::bad_source(why).at(0));
    }
    let json = source.fetch(8, json_len as usize).map_err(|e| Error::io("reading the header", e))?;
    if json.first() != Some(&b'{') {
        return Err(Error::bad_source(format!("the header does not begin with '{{'; {hint}")).at(8));
    }
    let Tensors(list) =
        serde_json::from_slice(&json).map_err(|e| Error::bad_source(format!("the header is malformed: {e}")).at(8))?;
    let start = 8 + json_len;
    let mut tensors = Vec::with_capacity(list.len());
    for (name, info) in list {
        tensors.push(entry(name, info, start, size)?);
    }
    // Tensors of no bytes share an offset with their neighbour: they come first, in header order (the sort is stable).
    tensors.sort_by_key(|t| (t.offset, t.len));
    let mut expected = start;
    for t in &tensors {
        if t.offset != expected {
            let what = if t.offset < expected { "overlaps the tensor before it" } else { "leaves a gap before it" };
            let why = format!("its data begins at {} where {expected} was expected: it {what}", t.offset);
            return Err(Error::bad_source(why).with_tensor(&t.name).at(t.offset));
        }
        expected += t.len;
    }
    if expected != size {
        let why = format!("the tensors end at {expected}, the file has {size} bytes: {} are left over", size - expected);
        return Err(Error::bad_source(why).at(expected));
    }
    Ok(Header { len: start, tensors })
}

fn entry(name: String, info: Info, start: u64, size: u64) -> Result<Entry> {
    let fail = |why: String| Err(Error::bad_source(why).with_tensor(&name));
    let (begin, end) = info.data_offsets;
    if begin > end || end > size - start {
        return fail(format!("its data_offsets {begin}..{end} do not lie in the file's {} data bytes", size - start));
    }
    if info.shape.len() > u8::MAX as usize {
        return fail(format!("it has {} dimensions; at most 255 are supported", info.shape.len()));
    }
    if info.dtype.len() > u8::MAX as usize {
        return fail(format!("its dtype's name has {} bytes; at most 255 are supported", info.dtype.len()));
    }
    let dtype = Dtype::from_name(&info.dtype);
    if dtype != Dtype::Other {
        match dtype.byte_len(&info.shape) {
            None => return fail(format!("{} of shape {:?} is no possible number of bytes", info.dtype, info.shape)),
            Some(len) if len != end - begin => {
                let why =
                    format!("{} of shape {:?} takes {len} bytes, its data_offsets span {}", info.dtype, info.shape, end - begin);
                return fail(why);
            }
            Some(_) => {}
        }
    }
    let (offset, len) = (start + begin, end - begin);
    Ok(Entry { name, dtype, dtype_name: info.dtype, shape: info.shape, offset, len })
}
