//! Tensors from safetensors files: what loading an archive is compared with, so it does no more than it must. A tensor's
//! bytes are read once, in file order, straight into the memory that it is then used from.

use crate::{Buffer, Result, Tensors};
use safetensors::tensor::Metadata;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// The longest header that safetensors itself accepts.
const MAX_HEADER: u64 = 100_000_000;

/// A tensor in a file.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its type, by safetensors' name.
    pub dtype: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Where its bytes begin in the file.
    pub offset: u64,
    /// How many bytes there are.
    pub len: u64,
}

/// Reads the header of a safetensors file: its tensors in file order.
pub fn header(path: &Path) -> Result<Vec<Entry>> {
    read_header(&mut open(path)?).map_err(|e| format!("{}: {e}", path.display()).into())
}

/// Reads every tensor of some files. `loaded` hears of each, with the bytes read so far and in all; and before the first,
/// of an empty name, once the headers are read.
pub fn load(paths: &[PathBuf], mut loaded: impl FnMut(&str, u64, u64)) -> Result<Tensors> {
    let mut files = Vec::with_capacity(paths.len());
    for path in paths {
        let mut file = open(path)?;
        let entries = read_header(&mut file).map_err(|e| format!("{}: {e}", path.display()))?;
        files.push((path, file, entries));
    }
    let total = files.iter().flat_map(|(.., entries)| entries).map(|entry| entry.len).sum();
    let (mut tensors, mut done) = (Tensors::new(), 0);
    loaded("", done, total);
    for (path, mut file, entries) in files {
        for entry in entries {
            let read = || -> Result<_> {
                let mut buffer = Buffer::new(&entry.dtype, entry.shape.iter().product())?;
                file.seek(SeekFrom::Start(entry.offset))?;
                file.read_exact(buffer.bytes_mut())?;
                buffer.into_tensor(entry.shape)
            };
            let tensor = read().map_err(|e| format!("tensor {} of {}: {e}", entry.name, path.display()))?;
            done += entry.len;
            loaded(&entry.name, done, total);
            tensors.insert(entry.name, tensor);
        }
    }
    Ok(tensors)
}

fn open(path: &Path) -> Result<File> {
    File::open(path).map_err(|e| format!("cannot open {}: {e}", path.display()).into())
}

fn read_header(file: &mut File) -> Result<Vec<Entry>> {
    let size = file.metadata()?.len();
    let mut length = [0; 8];
    file.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    if length > MAX_HEADER || length > size - 8 {
        return Err("this is no safetensors file: its header would be longer than it may be".into());
    }
    let mut text = vec![0; usize::try_from(length)?];
    file.read_exact(&mut text)?;
    let header: Metadata = serde_json::from_slice(&text)?;
    let mut entries = Vec::new();
    for (name, info) in header.tensors() {
        let (begin, end) = info.data_offsets;
        let elements = info.shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        let bits = elements.and_then(|n| n.checked_mul(info.dtype.bitsize()));
        let offset = (begin as u64).checked_add(8 + length);
        // The sizes are compared here because memory is taken by the shape and filled by the offsets.
        let len = end.checked_sub(begin).filter(|len| len.checked_mul(8) == bits).map(|len| len as u64);
        let inside = |&(offset, len): &(u64, u64)| offset.checked_add(len).is_some_and(|end| end <= size);
        let Some((offset, len)) = offset.zip(len).filter(inside) else {
            return Err(format!("the bytes of tensor {name} do not fit its shape, or the file").into());
        };
        entries.push(Entry { name, dtype: info.dtype.to_string(), shape: info.shape.clone(), offset, len });
    }
    entries.sort_by_key(|entry| entry.offset);
    Ok(entries)
}
