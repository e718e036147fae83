//! What is compressed: a safetensors file, its data section, and its elements by type.

use crate::common::{Failure, Pages, Random, Result};
use std::ops::Range;
use std::path::Path;

/// A file in memory.
pub(crate) struct Source {
    pub(crate) name: String,
    /// The whole file.
    pub(crate) file: Vec<u8>,
    pub(crate) tensors: usize,
    /// The data section: all tensors, one behind the other. A copy of its own, so that it begins on a page.
    pub(crate) data: Pages,
    /// The tensors of each element type, one behind the other.
    pub(crate) by_type: Vec<(String, Pages)>,
    /// Whether the other codecs are measured on it.
    pub(crate) peers: bool,
}

impl Source {
    pub(crate) fn read(name: &str, path: &Path) -> Result<Self> {
        Self::new(name, std::fs::read(path)?).map_err(|e| format!("{}: {e}", path.display()).into())
    }

    /// 64 MiB that no codec can make smaller.
    pub(crate) fn random() -> Result<Self> {
        let len = 64 << 20;
        let header = format!(r#"{{"random":{{"dtype":"U8","shape":[8192,8192],"data_offsets":[0,{len}]}}}}"#);
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header.as_bytes());
        let start = file.len();
        file.resize(start + len, 0);
        Random::new(1).fill(&mut file[start..]);
        Ok(Self { peers: false, ..Self::new("random bytes, 64 MiB", file)? })
    }

    fn new(name: &str, file: Vec<u8>) -> Result<Self> {
        let (start, mut tensors) = tensors(&file).ok_or("unexpected safetensors header")?;
        let count = tensors.len();
        tensors.sort_by_key(|(_, range)| range.start);
        let mut by_type: Vec<(String, Vec<u8>)> = Vec::new();
        for (dtype, range) in tensors {
            let bytes = file.get(range).ok_or("a tensor lies outside the file")?;
            match by_type.iter_mut().find(|(name, _)| *name == dtype) {
                Some((_, all)) => all.extend_from_slice(bytes),
                None => by_type.push((dtype, bytes.to_vec())),
            }
        }
        let data = Pages::copy_of(&file[start..]);
        let by_type = by_type.into_iter().map(|(dtype, bytes)| (dtype, Pages::copy_of(&bytes))).collect();
        Ok(Self { name: name.into(), file, tensors: count, data, by_type, peers: true })
    }
}

/// Each tensor's element type and place in the file.
type Tensors = Vec<(String, Range<usize>)>;

/// Where the data section begins, and the tensors in it.
fn tensors(file: &[u8]) -> Option<(usize, Tensors)> {
    let (len, rest) = file.split_first_chunk()?;
    let len = usize::try_from(u64::from_le_bytes(*len)).ok()?;
    let start = len.checked_add(8)?;
    let header: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(rest.get(..len)?).ok()?;
    let tensors = header.iter().filter(|(name, _)| *name != "__metadata__").map(|(_, info)| {
        let offset = |i| Some(start + usize::try_from(info["data_offsets"][i].as_u64()?).ok()?);
        Some((info["dtype"].as_str()?.to_owned(), offset(0)?..offset(1)?))
    });
    Some((start, tensors.collect::<Option<_>>()?))
}

/// Fails unless a decoded buffer is what was encoded.
pub(crate) fn must_equal(codec: &str, decoded: &[u8], original: &[u8]) -> Result<()> {
    match decoded == original {
        true => Ok(()),
        false => Err(Failure::from(format!("{codec}: the decoded bytes differ"))),
    }
}
