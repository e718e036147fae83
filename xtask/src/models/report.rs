//! The table at the end, and the same as JSON.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result};
use indicatif::HumanBytes;
use serde::Serialize;

use super::catalog;
use super::manifest::{FileInfo, Manifest};

/// The model directory, as printed with `--json`.
#[derive(Debug, Serialize)]
struct Report<'a> {
    directory: &'a Path,
    derivation: u32,
    complete: bool,
    files: Vec<Row<'a>>,
}

/// One file.
#[derive(Debug, Serialize)]
struct Row<'a> {
    path: &'static str,
    source: String,
    /// `None` for a file that is not there.
    #[serde(flatten)]
    info: Option<&'a FileInfo>,
    present: bool,
}

/// Whether every file is there.
pub(super) fn is_complete(manifest: &Manifest) -> bool {
    catalog::files().all(|(_, path)| manifest.files.contains_key(path))
}

/// What to print about a model directory.
pub(super) fn render(folder: &Path, manifest: &Manifest, json: bool) -> Result<String> {
    let files: Vec<_> = rows(manifest).collect();
    if !json {
        return Ok(table(&files));
    }
    let report = Report { directory: folder, derivation: manifest.derivation, complete: is_complete(manifest), files };
    let mut text = serde_json::to_string_pretty(&report).context("cannot print the files as JSON")?;
    text.push('\n');
    Ok(text)
}

/// Every file, in the catalog's order.
fn rows(manifest: &Manifest) -> impl Iterator<Item = Row<'_>> {
    catalog::files().map(|(wheel, path)| {
        let info = manifest.files.get(path);
        let source = format!("{} {}", wheel.project, wheel.version);
        Row { path, source, info, present: info.is_some() }
    })
}

/// The element types of a file, most tensors first.
fn dtypes(info: &FileInfo) -> String {
    let mut counts: Vec<_> = info.tensors.iter().collect();
    counts.sort_by_key(|&(name, count)| (std::cmp::Reverse(*count), name.as_str()));
    let parts: Vec<_> = counts.iter().map(|(name, count)| format!("{name} x {count}")).collect();
    if parts.is_empty() { "-".to_owned() } else { parts.join(", ") }
}

/// Lays the rows out in columns.
fn table(rows: &[Row<'_>]) -> String {
    let mut lines = vec![["file", "dtypes", "size"].map(str::to_owned)];
    lines.extend(rows.iter().map(|row| match row.info {
        Some(info) => [row.path.to_owned(), dtypes(info), HumanBytes(info.bytes).to_string()],
        None => [row.path.to_owned(), "missing".to_owned(), "-".to_owned()],
    }));
    let total = rows.iter().filter_map(|row| row.info).map(|info| info.bytes).sum();
    lines.push(["total".to_owned(), String::new(), HumanBytes(total).to_string()]);
    let width = |column: usize| lines.iter().map(|line| line[column].len()).max().unwrap_or(0);
    let [file, dtype, size] = [0, 1, 2].map(width);
    lines.iter().fold(String::new(), |mut text, [a, b, c]| {
        let _ = writeln!(text, "{a:file$}  {b:dtype$}  {c:>size$}");
        text
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn manifest() -> Manifest {
        let mut manifest = Manifest::empty();
        let tensors = BTreeMap::from([("BF16".to_owned(), 9), ("I64".to_owned(), 1), ("U8".to_owned(), 20)]);
        manifest.files.insert("smollm2-bf16.safetensors".to_owned(), FileInfo::new(&[0; 2048], tensors));
        manifest
    }

    #[test]
    fn the_table_has_every_file() {
        let text = render(Path::new("models"), &manifest(), false).expect("renders");
        let line = text.lines().find(|line| line.starts_with("smollm2-bf16")).expect("a line");
        assert!(line.contains("U8 x 20, BF16 x 9, I64 x 1") && line.ends_with("2.00 KiB"), "{line}");
        assert!(text.lines().any(|line| line.starts_with("smollm2.gguf") && line.contains("missing")));
        assert_eq!(text.lines().count(), catalog::files().count() + 2);
    }

    #[test]
    fn the_json_has_every_file() {
        let text = render(Path::new("models"), &manifest(), true).expect("renders");
        let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!((&value["directory"], &value["complete"]), (&"models".into(), &false.into()));
        let files = value["files"].as_array().expect("an array");
        let found = files.iter().find(|f| f["path"] == "smollm2-bf16.safetensors").expect("there");
        assert_eq!((&found["present"], &found["bytes"], &found["tensors"]["U8"]), (&true.into(), &2048.into(), &20.into()));
        let missing = files.iter().find(|f| f["path"] == "smollm2.gguf").expect("there");
        assert_eq!((&missing["present"], missing.get("bytes")), (&false.into(), None));
    }
}
