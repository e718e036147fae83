//! A directory of a checkpoint, as it is downloaded: which files are shards, which are carried along, and whether its indexes are right.

use super::index::Index;
use super::{path, tree};
use crate::error::{Error, Result};
use crate::source::{FileReader, safetensors};
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

/// The model's index, if it has shards.
const MODEL_INDEX: &str = "model.safetensors.index.json";
/// Bytes of an index, at most.
const MAX_INDEX: u64 = 1 << 30;

/// A directory of a checkpoint: safetensors files, perhaps an index of them, configuration, tokenizer and whatever else is there.
///
/// Every safetensors file in it, and in directories in it, is a shard; all other files are carried along byte for byte. Links count as what they
/// lead to. `.git` and its like, and `.cache`, are left out, and so are empty directories.
#[derive(Debug)]
pub struct Directory {
    pub(super) root: PathBuf,
    pub(super) shards: Vec<Shard>,
    pub(super) files: Vec<tree::File>,
    /// That of the model's index.
    pub(super) metadata: Option<serde_json::Value>,
    /// The archive of each of the model's tensors.
    pub(super) weight_map: BTreeMap<String, String>,
}

/// A safetensors file, and what its archive is called.
#[derive(Clone, Debug)]
pub(super) struct Shard {
    pub file: tree::File,
    pub archive: String,
}

impl Directory {
    /// Looks at a directory: reads its indexes and the headers of its shards.
    ///
    /// # Errors
    /// No safetensors file; an index that does not agree with the shards (a shard that is missing, a tensor that is not where it is listed, or twice,
    /// or not listed); a name that leads out of the directory; files that archives would replace.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let root = path.as_ref();
        let (mut shards, mut files) = (Vec::new(), Vec::new());
        for file in tree::walk(root)? {
            match path::archive_of(&file.path) {
                Some(archive) => shards.push(Shard { file, archive }),
                None => files.push(file),
            }
        }
        let names: HashSet<_> = files.iter().map(|f| f.path.as_str()).collect();
        let taken = shards.iter().map(|s| s.archive.as_str()).chain([path::MANIFEST]).find(|name| names.contains(name));
        if let Some(name) = taken {
            return Err(Error::bad_source(format!("'{name}' is there already: is this a compressed directory?")).with_path(root));
        }
        let mut directory = Self { root: root.to_owned(), shards, files, metadata: None, weight_map: BTreeMap::new() };
        directory.check()?;
        Ok(directory)
    }

    /// The shards, by name.
    pub fn shards(&self) -> impl ExactSizeIterator<Item = &Path> {
        self.shards.iter().map(|s| s.file.at.as_path())
    }

    /// The files that are carried along, by name.
    pub fn files(&self) -> impl ExactSizeIterator<Item = &Path> {
        self.files.iter().map(|f| f.at.as_path())
    }

    /// Bytes of all shards and files.
    pub fn bytes(&self) -> u64 {
        self.shards.iter().map(|s| s.file.len).chain(self.files.iter().map(|f| f.len)).sum()
    }

    /// Checks every index, learns the model's.
    fn check(&mut self) -> Result<()> {
        let headers: BTreeMap<&str, Vec<String>> =
            self.shards.iter().map(|s| Ok((s.file.path.as_str(), tensors(&s.file.at)?))).collect::<Result<_>>()?;
        let mut model = None;
        for file in self.files.iter().filter(|f| path::is_index(&f.path)) {
            let index = read_index(file, &headers).map_err(|e| e.with_path(&file.at))?;
            if file.path == MODEL_INDEX {
                model = Some(index);
            }
        }
        if self.shards.is_empty() {
            return Err(Error::bad_source(self.advice()).with_path(&self.root));
        }
        let archive = |shard: &str| path::archive_of(shard).unwrap_or_default();
        if let Some(index) = model {
            self.weight_map = index.weight_map.0.into_iter().map(|(tensor, shard)| (tensor, archive(&shard))).collect();
            self.metadata = index.metadata;
        } else if let [(lone, tensors)] =
            headers.into_iter().filter(|(shard, _)| path::parent(shard).is_empty()).collect::<Vec<_>>().as_slice()
        {
            self.weight_map = tensors.iter().map(|tensor| (tensor.clone(), archive(lone))).collect();
        }
        Ok(())
    }

    /// What to do about a directory without safetensors files.
    fn advice(&self) -> String {
        let is_pickle = |f: &&tree::File| [".bin", ".pt", ".pth"].iter().any(|end| f.path.ends_with(end));
        match self.files.iter().find(is_pickle) {
            Some(pickle) => format!(
                "it has no safetensors files, but pickles ('{}'), of which only the tensors would come back: convert them to \
                 safetensors, or compress them file by file",
                pickle.path
            ),
            None => "it has no safetensors files".into(),
        }
    }
}

/// The names of a shard's tensors.
fn tensors(shard: &Path) -> Result<Vec<String>> {
    let source = FileReader::open(shard).map_err(|e| Error::io("opening", e).with_path(shard))?;
    let header = safetensors::read_header(&source).map_err(|e| e.with_path(shard))?;
    Ok(header.tensors.into_iter().map(|t| t.name).collect())
}

/// Reads an index and compares it with the shards that it names.
fn read_index(file: &tree::File, headers: &BTreeMap<&str, Vec<String>>) -> Result<Index> {
    if file.len > MAX_INDEX {
        return Err(Error::bad_source(format!("{} bytes are no index", file.len)));
    }
    let text = std::fs::read(&file.at).map_err(|e| Error::io("reading", e))?;
    let index = Index::parse(&text)?;
    let beside = path::parent(&file.path);
    let mut named = BTreeMap::new();
    for (shard, count) in index.shards() {
        let Some(tensors) = headers.get(format!("{beside}{shard}").as_str()) else {
            let why = format!("shard '{shard}' is missing, which should hold {count} of the tensors");
            return Err(Error::bad_source(why));
        };
        named.insert(shard, tensors.as_slice());
    }
    index.check(&named)?;
    Ok(index)
}
