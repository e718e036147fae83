//! Names of files in a directory, as indexes spell them: untrusted text until it is checked.

use crate::error::{Error, ErrorKind, Result};
use std::path::{Component, Path, PathBuf};

/// The manifest of a directory of archives.
pub(super) const MANIFEST: &str = "model.wcodec.index.json";
/// Stands in an output directory until it is complete.
pub(super) const UNFINISHED: &str = ".wcodec-unfinished";
/// What ends the name of a shard.
const SHARD: &str = ".safetensors";
/// What ends the name of its archive.
const ARCHIVE: &str = ".wcodec";

/// Refuses what is no way down into a directory: `..`, absolute paths, drives, backslashes.
pub(super) fn check(path: &str) -> Result<(), String> {
    let plain = |part: &str| {
        let mut components = Path::new(part).components();
        let single = matches!(components.next(), Some(Component::Normal(name)) if name == part);
        single && components.next().is_none() && !part.contains(['\\', '\0'])
    };
    if path.split('/').all(plain) {
        return Ok(());
    }
    Err(format!("'{}' is no file inside the directory", path.escape_debug()))
}

/// Where `path`, which [`check`] let pass, is under `root`.
pub(super) fn under(root: &Path, path: &str) -> PathBuf {
    path.split('/').fold(root.to_owned(), |at, part| at.join(part))
}

/// The directory part of `path`, with its slash; nothing for a file of the root.
pub(super) fn parent(path: &str) -> &str {
    path.rfind('/').map_or("", |slash| &path[..=slash])
}

/// The name of a shard's archive; `None` for what is no shard.
pub(super) fn archive_of(path: &str) -> Option<String> {
    Some(format!("{}{ARCHIVE}", path.strip_suffix(SHARD)?))
}

/// Whether a file is an index of shards.
pub(super) fn is_index(path: &str) -> bool {
    path.ends_with(".safetensors.index.json")
}

/// Whether a name is one that an unfinished write left.
pub(super) fn is_temporary(name: &str) -> bool {
    name.starts_with(".wcodec-") && name.ends_with(".tmp")
}

/// Refuses two directories one of which is, or lies in, the other: the second run would take the first one's outputs for inputs.
pub(super) fn apart(input: &Path, output: &Path) -> Result<()> {
    // What is not there yet lies in what is there of it.
    let mut there = output;
    let mut rest = Vec::new();
    let real = loop {
        match there.canonicalize() {
            Ok(real) => break real,
            Err(_) => match (there.parent(), there.file_name()) {
                (Some(above), Some(name)) => {
                    rest.push(name);
                    there = if above.as_os_str().is_empty() { Path::new(".") } else { above };
                }
                _ => return Ok(()),
            },
        }
    };
    let output_real = rest.iter().rev().fold(real, |at, name| at.join(name));
    let input_real = input.canonicalize().map_err(|e| Error::io("opening", e).with_path(input))?;
    if output_real.starts_with(&input_real) || input_real.starts_with(&output_real) {
        let why = format!("the output directory and the input, {}, lie in each other: choose another", input.display());
        return Err(Error::new(ErrorKind::InvalidArgument, why).with_path(output));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ways_down() {
        for good in ["a", "a.safetensors", "unet/a.safetensors", "a/b/c", "...", ".gitattributes", "ä b"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in ["", ".", "..", "/a", "a/", "a//b", "../a", "a/../b", "./a", "a/.", "a\\b", "a\0b"] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names() {
        assert_eq!(archive_of("model-00001-of-00002.safetensors").as_deref(), Some("model-00001-of-00002.wcodec"));
        assert_eq!(archive_of("config.json"), None);
        assert!(is_index("unet/x.safetensors.index.json") && !is_index("pytorch_model.bin.index.json"));
        assert_eq!((parent("a/b/c"), parent("c")), ("a/b/", ""));
        assert!(is_temporary(".wcodec-abc.tmp") && !is_temporary("a.tmp") && !is_temporary(UNFINISHED));
    }

    #[test]
    fn directories_apart() {
        let place = tempfile::tempdir().unwrap();
        let (a, b) = (place.path().join("a"), place.path().join("b"));
        std::fs::create_dir(&a).unwrap();
        assert!(apart(&a, &b).is_ok());
        assert!(apart(&a, &b.join("deeper/still")).is_ok());
        for other in [a.clone(), a.join("out"), a.join("x/y"), place.path().to_owned()] {
            assert_eq!(apart(&a, &other).unwrap_err().kind(), ErrorKind::InvalidArgument, "{other:?}");
        }
    }
}
