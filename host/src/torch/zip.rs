//! Zip archives as PyTorch writes them: nothing compressed, so that each file in one is a range of its bytes.

use crate::error::{Error, Result};
use crate::source::ReadAt;
use std::collections::HashMap;
use std::ops::Range;

/// Bytes of a list of files, at most.
const MAX_LIST: u64 = 1 << 30;

const END: &[u8] = b"PK\x05\x06";
const END_64: &[u8] = b"PK\x06\x06";
const LOCATOR_64: &[u8] = b"PK\x06\x07";
const ENTRY: &[u8] = b"PK\x01\x02";
const LOCAL: &[u8] = b"PK\x03\x04";

/// Where the files are, by name.
pub(super) fn entries(source: &dyn ReadAt) -> Result<HashMap<String, Range<u64>>> {
    let bad = |why: &str| Error::bad_source(format!("the zip archive is damaged: {why}"));
    let size = source.size();
    let read = |at: u64, len: u64| {
        if at.checked_add(len).is_none_or(|end| end > size) {
            return Err(bad("it is cut short"));
        }
        source.fetch(at, len as usize).map_err(|e| Error::io("reading", e))
    };
    // The end is the last thing but for a comment.
    let tail_at = size.saturating_sub(22 + 0xffff);
    let tail = read(tail_at, size - tail_at)?;
    let end = tail.windows(4).rposition(|w| w == END).filter(|at| tail.len() - at >= 22).ok_or_else(|| bad("it has no end"))?;
    let (mut len, mut at, mut count) = (u32_at(&tail, end + 12), u32_at(&tail, end + 16), u16_at(&tail, end + 10));
    if len == 0xffff_ffff || at == 0xffff_ffff || count == 0xffff {
        let locator = end.checked_sub(20).ok_or_else(|| bad("it has no end for 64 bits"))?;
        if &tail[locator..locator + 4] != LOCATOR_64 {
            return Err(bad("it has no end for 64 bits"));
        }
        let end = read(u64_at(&tail, locator + 8), 56)?;
        if &end[..4] != END_64 {
            return Err(bad("its end for 64 bits is not where it should be"));
        }
        (count, len, at) = (u64_at(&end, 32), u64_at(&end, 40), u64_at(&end, 48));
    }
    if len > MAX_LIST {
        return Err(bad("its list of files is too long"));
    }
    let list = read(at, len)?;
    let mut files = HashMap::new();
    let mut rest = &list[..];
    for _ in 0..count {
        if rest.len() < 46 || &rest[..4] != ENTRY {
            return Err(bad("its list of files is cut short"));
        }
        let (name_len, extra_len, comment_len) = (u16_at(rest, 28), u16_at(rest, 30), u16_at(rest, 32));
        let total = (46 + name_len + extra_len + comment_len) as usize;
        if rest.len() < total {
            return Err(bad("its list of files is cut short"));
        }
        let (head, after) = rest.split_at(total);
        rest = after;
        let name = String::from_utf8_lossy(&head[46..46 + name_len as usize]).into_owned();
        if u16_at(head, 8) & 1 != 0 || u16_at(head, 10) != 0 {
            return Err(Error::bad_source(format!(
                "'{name}' in the zip archive is compressed or encrypted: PyTorch does neither"
            )));
        }
        let (mut packed, mut bytes, mut local) = (u32_at(head, 20), u32_at(head, 24), u32_at(head, 42));
        extra_64(&head[46 + name_len as usize..][..extra_len as usize], [&mut bytes, &mut packed, &mut local]);
        if packed != bytes {
            return Err(bad("a file's length differs from itself"));
        }
        let local_head = read(local, 30)?;
        if &local_head[..4] != LOCAL {
            return Err(bad("a file is not where it should be"));
        }
        let start = local + 30 + u16_at(&local_head, 26) + u16_at(&local_head, 28);
        let end = start.checked_add(bytes).filter(|end| *end <= size).ok_or_else(|| bad("it is cut short"))?;
        if files.insert(name, start..end).is_some() {
            return Err(bad("a file is there twice"));
        }
    }
    Ok(files)
}

/// Numbers that did not fit, in the order of the format: bytes, packed, position.
fn extra_64(mut extra: &[u8], numbers: [&mut u64; 3]) {
    while extra.len() >= 4 {
        let (kind, len) = (u16_at(extra, 0), u16_at(extra, 2) as usize);
        let Some(body) = extra.get(4..4 + len) else { return };
        if kind == 1 {
            let mut values = body.chunks_exact(8).map(|c| u64_at(c, 0));
            for number in numbers.into_iter().filter(|n| **n == 0xffff_ffff) {
                *number = values.next().unwrap_or(u64::MAX);
            }
            return;
        }
        extra = &extra[4 + len..];
    }
}

/// The caller has checked that the bytes are there.
fn number<const N: usize>(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + N].iter().rev().fold(0, |n, b| n << 8 | *b as u64)
}

fn u16_at(bytes: &[u8], at: usize) -> u64 {
    number::<2>(bytes, at)
}

fn u32_at(bytes: &[u8], at: usize) -> u64 {
    number::<4>(bytes, at)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    number::<8>(bytes, at)
}
