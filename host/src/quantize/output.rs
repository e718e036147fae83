//! The quantized checkpoint: a safetensors file that is filled tensor by tensor, in any order, since all names and shapes are known before the first.

use super::checkpoint::Checkpoint;
use super::config::{Module, quantization_config};
use super::matrix::Quantized;
use super::rules::Rule;
use super::scheme::{Format, pack};
use crate::error::{Error, Result};
use crate::source::spliced::header;
use serde_json::Value;
use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// The file that the tensors go to.
const FILE: &str = "model.safetensors";
/// What says how a directory's model is made.
const CONFIG: &str = "config.json";

/// A tensor of the output: name, type, shape and bytes.
type Piece = (String, &'static str, Vec<u64>, u64);

/// A checkpoint in the making.
pub(crate) struct Output {
    file: BufWriter<File>,
    path: PathBuf,
    /// Where each of the source's tensors begins.
    places: Vec<u64>,
    written: u64,
    /// Bytes of the whole file.
    pub bytes: u64,
}

impl Output {
    /// Begins a checkpoint in `directory`: the file's header, and what goes with it.
    ///
    /// `rules` are those of the source's tensors, in its order.
    pub(crate) fn begin(directory: &Path, source: &Checkpoint, rules: &[Rule]) -> Result<Self> {
        let config = quantization_config(&modules(source, rules));
        if let Some(from) = source.directory() {
            carry(from.files(), source.path(), directory, &config)?;
        }
        let mut pieces: Vec<(String, String, Vec<u64>, u64)> = Vec::new();
        let mut places = Vec::with_capacity(rules.len());
        let mut end = 0;
        for (number, rule) in rules.iter().enumerate() {
            let entry = source.entry(number);
            let first = pieces.len();
            places.push(end);
            match *rule {
                Rule::Keep => pieces.push((entry.name.clone(), entry.dtype_name.clone(), entry.shape.clone(), entry.len)),
                Rule::Quantize(format) => {
                    let own = stored(&entry.name, entry.shape[0], entry.shape[1], format).into_iter();
                    pieces.extend(own.map(|(name, dtype, shape, len)| (name, dtype.to_owned(), shape, len)));
                }
            }
            end += pieces[first..].iter().map(|p| p.3).sum::<u64>();
        }
        let mut names = std::collections::HashSet::new();
        if let Some(twice) = pieces.iter().find(|p| !names.insert(p.0.as_str())) {
            let why = "the source has a tensor of the name that scales or packed integers would have: is it quantized already?";
            return Err(Error::bad_source(why).with_path(source.path()).with_tensor(&twice.0));
        }
        let metadata = [("format", "pt".to_owned()), ("quantization_config", config.to_string())];
        let header = header(&metadata, pieces.iter().map(|p| (p.0.as_str(), p.1.as_str(), &p.2[..], p.3)));
        places.iter_mut().for_each(|place| *place += header.len() as u64);
        let path = directory.join(FILE);
        let file = File::create(&path).map_err(|e| Error::io("creating", e).with_path(&path))?;
        let bytes = header.len() as u64 + end;
        let mut output = Self { file: BufWriter::with_capacity(1 << 20, file), path, places, written: 0, bytes };
        output.write(&header)?;
        Ok(output)
    }

    /// Adds the source's tensor `number`, which stays as it is.
    pub(crate) fn keep(&mut self, number: usize, bytes: &[u8]) -> Result<()> {
        self.at(number)?;
        self.write(bytes)
    }

    /// Adds the source's tensor `number` as integers with its scales. Tensors may come in any order.
    pub(crate) fn add(&mut self, number: usize, shape: &[u64], format: Format, quantized: &Quantized) -> Result<()> {
        self.at(number)?;
        let scales: Vec<u8> = quantized.scales.iter().flat_map(|s| s.to_le_bytes()).collect();
        match format {
            Format::Int8 => {
                self.write(bytemuck::cast_slice(&quantized.codes))?;
                self.write(&scales)
            }
            Format::Int4 => {
                for row in quantized.codes.chunks_exact(shape[1] as usize) {
                    let words: Vec<u8> = pack(row).flat_map(u32::to_le_bytes).collect();
                    self.write(&words)?;
                }
                self.write(&scales)?;
                self.write(&shape.iter().flat_map(|&d| d.to_le_bytes()).collect::<Vec<u8>>())
            }
        }
    }

    /// Writes what is still in memory; the path of the file.
    pub(crate) fn finish(mut self) -> Result<PathBuf> {
        let size = self.file.flush().and_then(|()| self.file.get_ref().metadata()).map(|m| m.len());
        match size {
            Ok(size) if size == self.bytes && self.written == self.bytes => Ok(self.path),
            Ok(_) => {
                let why = format!("{} bytes were written where {} belong", self.written, self.bytes);
                Err(Error::new(crate::ErrorKind::Io, why))
            }
            Err(e) => Err(Error::io("writing", e).with_path(&self.path)),
        }
    }

    /// Goes to where a tensor begins.
    fn at(&mut self, number: usize) -> Result<()> {
        let place = self.places[number];
        self.file.seek(SeekFrom::Start(place)).map(drop).map_err(|e| Error::io("writing", e).with_path(&self.path))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.written += bytes.len() as u64;
        self.file.write_all(bytes).map_err(|e| Error::io("writing", e).with_path(&self.path))
    }
}

/// How a quantized matrix is stored.
fn stored(name: &str, rows: u64, columns: u64, format: Format) -> Vec<Piece> {
    let groups = format.group(columns as usize).map_or(1, |group| columns / group as u64);
    let scales = (format!("{name}_scale"), "BF16", vec![rows, groups], 2 * rows * groups);
    match format {
        Format::Int8 => vec![(name.into(), "I8", vec![rows, columns], rows * columns), scales],
        Format::Int4 => {
            let words = columns.div_ceil(8);
            let packed = (format!("{name}_packed"), "I32", vec![rows, words], 4 * rows * words);
            vec![packed, scales, (format!("{name}_shape"), "I64", vec![2], 16)]
        }
    }
}

/// The modules whose weights are matrices.
fn modules(source: &Checkpoint, rules: &[Rule]) -> Vec<Module> {
    let module = |(number, rule): (usize, &Rule)| {
        let entry = source.entry(number);
        let name = entry.name.strip_suffix(".weight").filter(|_| entry.shape.len() == 2)?.to_owned();
        let format = match *rule {
            Rule::Keep => None,
            Rule::Quantize(format) => Some((format, format.group(entry.shape[1] as usize).unwrap_or(1))),
        };
        Some(Module { name, format })
    };
    rules.iter().enumerate().filter_map(module).collect()
}

/// Copies the files that go with a checkpoint; the configuration gets the scheme, and an index of shards that are no more is left out.
fn carry<'a>(files: impl Iterator<Item = &'a Path>, root: &Path, directory: &Path, config: &Value) -> Result<()> {
    for from in files {
        let relative =
            from.strip_prefix(root).map_err(|_| Error::argument("a file that is not in its directory").with_path(from))?;
        if relative.to_str().is_some_and(|name| name.ends_with(".safetensors.index.json")) {
            continue;
        }
        let to = directory.join(relative);
        let io = |doing: &'static str| move |e| Error::io(doing, e).with_path(from);
        if let Some(parent) = to.parent() {
            std::fs::create_dir_all(parent).map_err(io("creating its directory"))?;
        }
        if relative != Path::new(CONFIG) {
            std::fs::copy(from, &to).map_err(io("copying"))?;
            continue;
        }
        let text = std::fs::read(from).map_err(io("reading"))?;
        let mut whole: serde_json::Map<String, Value> =
            serde_json::from_slice(&text).map_err(|e| Error::bad_source(format!("it is no JSON object: {e}")).with_path(from))?;
        if whole.contains_key("quantization_config") {
            return Err(Error::bad_source("it has a quantization_config: the model is quantized already").with_path(from));
        }
        whole.insert("quantization_config".into(), config.clone());
        let text = serde_json::to_vec_pretty(&whole).map_err(|e| Error::bad_source(e.to_string()).with_path(from))?;
        std::fs::write(&to, text).map_err(io("copying"))?;
    }
    Ok(())
}
