//! `cargo xtask ptx`: the kernels from Rust to PTX, measured, and checked against what is committed.

mod build;
mod kernels;
mod manifest;
mod measure;
mod sass;
mod text;
mod toolchain;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use manifest::{Codes, Manifest};
use toolchain::{Cuda, Rustc};

/// What to do.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Write nothing: fail if the committed PTX is older than its sources, or its code worse than the manifest says
    #[arg(long)]
    check: bool,
    /// Print the measurements as JSON instead of a table
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask has no folder above it")?;
    let folder = root.join("shaders-ptx");
    let (ptx, manifest) = (folder.join("wcodec.ptx"), folder.join("MANIFEST.toml"));
    let kernels = if options.check { check(root, &ptx, &manifest)? } else { Some(make(root, &ptx, &manifest)?) };
    if let Some(kernels) = kernels {
        if options.json {
            println!("{}", serde_json::to_string_pretty(&kernels)?);
        } else {
            print(&kernels);
        }
    }
    Ok(())
}

/// Builds, measures and writes.
fn make(root: &Path, path: &Path, manifest: &Path) -> Result<BTreeMap<String, Codes>> {
    let (rustc, cuda) = (Rustc::find(None)?, Cuda::find()?);
    let ptx = build::build(root, &rustc)?;
    let kernels = measure::measure(&ptx, &cuda)?;
    let broken = measure::broken_limits(&kernels);
    fs::create_dir_all(path.parent().context("no folder")?)?;
    fs::write(path, &ptx).with_context(|| format!("cannot write {}", path.display()))?;
    let written = Manifest {
        source: build::source_digest(root)?,
        ptx: build::digest(&ptx),
        rustc: rustc.version,
        llvm: rustc.llvm,
        assembler: cuda.version,
        kernels: kernels.clone(),
    };
    fs::write(manifest, written.text()?).with_context(|| format!("cannot write {}", manifest.display()))?;
    print_broken(&broken)?;
    Ok(kernels)
}

/// Compares with what is committed; the measurements, where there is `ptxas` to measure with.
fn check(root: &Path, path: &Path, manifest: &Path) -> Result<Option<BTreeMap<String, Codes>>> {
    let committed = Manifest::read(manifest)?;
    let ptx = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    ensure!(build::digest(&ptx) == committed.ptx, "{} is not what the manifest says: run `cargo xtask ptx`", path.display());
    ensure!(build::source_digest(root)? == committed.source, "the PTX is older than device/: run `cargo xtask ptx`");
    match Rustc::find(Some(&committed.rustc)) {
        Ok(rustc) if rustc.version == committed.rustc => {
            ensure!(
                build::build(root, &rustc)? == ptx,
                "the sources give other PTX than what is committed: run `cargo xtask ptx`"
            );
            eprintln!("the PTX is what {} makes of the sources", rustc.version);
        }
        Ok(rustc) => eprintln!("not rebuilt: this is {}, the PTX was made by {}", rustc.version, committed.rustc),
        Err(why) => eprintln!("not rebuilt: {why:#}"),
    }
    let cuda = match Cuda::find() {
        Ok(cuda) => cuda,
        Err(why) => {
            eprintln!("not measured: {why:#}");
            return Ok(None);
        }
    };
    let kernels = measure::measure(&ptx, &cuda)?;
    print_broken(&measure::broken_limits(&kernels))?;
    if cuda.version == committed.assembler {
        print_broken(&committed.worse(&kernels))?;
    } else {
        eprintln!("not compared: {} measured, {} wrote the manifest", cuda.version, committed.assembler);
    }
    Ok(Some(kernels))
}

/// An error where there is anything to say.
fn print_broken(broken: &[String]) -> Result<()> {
    if broken.is_empty() {
        return Ok(());
    }
    bail!("the kernels' machine code is not what it must be:\n  {}", broken.join("\n  "))
}

fn print(kernels: &BTreeMap<String, Codes>) {
    println!(
        "{:20}{:>8}{:>11}{:>9}{:>9}{:>8}{:>9}{:>8}",
        "kernel", "GPU", "registers", "spilled", "shared", "loop", "weights", "per 32"
    );
    for (name, codes) in kernels {
        for (arch, c) in codes {
            let or_dash = |v: Option<String>| v.unwrap_or_else(|| "–".to_owned());
            println!(
                "{name:20}{arch:>8}{:>11}{:>9}{:>9}{:>8}{:>9}{:>8}",
                c.registers,
                c.spill_bytes,
                c.shared_bytes,
                or_dash(c.loop_instructions.map(|n| n.to_string())),
                or_dash(c.loop_weights.map(|n| n.to_string())),
                or_dash(c.per_32_weights.map(|n| format!("{n:.2}"))),
            );
        }
    }
}
