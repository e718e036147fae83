//! A safetensors file that is nowhere: a header made here, before bytes that lie in other files.

use super::ReadAt;
use std::io;

/// Where a stretch of bytes comes from.
enum Part<'a> {
    Memory(Vec<u8>),
    From(&'a dyn ReadAt, u64, u64),
}

/// Bytes of several places, one after the other.
#[derive(Default)]
pub(crate) struct Spliced<'a> {
    /// With the position of each.
    parts: Vec<(u64, Part<'a>)>,
    len: u64,
}

impl<'a> Spliced<'a> {
    pub(crate) fn push_bytes(&mut self, bytes: Vec<u8>) {
        let len = bytes.len() as u64;
        self.push(len, Part::Memory(bytes));
    }

    /// Bytes `offset..offset + len` of `from`. The caller has checked that they are there.
    pub(crate) fn push_from(&mut self, from: &'a dyn ReadAt, offset: u64, len: u64) {
        self.push(len, Part::From(from, offset, len));
    }

    fn push(&mut self, len: u64, part: Part<'a>) {
        if len > 0 {
            self.parts.push((self.len, part));
            self.len += len;
        }
    }
}

impl ReadAt for Spliced<'_> {
    fn size(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, mut offset: u64, mut buffer: &mut [u8]) -> io::Result<()> {
        if offset.checked_add(buffer.len() as u64).is_none_or(|end| end > self.len) {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "read past the end"));
        }
        let mut at = self.parts.partition_point(|(start, _)| *start <= offset).saturating_sub(1);
        while !buffer.is_empty() {
            let (start, part) = &self.parts[at];
            let inside = offset - start;
            let len = match part {
                Part::Memory(bytes) => bytes.len() as u64,
                Part::From(_, _, len) => *len,
            };
            let (now, rest) = buffer.split_at_mut((len - inside).min(buffer.len() as u64) as usize);
            match part {
                Part::Memory(bytes) => now.copy_from_slice(&bytes[inside as usize..][..now.len()]),
                Part::From(from, start, _) => from.read_exact_at(start + inside, now)?,
            }
            offset += now.len() as u64;
            buffer = rest;
            at += 1;
        }
        Ok(())
    }
}

/// The header of a safetensors file of these tensors (name, dtype, shape, bytes), in this order, padded to 8 bytes; with metadata, if there are any.
pub(crate) fn header<'t>(
    metadata: &[(&str, String)],
    tensors: impl IntoIterator<Item = (&'t str, &'t str, &'t [u64], u64)>,
) -> Vec<u8> {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let (mut json, mut at) = (String::from("{"), 0u64);
    if !metadata.is_empty() {
        let pairs: Vec<String> = metadata.iter().map(|(key, value)| format!("{}:{}", quoted(key), quoted(value))).collect();
        json += &format!("\"__metadata__\":{{{}}}", pairs.join(","));
    }
    for (name, dtype, shape, len) in tensors {
        if json.len() > 1 {
            json.push(',');
        }
        let end = at + len;
        json += &format!("{}:{{\"dtype\":{},\"shape\":{shape:?},\"data_offsets\":[{at},{end}]}}", quoted(name), quoted(dtype));
        at = end;
    }
    json.push('}');
    while !json.len().is_multiple_of(8) {
        json.push(' ');
    }
    let mut header = (json.len() as u64).to_le_bytes().to_vec();
    header.extend_from_slice(json.as_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_across_parts() {
        let (a, b): (&[u8], &[u8]) = (b"0123456789", b"abcdef");
        let mut spliced = Spliced::default();
        spliced.push_bytes(b"head".to_vec());
        spliced.push_from(&a, 3, 4);
        spliced.push_from(&b, 0, 0);
        spliced.push_from(&b, 5, 1);
        spliced.push_bytes(Vec::new());
        spliced.push_from(&a, 0, 2);
        let whole = b"head3456f01";
        assert_eq!(spliced.size(), whole.len() as u64);
        for start in 0..=whole.len() {
            for end in start..=whole.len() {
                let mut out = vec![0; end - start];
                spliced.read_exact_at(start as u64, &mut out).unwrap();
                assert_eq!(out, whole[start..end]);
            }
        }
        assert!(spliced.read_exact_at(5, &mut [0; 7]).is_err());
        assert!(spliced.read_exact_at(u64::MAX, &mut [0; 7]).is_err());
    }

    #[test]
    fn headers_are_safetensors() {
        let mut file = header(&[], [("a\"b", "F32", &[2][..], 8), ("none", "I8", &[0, 3][..], 0)]);
        assert!(file.len().is_multiple_of(8));
        file.extend([0; 8]);
        let parsed = crate::source::safetensors::read_header(&file).unwrap();
        assert_eq!(parsed.tensors.iter().map(|t| t.name.as_str()).collect::<Vec<_>>(), ["a\"b", "none"]);
    }
}
