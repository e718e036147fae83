//! Peers that are Python packages: a process of their own, which measures itself.

use super::{Coder, Outcome, Piece};
use crate::error::{Error, ErrorKind, Result};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// Packages that `peer.py` can call.
pub(super) const PACKAGES: [&str; 2] = ["zipnn", "blosc2"];

const SCRIPT: &str = include_str!("peer.py");

pub(super) struct Python {
    label: String,
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Python {
    /// Starts `python3` (or `WCODEC_PYTHON`); why it cannot be used.
    pub(super) fn start(package: &str) -> Result<Self, String> {
        let python = std::env::var_os("WCODEC_PYTHON").unwrap_or_else(|| "python3".into());
        let mut command = Command::new(&python);
        command.args(["-c", SCRIPT, package]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        // malloc keeps what it has: page faults are nobody's speed (see benches/peers).
        command.env("MALLOC_MMAP_THRESHOLD_", "4000000000").env("MALLOC_TRIM_THRESHOLD_", "16000000000");
        let mut child = command.spawn().map_err(|e| format!("no python3: {e}"))?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("no pipe".into());
        };
        let mut python = Self { label: package.to_owned(), child, input: Some(input), output: BufReader::new(output) };
        let hello = python.reply()?;
        match (&hello["label"], &hello["error"]) {
            (Value::String(label), _) => python.label.clone_from(label),
            (_, Value::String(why)) => return Err(why.clone()),
            _ => return Err("it does not answer".into()),
        }
        Ok(python)
    }

    fn reply(&mut self) -> Result<Value, String> {
        let mut line = String::new();
        self.output.read_line(&mut line).map_err(|e| e.to_string())?;
        serde_json::from_str(&line).map_err(|_| "the process ended".into())
    }

    fn ask(&mut self, piece: &Piece<'_>, runs: u32) -> Result<Outcome, String> {
        let question = json!({"dtype": piece.dtype.name(), "len": piece.data.len(), "runs": runs});
        let input = self.input.as_mut().ok_or("no pipe")?;
        writeln!(input, "{question}").map_err(|e| e.to_string())?;
        input.write_all(piece.data).and_then(|()| input.flush()).map_err(|e| e.to_string())?;
        let reply = self.reply()?;
        if let Value::String(why) = &reply["error"] {
            return Err(why.clone());
        }
        let number = |key: &str| reply[key].as_f64().ok_or_else(|| format!("no {key}"));
        Ok(Outcome {
            bytes: piece.data.len() as u64,
            coded: number("coded")? as u64,
            encode_s: number("encode_s")?,
            decode_s: number("decode_s")?,
        })
    }
}

impl Coder for Python {
    fn label(&self) -> &str {
        &self.label
    }

    fn limit(&self) -> usize {
        16 << 20
    }

    fn measure(&mut self, piece: &Piece<'_>, runs: u32) -> Result<Outcome> {
        if piece.data.is_empty() {
            return Ok(Outcome { bytes: 0, coded: 0, encode_s: 0.0, decode_s: 0.0 });
        }
        self.ask(piece, runs).map_err(|why| Error::new(ErrorKind::Mismatch, format!("{}: {}: {why}", self.label, piece.name)))
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        // The end of its input ends the process.
        self.input = None;
        let _ = self.child.wait();
    }
}
