//! The CUDA driver's library, or the emulator's.
//!
//! `cudarc` opens `libcuda.so` itself, once a process. The emulator's library bears that name (its SONAME), so that opening it *first* makes
//! `cudarc` find it; a process uses the one or the other, never both.
#![allow(unsafe_code)]

use crate::error::{Error, ErrorKind, Result};
use std::path::PathBuf;
use std::sync::OnceLock;

/// What the emulated device calls itself.
pub const EMULATOR_NAME: &str = "wcodec emulator";

/// The emulator's file name.
const EMULATOR_FILE: &str = if cfg!(target_os = "macos") {
    "libwcodec_emulator.dylib"
} else if cfg!(windows) {
    "wcodec_emulator.dll"
} else {
    "libwcodec_emulator.so"
};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Library {
    Driver,
    Emulator,
}

/// What this process has settled on.
static CHOSEN: OnceLock<Result<Library, String>> = OnceLock::new();

fn unavailable(why: impl Into<String>) -> Error {
    Error::new(ErrorKind::Device, why)
}

/// Whether there is a CUDA driver to open.
pub(super) fn driver_present() -> bool {
    // SAFETY: loads the driver, as opening a device does.
    matches!(CHOSEN.get(), Some(Ok(Library::Driver)))
        || CHOSEN.get().is_none() && unsafe { cudarc::driver::sys::is_culib_present() }
}

fn choose(wanted: Library, open: impl FnOnce() -> Result<(), String>) -> Result<()> {
    match CHOSEN.get_or_init(|| open().map(|()| wanted)) {
        Ok(chosen) if *chosen == wanted => Ok(()),
        Ok(Library::Emulator) => Err(unavailable("this process uses the emulator already: a GPU needs another process")),
        Ok(Library::Driver) => Err(unavailable("this process uses a CUDA driver already: the emulator needs another process")),
        Err(why) => Err(unavailable(why.clone())),
    }
}

/// Makes sure that the real driver is what is used.
pub(super) fn open_driver() -> Result<()> {
    choose(Library::Driver, || {
        // SAFETY: as above.
        match unsafe { cudarc::driver::sys::is_culib_present() } {
            true => Ok(()),
            false => Err("no CUDA driver (libcuda.so) on this machine: install NVIDIA's, or use --device cpu".into()),
        }
    })
}

/// Where the emulator's library is: `WCODEC_EMULATOR`, or beside the executable (or one folder up, for tests and examples), or where cargo leaves
/// it as a dependency.
pub fn emulator_path() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("WCODEC_EMULATOR") {
        return Some(PathBuf::from(path)).filter(|p| p.exists());
    }
    let exe = std::env::current_exe().ok()?;
    let folders = exe.ancestors().skip(1).take(2).flat_map(|folder| [folder.to_owned(), folder.join("deps")]);
    folders.map(|folder| folder.join(EMULATOR_FILE)).find(|p| p.exists())
}

/// Makes sure that the emulator is what is used.
pub(super) fn open_emulator() -> Result<()> {
    choose(Library::Emulator, || {
        let Some(path) = emulator_path() else {
            return Err(format!(
                "{EMULATOR_FILE} is not beside the executable: build the workspace, or name it in WCODEC_EMULATOR"
            ));
        };
        open_globally(&path).map_err(|e| format!("{}: {e}", path.display()))
    })
}

/// Opens a library for good, its names visible to all that are opened later.
#[cfg(unix)]
fn open_globally(path: &std::path::Path) -> Result<(), libloading::Error> {
    use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
    // SAFETY: the library's initialisers do nothing.
    let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_GLOBAL) }?;
    std::mem::forget(library);
    Ok(())
}

#[cfg(not(unix))]
fn open_globally(path: &std::path::Path) -> Result<(), libloading::Error> {
    // SAFETY: the library's initialisers do nothing.
    let library = unsafe { libloading::Library::new(path) }?;
    std::mem::forget(library);
    Ok(())
}
