//! The library calls itself libcuda.so: once it is loaded, a program's own dlopen of the CUDA driver returns it.

fn main() {
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libcuda.so");
    println!("cargo:rerun-if-changed=build.rs");
}
