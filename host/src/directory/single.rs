//! A checkpoint as one archive: that of a safetensors file, made here as it is read, whose data are the files of the directory, one after the other.
//! A shard's tensors are tensors of it, its header and every other file are tensors of bytes under reserved names.

use super::checkpoint::Directory;
use super::claim::{Claim, sweep_parents};
use super::{DirectoryReport, copy, path, tree};
use crate::archive::{Archive, VerifyReport};
use crate::encode::Encoder;
use crate::error::{Error, ErrorKind, Result};
use crate::output::{refuse_existing, replace_file};
use crate::progress::Flow;
use crate::source::spliced::{Spliced, header};
use crate::source::{FileReader, ReadAt, safetensors};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// What begins the names of tensors that are none of the model's.
pub(crate) const RESERVED: &str = "__wcodec__/";
/// The tensor that says which files there are.
const LIST: &str = "__wcodec__/directory";
/// Bytes of it, at most.
const MAX_LIST: u64 = 64 << 20;
const VERSION: u32 = 1;

/// The files, in the order of their bytes.
#[derive(Serialize, Deserialize)]
struct List {
    version: u32,
    files: Vec<Listed>,
}

#[derive(Serialize, Deserialize)]
struct Listed {
    path: String,
    bytes: u64,
    /// Whether it is a safetensors file, whose tensors are the archive's.
    shard: bool,
}

/// A file that is opened for each read: a directory may have more of them than a process may hold.
struct Reopened(tree::File);

impl ReadAt for Reopened {
    fn size(&self) -> u64 {
        self.0.len
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let named = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", self.0.at.display()));
        let file = FileReader::open(&self.0.at).map_err(named)?;
        if file.size() != self.0.len {
            return Err(named(io::Error::other("the file has changed")));
        }
        file.read_exact_at(offset, buffer).map_err(named)
    }
}

/// A tensor of the file that is made up.
struct Piece {
    name: String,
    dtype: String,
    shape: Vec<u64>,
    len: u64,
}

impl Piece {
    fn bytes(name: String, len: u64) -> Self {
        Self { name, dtype: "U8".into(), shape: vec![len], len }
    }
}

/// Calls `f` with the safetensors file that stands for `directory`.
fn with_source<T>(directory: &Directory, f: impl FnOnce(&dyn ReadAt) -> Result<T>) -> Result<T> {
    let shards = directory.shards.iter().map(|s| (&s.file, true));
    let files: Vec<_> = shards.chain(directory.files.iter().map(|f| (f, false))).collect();
    let listed = files.iter().map(|(f, shard)| Listed { path: f.path.clone(), bytes: f.len, shard: *shard }).collect();
    let list = serde_json::to_vec(&List { version: VERSION, files: listed });
    let list = list.map_err(|e| Error::new(ErrorKind::Io, format!("writing the list of files: {e}")))?;
    let mut pieces = vec![Piece::bytes(LIST.into(), list.len() as u64)];
    for (file, shard) in &files {
        if !shard {
            pieces.push(Piece::bytes(format!("{RESERVED}file/{}", file.path), file.len));
            continue;
        }
        let named = |e: Error| e.with_path(&file.at);
        let reader = FileReader::open(&file.at).map_err(|e| named(Error::io("opening", e)))?;
        let header = safetensors::read_header(&reader).map_err(named)?;
        pieces.push(Piece::bytes(format!("{RESERVED}header/{}", file.path), header.len));
        for t in header.tensors {
            if t.name.starts_with(RESERVED) {
                return Err(named(Error::bad_source("a name that is reserved for what is no tensor").with_tensor(&t.name)));
            }
            pieces.push(Piece { name: t.name, dtype: t.dtype_name, shape: t.shape, len: t.len });
        }
    }
    let mut names = HashSet::new();
    if let Some(twice) = pieces.iter().find(|p| !names.insert(p.name.as_str())) {
        let why = "two of the safetensors files have a tensor of this name: they do not fit into one archive";
        return Err(Error::bad_source(why).with_path(&directory.root).with_tensor(&twice.name));
    }
    let readers: Vec<_> = files.iter().map(|(file, _)| Reopened((*file).clone())).collect();
    let mut source = Spliced::default();
    source.push_bytes(header(&[], pieces.iter().map(|p| (p.name.as_str(), p.dtype.as_str(), &p.shape[..], p.len))));
    source.push_bytes(list);
    readers.iter().for_each(|reader| source.push_from(reader, 0, reader.size()));
    f(&source)
}

