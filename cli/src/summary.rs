//! What a command says when it is done: a line, or JSON.

use crate::failure::Result;
use crate::output;
use serde::Serialize;
use std::path::Path;
use std::time::Duration;
use wcodec::DirectoryReport;

/// Bytes before and after, and how long it took.
#[derive(Serialize)]
pub(crate) struct Summary {
    pub(crate) source_bytes: u64,
    pub(crate) archive_bytes: u64,
    /// Archive bytes per source byte.
    ratio: f64,
    seconds: f64,
    /// Of a coarse file: the planes of refinement that it was decoded with. No SHA-256 could be checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) coarse_planes: Option<usize>,
    /// Whether integers became floats. No SHA-256 could be checked.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) dequantized: bool,
    /// Of a directory.
    #[serde(flatten)]
    directory: Option<Parts>,
}

#[derive(Serialize)]
struct Parts {
    shards: usize,
    /// Those that an earlier run had finished.
    resumed: usize,
    /// Files carried along.
    files: usize,
}

#[derive(Serialize)]
struct Report<'a> {
    input: String,
    output: String,
    #[serde(flatten)]
    summary: &'a Summary,
}

impl Summary {
    /// Of a file.
    pub(crate) fn bytes(source_bytes: u64, archive_bytes: u64) -> Self {
        let ratio = archive_bytes as f64 / source_bytes.max(1) as f64;
        Self { source_bytes, archive_bytes, ratio, seconds: 0.0, coarse_planes: None, dequantized: false, directory: None }
    }

    /// Of a directory.
    pub(crate) fn of(report: DirectoryReport) -> Self {
        let DirectoryReport { shards, resumed, files, .. } = report;
        Self { directory: Some(Parts { shards, resumed, files }), ..Self::bytes(report.source_bytes, report.archive_bytes) }
    }

    pub(crate) fn took(&mut self, time: Duration) {
        self.seconds = time.as_secs_f64();
    }

    /// `2 shards, 1 of them already there, and 5 other files, `; nothing of a file.
    pub(crate) fn parts(&self) -> String {
        let Some(Parts { shards, resumed, files }) = self.directory else { return String::new() };
        let there = if resumed > 0 { format!(" ({resumed} already there)") } else { String::new() };
        format!("{}{there}, {}, ", output::count(shards, "shard"), output::count(files, "other file"))
    }

    /// Prints it, unless `quiet`: `from` and `to` as paths, and as bytes.
    pub(crate) fn print(&self, (input, output): (&Path, &Path), (from, to): (u64, u64), json: bool, quiet: bool) -> Result<()> {
        if json {
            let path = |p: &Path| p.display().to_string();
            return output::print_json(&Report { input: path(input), output: path(output), summary: self });
        }
        if quiet {
            return Ok(());
        }
        let ratio = if from == self.source_bytes { format!(" ({})", output::percent(self.ratio)) } else { String::new() };
        let coarse = self.coarse_planes.map(|k| format!(" (coarse: {k} planes; no SHA-256 to check)")).unwrap_or_default();
        let dequantized = if self.dequantized { " (dequantized; no SHA-256 to check)" } else { "" };
        output::print(format!(
            "{} → {}: {}{} → {}{ratio}{coarse}{dequantized}, {}\n",
            input.display(),
            output.display(),
            self.parts(),
            output::bytes(from),
            output::bytes(to),
            output::time(Duration::from_secs_f64(self.seconds)),
        ))
    }
}
