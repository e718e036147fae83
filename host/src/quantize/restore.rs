//! The checkpoint of plain floats that an archive of a quantized one stands for.

use super::dequantize::Dequantized;
use super::expand::float_bytes;
use crate::archive::Archive;
use crate::directory::single::{self, RESERVED, SingleDirectory};
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::output::{refuse_existing, replace_file};
use crate::progress::Flow;
use crate::source::spliced::header;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

/// What says how a directory's model is made, and what of that is gone.
const CONFIG: &str = "config.json";
const SCHEME: &str = "quantization_config";
/// The file that the tensors of a directory go to.
const FILE: &str = "model.safetensors";

/// Writes what `archive`, of a quantized checkpoint, stands for: a safetensors file in which integers have become floats of type `to` (BF16, F16 or F32) and
/// all else is as it was. Of an archive of a directory, `output` becomes a directory with that file and the others; the configuration says nothing of
/// quantization any more. Gives the bytes of the tensors' file. In memory is one tensor at a time.
///
/// `progress(done, total)` counts bytes of tensors.
///
/// # Errors
/// Another type; an archive without integers that stand for weights, or of no safetensors files; those of [`Dequantized::new`] and
/// [`Dequantized::read`]; an output that exists, unless `overwrite` is set; whatever fails in writing.
pub fn decompress<F: Into<Flow>>(
    archive: &Archive,
    to: Dtype,
    output: impl AsRef<Path>,
    overwrite: bool,
    progress: impl Fn(u64, u64) -> F,
) -> Result<u64> {
    float_bytes(to)?;
    let output = output.as_ref();
    if archive.is_gguf() {
        return Err(archive.place(Error::argument("its source is a GGUF file, whose blocks are not dequantized")));
    }
    let model = Dequantized::new(archive)?;
    if model.quantized().next().is_none() {
        let why = "nothing in it is quantized in a way that this version knows: it has no '….weight' of I8 and no '….weight_packed' with scales";
        return Err(archive.place(Error::argument(why)));
    }
    let report = |done, total| progress(done, total).into();
    let Some(directory) = SingleDirectory::of(archive)? else {
        refuse_existing(output, overwrite)?;
        let metadata = match archive.source_header()? {
            Some(header) => metadata(header.get(8..).unwrap_or_default()),
            None => BTreeMap::new(),
        };
        return write(archive, &model, to, &metadata, output, overwrite, &report);
    };
    directory.make(output, &format!("dequantize to {to:?}"), overwrite, |below| {
        for name in directory.others().filter(|name| !name.ends_with(".safetensors.index.json")) {
            let mut bytes = archive.tensor(&format!("{RESERVED}file/{name}"))?.decode()?;
            if name == CONFIG {
                bytes = without_scheme(&bytes).map_err(|e| archive.place(e))?;
            }
            single::write_file(&below(name), &bytes)?;
        }
        let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
        write(archive, &model, to, &metadata, &below(FILE), true, &report)
    })
}

/// The metadata of a safetensors header, less what it says of quantization. (What cannot be read is none: the archive vouches for bytes, not for sense.)
fn metadata(header: &[u8]) -> BTreeMap<String, String> {
    #[derive(serde::Deserialize)]
    struct Header {
        #[serde(rename = "__metadata__", default)]
        metadata: BTreeMap<String, String>,
    }
    let mut metadata = serde_json::from_slice(header).map_or_else(|_| BTreeMap::new(), |header: Header| header.metadata);
    metadata.remove(SCHEME);
    metadata
}

fn without_scheme(config: &[u8]) -> Result<Vec<u8>> {
    let fail = |e: serde_json::Error| Error::bad_source(format!("its {CONFIG} is no JSON object: {e}"));
    let mut config: Map<String, Value> = serde_json::from_slice(config).map_err(fail)?;
    config.remove(SCHEME);
    serde_json::to_vec_pretty(&config).map_err(fail)
}

/// Writes the model's tensors, those of large elements first so that each begins on a multiple of its own.
fn write(
    archive: &Archive,
    model: &Dequantized<&Archive>,
    to: Dtype,
    metadata: &BTreeMap<String, String>,
    output: &Path,
    overwrite: bool,
    report: &dyn Fn(u64, u64) -> Flow,
) -> Result<u64> {
    let mut tensors = Vec::new();
    for name in model.names().filter(|name| !name.starts_with(RESERVED)) {
        let shape = model.shape(name).unwrap_or_default();
        match model.integers(name) {
            Some(integers) => {
                let number = archive.tensor(&integers.stored_as(name))?.entry_number();
                let bytes = shape.iter().product::<u64>() * float_bytes(to)? as u64;
                tensors.push((to.bits(), number, name, to.name().unwrap_or_default(), shape, bytes));
            }
            None => {
                let t = archive.tensor(name)?;
                tensors.push((t.dtype().bits(), t.entry_number(), name, t.dtype_name(), shape, t.byte_len()));
            }
        }
    }
    tensors.sort_by_key(|t| (std::cmp::Reverse(t.0), t.1));
    let metadata: Vec<_> = metadata.iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
    let header = header(&metadata, tensors.iter().map(|t| (t.2, t.3, t.4, t.5)));
    let total = tensors.iter().map(|t| t.5).sum();
    replace_file(output, overwrite, |file| {
        let mut put = |bytes: &[u8]| file.write_all(bytes).map_err(|e| Error::io("writing the output", e).with_path(output));
        put(&header)?;
        let mut done = 0;
        for (.., name, _, _, bytes) in &tensors {
            put(&model.read(name, to)?)?;
            done += bytes;
            report(done, total).check()?;
        }
        Ok(header.len() as u64 + total)
    })
}