impl Encoder {
    /// Encodes a directory of a checkpoint to one archive, from which [`SingleDirectory`] restores it. It appears under its name only when it is complete
    /// and on disk.
    ///
    /// # Errors
    /// Those of [`Directory::open`] and of [`encode_file`](Self::encode_file); two shards with tensors of one name.
    pub fn encode_directory_single(&self, input: impl AsRef<Path>, output: impl AsRef<Path>) -> Result<DirectoryReport> {
        let (input, output) = (input.as_ref(), output.as_ref());
        refuse_existing(output, self.options.overwrite)?;
        let directory = Directory::open(input)?;
        path::apart(input, output)?;
        let done = replace_file(output, self.options.overwrite, |file| {
            let mut buffered = io::BufWriter::with_capacity(1 << 20, file);
            let done = with_source(&directory, |source| {
                let placed = |e: Error| if e.is_elsewhere() { e.with_path(output) } else { e.with_path(input) };
                self.encode_source(source, &mut buffered).map_err(placed)
            })?;
            buffered.flush().map_err(|e| Error::io("writing", e).with_path(output))?;
            Ok(done)
        })?;
        Ok(DirectoryReport {
            shards: directory.shards.len(),
            resumed: 0,
            // Less one for each header and file, and the list.
            tensors: done.tensors.saturating_sub(directory.shards.len() + directory.files.len() + 1),
            files: directory.files.len(),
            source_bytes: directory.bytes(),
            archive_bytes: done.archive_bytes,
        })
    }
}

/// A directory in one archive.
pub struct SingleDirectory<'a> {
    archive: &'a Archive,
    list: List,
    /// Bytes before the first file.
    head: u64,
}

impl<'a> SingleDirectory<'a> {
    /// The directory that `archive` holds; `None` if it is the archive of a file.
    ///
    /// # Errors
    /// A damaged list of files.
    pub fn of(archive: &'a Archive) -> Result<Option<Self>> {
        let Ok(tensor) = archive.tensor(LIST) else { return Ok(None) };
        let bad = |why: String| archive.place(Error::corrupt(format!("the list of files is damaged: {why}")));
        if tensor.byte_len() > MAX_LIST {
            return Err(bad(format!("it has {} bytes", tensor.byte_len())));
        }
        let list: List = serde_json::from_slice(&tensor.decode()?).map_err(|e| bad(e.to_string()))?;
        if list.version != VERSION {
            let why = format!("version {} of the list of files needs a newer wcodec: this one reads {VERSION}", list.version);
            return Err(archive.place(Error::new(ErrorKind::Unsupported, why)));
        }
        let mut names = HashSet::from([path::UNFINISHED]);
        for file in &list.files {
            path::check(&file.path).map_err(bad)?;
            if !names.insert(&file.path) {
                return Err(bad(format!("'{}' appears twice", file.path)));
            }
        }
        // All data but the header and the list are files.
        let data: u64 = archive.tensors().map(|t| t.byte_len()).sum();
        let head = archive.source_bytes() - data + tensor.byte_len();
        let files = list.files.iter().try_fold(head, |sum, f| sum.checked_add(f.bytes));
        if files != Some(archive.source_bytes()) || archive.tensors().next().is_none_or(|t| t.name() != LIST) {
            return Err(bad("its lengths are not the archive's".into()));
        }
        Ok(Some(Self { archive, list, head }))
    }

    /// The files, by their names below the directory, with slashes.
    pub fn files(&self) -> impl ExactSizeIterator<Item = &str> {
        self.list.files.iter().map(|f| f.path.as_str())
    }

    /// Restores the directory to `output`, byte for byte; each file appears only when it is complete, checked and on disk.
    ///
    /// # Errors
    /// Damage, named; an output directory that is not empty, unless `overwrite` is set.
    pub fn decompress<F: Into<Flow>>(
        &self,
        output: impl AsRef<Path>,
        overwrite: bool,
        progress: impl Fn(u64, u64) -> F + Sync,
    ) -> Result<DirectoryReport> {
        let output = output.as_ref();
        // Never taken up again: the next begins at the beginning. Files that are there stay until what replaces them is whole.
        self.make(output, "decompress", overwrite, |_| {
            let mut failed = None;
            let splitter = Splitter { skip: self.head, output, files: &self.list.files, open: None, failed: &mut failed };
            let written = splitter.begin().and_then(|splitter| self.archive.write_source(splitter, progress));
            // Of a failure in writing the writer knows more than who called it.
            written.map_err(|e| failed.take().unwrap_or(e))
        })?;
        Ok(self.report())
    }

    /// Decodes everything and compares it with the files of `original`, byte for byte.
    ///
    /// # Errors
    /// Those of [`Archive::verify_against`] and [`Directory::open`].
    pub fn verify_against<F: Into<Flow>>(
        &self,
        original: impl AsRef<Path>,
        progress: impl Fn(u64, u64) -> F + Sync,
    ) -> Result<VerifyReport> {
        with_source(&Directory::open(original)?, |source| self.archive.verify_against(source, progress))
    }

