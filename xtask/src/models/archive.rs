//! Members of a wheel, which is a zip archive, or of an archive inside one.

use std::io::{Cursor, Read};

use anyhow::{Context, Result};
use zip::ZipArchive;

/// Reads the member a path leads to: all but the last name are archives.
pub(super) fn member(archive: &[u8], path: &[&str]) -> Result<Vec<u8>> {
    let (name, rest) = path.split_first().context("a member needs a name")?;
    let bytes = read_one(archive, name).with_context(|| format!("archive member {name:?}"))?;
    if rest.is_empty() { Ok(bytes) } else { member(&bytes, rest) }
}

/// Reads a member by its name.
fn read_one(archive: &[u8], name: &str) -> Result<Vec<u8>> {
    let mut archive = ZipArchive::new(Cursor::new(archive))?;
    let mut file = archive.by_name(name)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    use super::*;

    fn archive(name: &str, bytes: &[u8]) -> Vec<u8> {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        writer.start_file(name, SimpleFileOptions::default()).expect("starts");
        writer.write_all(bytes).expect("writes");
        writer.finish().expect("finishes").into_inner()
    }

    #[test]
    fn members_are_found_through_archives() {
        let inner = archive("model", b"weights");
        let outer = archive("inner.zip", &inner);
        assert_eq!(member(&outer, &["inner.zip", "model"]).expect("found"), b"weights");
        assert_eq!(member(&outer, &["inner.zip"]).expect("found"), inner);
    }

    #[test]
    fn what_is_not_there_is_an_error() {
        let outer = archive("a", b"not an archive");
        for path in [&["b"][..], &["a", "b"], &[]] {
            assert!(member(&outer, path).is_err(), "{path:?}");
        }
        for end in 0..outer.len() {
            assert!(member(&outer[..end], &["a"]).is_err(), "{end} bytes");
        }
    }
}
