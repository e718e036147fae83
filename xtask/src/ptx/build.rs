//! The device crate compiled to PTX.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use super::kernels::KERNELS;
use super::text;
use super::toolchain::{Rustc, output};

/// rustc's name of what it compiles the kernels for.
pub(super) const TARGET: &str = "nvptx64-nvidia-cuda";

/// The oldest GPU that the PTX runs on; newer ones get their code from the same PTX.
const TARGET_CPU: &str = "sm_80";

/// Settings of the caller's that would change what the compiler makes.
const FOREIGN: [&str; 6] = ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTC_", "CARGO_BUILD_", "CARGO_PROFILE_", "CARGO_TARGET_"];

/// `sha256:` and the digest in hexadecimal digits.
pub(super) fn digest(bytes: impl AsRef<[u8]>) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// The digest of what the kernels are compiled from: `device/Cargo.toml` and the files of `device/src`, each with its path and length,
/// sorted by path.
pub(super) fn source_digest(root: &Path) -> Result<String> {
    let device = root.join("device");
    let mut files = vec![device.join("Cargo.toml")];
    let mut folders = vec![device.join("src")];
    while let Some(folder) = folders.pop() {
        for entry in folder.read_dir().with_context(|| format!("cannot list {}", folder.display()))? {
            let path = entry?.path();
            if path.is_dir() { &mut folders } else { &mut files }.push(path);
        }
    }
    let mut named = Vec::new();
    for file in files {
        let name =
            file.strip_prefix(&device)?.components().map(|part| part.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/");
        named.push((name, fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?));
    }
    named.sort();
    let mut hashed = Vec::new();
    for (name, contents) in named {
        hashed.extend_from_slice(format!("{name}\0{}\0", contents.len()).as_bytes());
        hashed.extend_from_slice(&contents);
    }
    Ok(digest(hashed))
}

/// Where the compiler puts what it makes: apart for each compiler, so that one does not take the other's file for its own.
fn target_folder(root: &Path, rustc: &Rustc) -> PathBuf {
    let base = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |folder| root.join(folder));
    base.join("ptx").join(&digest(&rustc.version)["sha256:".len()..][..16])
}

/// Compiles the kernels; the same PTX wherever the sources and the compiler lie.
pub(super) fn build(root: &Path, rustc: &Rustc) -> Result<String> {
    let folder = target_folder(root, rustc);
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let assembly = folder.join("wcodec.s");
    let flags = [
        format!("-Ctarget-cpu={TARGET_CPU}"),
        "-Ccodegen-units=1".to_owned(),
        "-Cdebuginfo=0".to_owned(),
        "-Zlocation-detail=none".to_owned(),
        // Duplicates the code after a branch into its arms, and with it what all lanes must do together.
        "-Zmir-enable-passes=-JumpThreading".to_owned(),
        format!("--remap-path-prefix={}=wcodec", root.display()),
    ];
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in env::vars_os() {
        if FOREIGN.iter().any(|foreign| name.to_string_lossy().starts_with(foreign)) {
            cargo.env_remove(name);
        }
    }
    cargo
        .current_dir(root)
        .env("RUSTC", &rustc.path)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    cargo.args(["rustc", "--release", "--quiet", "--package", "wcodec-device", "--lib", "-Zbuild-std=core", "--target", TARGET]);
    cargo.arg("--target-dir").arg(&folder).arg("--").arg(format!("--emit=asm={}", assembly.display()));
    output(&mut cargo).context("the kernels do not compile")?;

    let assembly = fs::read_to_string(&assembly).with_context(|| format!("cannot read {}", assembly.display()))?;
    let ptx = text::finish(&assembly, &KERNELS)?;
    for path in [root, &folder] {
        ensure!(!ptx.contains(&*path.to_string_lossy()), "the PTX names a folder of this machine, {}", path.display());
    }
    Ok(ptx)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_source_digest_sees_contents_names_and_nothing_else() {
        let make = |files: &[(&str, &str)]| {
            let root = tempfile::tempdir().expect("a folder");
            for (name, contents) in files {
                let path = root.path().join("device").join(name);
                fs::create_dir_all(path.parent().expect("a parent")).expect("made");
                fs::write(path, contents).expect("written");
            }
            source_digest(root.path()).expect("digested")
        };
        let all = [("Cargo.toml", "a"), ("src/lib.rs", "b"), ("src/k/mod.rs", "c")];
        let digest = make(&all);
        let backwards: Vec<_> = all.iter().rev().copied().collect();
        assert_eq!(make(&backwards), digest);
        assert_eq!(make(&[all[0], all[1], all[2], ("tests/t.rs", "d")]), digest);
        for (i, changed) in [("Cargo.toml", "x"), ("src/lib.rs", "x"), ("src/k/m.rs", "c")].into_iter().enumerate() {
            let mut other = all;
            other[i] = changed;
            assert_ne!(make(&other), digest, "{changed:?}");
        }
    }
}