    /// The files that are no shards.
    pub(crate) fn others(&self) -> impl Iterator<Item = &str> {
        self.list.files.iter().filter(|f| !f.shard).map(|f| f.path.as_str())
    }

    /// Makes a directory of what this one holds: claims `output`, to do `job`, while `write` writes its files, whose places below it its argument says.
    pub(crate) fn make<T>(
        &self,
        output: &Path,
        job: &str,
        overwrite: bool,
        write: impl FnOnce(&dyn Fn(&str) -> PathBuf) -> Result<T>,
    ) -> Result<T> {
        let sum = self.archive.source_sha256().unwrap_or_default();
        let claim = Claim::take(output, &format!("{job}, archive {}", super::manifest::hex(&sum)), overwrite, || Ok(()))?;
        sweep_parents(self.list.files.iter().map(|f| path::under(output, &f.path)))?;
        let written = write(&|name| path::under(output, name))?;
        claim.finish()?;
        Ok(written)
    }

    /// What there is.
    pub fn report(&self) -> DirectoryReport {
        let shards = self.list.files.iter().filter(|f| f.shard).count();
        DirectoryReport {
            shards,
            resumed: 0,
            tensors: self.archive.tensors().filter(|t| !t.name().starts_with(RESERVED)).count(),
            files: self.list.files.len() - shards,
            source_bytes: self.archive.source_bytes() - self.head,
            archive_bytes: self.archive.archive_bytes(),
        }
    }
}

/// Writes a file of a directory, whole or not at all.
pub(crate) fn write_file(to: &Path, bytes: &[u8]) -> Result<()> {
    copy::make_parent(to)?;
    replace_file(to, true, |file| file.write_all(bytes).map_err(|e| Error::io("writing the output", e).with_path(to)))
}

/// Takes the bytes of all files and writes each.
struct Splitter<'a> {
    /// Bytes to pass over.
    skip: u64,
    output: &'a Path,
    /// The files that are not begun.
    files: &'a [Listed],
    /// The file in hand, its name, and the bytes that it still lacks.
    open: Option<(NamedTempFile, PathBuf, u64)>,
    /// What went wrong, in full.
    failed: &'a mut Option<Error>,
}

impl Splitter<'_> {
    /// Files without a byte, if they come first, are there before any byte comes.
    fn begin(mut self) -> Result<Self> {
        self.turn()?;
        Ok(self)
    }

    /// Ends the file in hand if it is complete, and begins the next that has bytes.
    fn turn(&mut self) -> Result<()> {
        loop {
            match self.open.take() {
                Some((file, to, 0)) => finish(file, &to)?,
                Some(open) => {
                    self.open = Some(open);
                    return Ok(());
                }
                None => {}
            }
            let Some((next, rest)) = self.files.split_first() else { return Ok(()) };
            self.files = rest;
            let to = path::under(self.output, &next.path);
            copy::make_parent(&to)?;
            let mut builder = tempfile::Builder::new();
            builder.prefix(".wcodec-").suffix(".tmp");
            #[cfg(unix)]
            builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
            let file = builder.tempfile_in(to.parent().unwrap_or(self.output));
            let file = file.map_err(|e| Error::io("creating the output", e).with_path(&to))?;
            self.open = Some((file, to, next.bytes));
        }
    }

    fn put(&mut self, mut bytes: &[u8]) -> Result<()> {
        let passed = self.skip.min(bytes.len() as u64);
        self.skip -= passed;
        bytes = &bytes[passed as usize..];
        while !bytes.is_empty() {
            let Some((file, to, lacks)) = &mut self.open else {
                return Err(Error::corrupt("the archive holds more bytes than its files have"));
            };
            let (now, rest) = bytes.split_at((*lacks).min(bytes.len() as u64) as usize);
            file.write_all(now).map_err(|e| Error::io("writing the output", e).with_path(to))?;
            *lacks -= now.len() as u64;
            bytes = rest;
            self.turn()?;
        }
        Ok(())
    }
}

/// Gives a file its name. Its tensors' hashes are right, or its last bytes would not have come.
fn finish(file: NamedTempFile, to: &Path) -> Result<()> {
    file.as_file().sync_all().map_err(|e| Error::io("syncing the output", e).with_path(to))?;
    file.persist(to).map_err(|e| Error::io("renaming the output", e.error).with_path(to))?;
    Ok(())
}

impl Write for Splitter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.put(bytes) {
            Ok(()) => Ok(bytes.len()),
            Err(e) => {
                let said = io::Error::other(e.to_string());
                *self.failed = Some(e);
                Err(said)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
