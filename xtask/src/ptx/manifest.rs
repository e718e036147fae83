//! `shaders-ptx/MANIFEST.toml`: what the PTX was made of, and what `ptxas` makes of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// What is written above the tables.
const HEAD: &str = "\
# Written by `cargo xtask ptx`. `cargo xtask ptx --check` fails where the PTX is older than its sources, and where a kernel needs more
# registers, spills, or instructions for 32 weights in its steady loop than stands here.

";

/// One kernel's machine code for one GPU, as `ptxas` and `nvdisasm` see it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Code {
    /// Registers of a thread.
    pub(super) registers: u32,
    /// Bytes of a thread's stack, stores and loads of spilled registers among them.
    pub(super) stack_bytes: u32,
    /// Bytes that are spilled, stores and loads together.
    pub(super) spill_bytes: u32,
    /// Bytes of shared memory of a block, those asked for at launch included.
    pub(super) shared_bytes: u32,
    /// Instructions of one turn of the steady loop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) loop_instructions: Option<u32>,
    /// Output elements that a warp makes in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) loop_weights: Option<u32>,
    /// Instructions for 32 output elements.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) per_32_weights: Option<f64>,
}

/// Machine code by GPU.
pub(super) type Codes = BTreeMap<String, Code>;

/// The file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Manifest {
    /// Digest of the sources.
    pub(super) source: String,
    /// Digest of the PTX.
    pub(super) ptx: String,
    pub(super) rustc: String,
    pub(super) llvm: String,
    /// Versions of `ptxas` and `nvdisasm`.
    pub(super) assembler: String,
    /// By kernel, then by GPU.
    pub(super) kernels: BTreeMap<String, Codes>,
}

impl Manifest {
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("{} is not what `cargo xtask ptx` writes", path.display()))
    }

    pub(super) fn text(&self) -> Result<String> {
        Ok(HEAD.to_owned() + &toml::to_string(self)?)
    }

    /// In what `now` is worse than this; a kernel or GPU that this does not know is not.
    pub(super) fn worse(&self, now: &BTreeMap<String, Codes>) -> Vec<String> {
        let mut found = Vec::new();
        for (kernel, codes) in now {
            for (arch, code) in codes {
                let Some(before) = self.kernels.get(kernel).and_then(|codes| codes.get(arch)) else { continue };
                let values = [
                    ("registers", before.registers as f64, code.registers as f64),
                    ("spilled bytes", before.spill_bytes as f64, code.spill_bytes as f64),
                    ("instructions for 32 weights", before.per_32_weights.unwrap_or(0.0), code.per_32_weights.unwrap_or(0.0)),
                ];
                for (what, before, now) in values {
                    if now > before {
                        found.push(format!("{kernel} on {arch}: {now} {what}, {before} before"));
                    }
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let code = Code {
            registers: 40,
            stack_bytes: 0,
            spill_bytes: 0,
            shared_bytes: 16416,
            loop_instructions: Some(109),
            loop_weights: Some(256),
            per_32_weights: Some(13.625),
        };
        let join = Code { loop_instructions: None, loop_weights: None, per_32_weights: None, ..code };
        let [source, ptx] = ["sha256:1", "sha256:2"].map(str::to_owned);
        let [rustc, llvm, assembler] = ["rustc 1", "22", "ptxas 13"].map(str::to_owned);
        let codes = |code| BTreeMap::from([("sm_120".to_owned(), code)]);
        let kernels = BTreeMap::from([("decode".to_owned(), codes(code)), ("join".to_owned(), codes(join))]);
        Manifest { source, ptx, rustc, llvm, assembler, kernels }
    }

    #[test]
    fn what_is_written_is_read() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        fs::write(file.path(), manifest().text().expect("a text")).expect("written");
        assert_eq!(Manifest::read(file.path()).expect("read"), manifest());
    }

    #[test]
    fn only_worse_code_is_named() {
        let before = manifest();
        let mut now = before.kernels.clone();
        assert!(before.worse(&now).is_empty());
        let code = now.get_mut("decode").and_then(|codes| codes.get_mut("sm_120")).expect("there");
        (code.registers, code.per_32_weights) = (39, Some(14.0));
        now.insert("new".to_owned(), now["join"].clone());
        assert_eq!(before.worse(&now), ["decode on sm_120: 14 instructions for 32 weights, 13.625 before"]);
    }

    #[test]
    fn registers_spills_and_loops_are_compared() {
        type Worsen = fn(&mut Code);
        let worsen: [(Worsen, &str); 3] = [
            (|c| c.registers += 1, "41 registers, 40 before"),
            (|c| c.spill_bytes += 8, "8 spilled bytes, 0 before"),
            (|c| c.per_32_weights = c.per_32_weights.map(|n| n + 0.125), "13.75 instructions for 32 weights, 13.625 before"),
        ];
        let before = manifest();
        for (change, said) in worsen {
            let mut now = before.kernels.clone();
            now.get_mut("decode").and_then(|codes| codes.get_mut("sm_120")).map(change).expect("there");
            assert_eq!(before.worse(&now), [format!("decode on sm_120: {said}")]);
        }
    }
}
