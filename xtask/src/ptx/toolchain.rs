//! Where the compiler and NVIDIA's assembler and disassembler are on this machine.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Names a compiler to use instead of looking for one.
const RUSTC_VARIABLE: &str = "WCODEC_PTX_RUSTC";

/// What to do without a compiler.
const NO_RUSTC: &str = "no compiler for nvptx64-nvidia-cuda with the sources of `core` was found. Install one of:
    Debian:  apt-get install rustc-web rust-web-src
    rustup:  rustup toolchain install nightly --component rust-src, and set WCODEC_PTX_RUSTC to its rustc
(the PTX is the same bytes only with the compiler that shaders-ptx/MANIFEST.toml names)";

/// What to do without NVIDIA's tools.
const NO_CUDA: &str =
    "ptxas and nvdisasm were not found, neither in PATH nor in CUDA_HOME nor among python3's packages. Install them with
    python3 -m pip install -r shaders-ptx/requirements.txt    (the packages nvidia-cuda-nvcc and nvidia-cuda-nvdisasm)";

/// Prints the folders in which python3 finds modules.
const PYTHON_PATH: &str = "import sys; print('\\n'.join(p for p in sys.path if p))";

/// A rustc that can compile the kernels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rustc {
    pub(super) path: PathBuf,
    /// What `rustc --version` says.
    pub(super) version: String,
    /// The version of its LLVM.
    pub(super) llvm: String,
}

/// ptxas and nvdisasm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cuda {
    pub(super) ptxas: PathBuf,
    pub(super) nvdisasm: PathBuf,
    /// Their versions.
    pub(super) version: String,
}

/// What a program writes to its standard output; an error with what it writes to the other where it fails.
pub(super) fn output(command: &mut Command) -> Result<String> {
    let out = command.output().with_context(|| format!("cannot run {}", command.get_program().display()))?;
    let (said, complained) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    ensure!(out.status.success(), "{command:?} failed:\n{said}{complained}");
    Ok(said.into_owned())
}

impl Rustc {
    /// The compiler that [`RUSTC_VARIABLE`] names, or the first fit one. Where several are, the one of `version` is preferred.
    pub(super) fn find(version: Option<&str>) -> Result<Self> {
        if let Some(path) = env::var_os(RUSTC_VARIABLE) {
            return Self::probe(Path::new(&path)).with_context(|| format!("{RUSTC_VARIABLE}: {}", path.display()));
        }
        let mut fit: Vec<_> =
            [Path::new("/usr/bin/rustc"), Path::new("rustc")].into_iter().filter_map(|path| Self::probe(path).ok()).collect();
        fit.sort_by_key(|rustc| Some(rustc.version.as_str()) != version);
        fit.into_iter().next().context(NO_RUSTC)
    }

    /// The compiler at `path`, if it is fit.
    fn probe(path: &Path) -> Result<Self> {
        let sysroot = output(Command::new(path).args(["--print", "sysroot"]))?;
        let core = Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core/src/lib.rs");
        ensure!(core.is_file(), "the sources of `core` are not at {}", core.display());
        let targets = output(Command::new(path).args(["--print", "target-list"]))?;
        ensure!(targets.lines().any(|target| target == super::build::TARGET), "it does not know {}", super::build::TARGET);
        let verbose = output(Command::new(path).arg("-vV"))?;
        let llvm = verbose.lines().find_map(|line| line.strip_prefix("LLVM version: ")).context("no LLVM version")?;
        let version = verbose.lines().next().unwrap_or_default();
        Ok(Self { path: path.to_owned(), version: version.to_owned(), llvm: llvm.to_owned() })
    }
}

impl Cuda {
    /// The tools of the first folder that has one, each: PATH's, then `CUDA_HOME`'s, then those of python3's packages.
    pub(super) fn find() -> Result<Self> {
        let folders = folders();
        let tool = |name: &str| folders.iter().map(|folder| folder.join(name)).find(|path| path.is_file()).context(NO_CUDA);
        let (ptxas, nvdisasm) = (tool("ptxas")?, tool("nvdisasm")?);
        let versions = [version(&ptxas)?, version(&nvdisasm)?];
        Ok(Self { ptxas, nvdisasm, version: format!("ptxas {}, nvdisasm {}", versions[0], versions[1]) })
    }
}

/// The version of one of NVIDIA's tools: what stands after the `V`.
fn version(tool: &Path) -> Result<String> {
    let said = output(Command::new(tool).arg("--version"))?;
    let version = said.split_once(", V").and_then(|(_, after)| after.split_whitespace().next());
    Ok(version.with_context(|| format!("{} does not say its version", tool.display()))?.to_owned())
}

/// Where NVIDIA's tools may be.
fn folders() -> Vec<PathBuf> {
    let mut folders: Vec<_> = env::var_os("PATH").iter().flat_map(env::split_paths).collect();
    folders.extend(env::var_os("CUDA_HOME").map(|home| Path::new(&home).join("bin")));
    let python = output(Command::new("python3").args(["-c", PYTHON_PATH])).unwrap_or_default();
    for packages in python.lines().map(|line| Path::new(line).join("nvidia")) {
        // cu13/bin of the releases since CUDA 13, cuda_nvcc/bin before.
        let mut found: Vec<_> =
            packages.read_dir().into_iter().flatten().flatten().map(|entry| entry.path().join("bin")).collect();
        found.sort_unstable();
        folders.extend(found.into_iter().rev());
    }
    folders
}
