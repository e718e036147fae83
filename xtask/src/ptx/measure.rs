//! What `ptxas` makes of the PTX for each GPU.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::kernels::{ARCHES, KERNELS, Kernel, MAX_SHARED_BYTES};
use super::manifest::{Code, Codes};
use super::sass::steady_loops;
use super::toolchain::{Cuda, output};

/// What `ptxas -v` says of a kernel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Resources {
    registers: u32,
    stack: u32,
    spills: u32,
    shared: u32,
}

/// Assembles the PTX for every GPU and measures each kernel.
pub(super) fn measure(ptx: &str, cuda: &Cuda) -> Result<BTreeMap<String, Codes>> {
    let folder = tempfile::tempdir()?;
    let source = folder.path().join("wcodec.ptx");
    std::fs::write(&source, ptx)?;
    let mut kernels: BTreeMap<String, Codes> = BTreeMap::new();
    for arch in ARCHES {
        let cubin = folder.path().join(arch);
        let mut ptxas = Command::new(&cuda.ptxas);
        ptxas.arg(format!("-arch={arch}")).arg("-v").arg(&source).arg("-o").arg(&cubin);
        let done = ptxas.output().with_context(|| format!("cannot run {}", cuda.ptxas.display()))?;
        // It reports on its standard error.
        let said = String::from_utf8_lossy(&done.stderr);
        ensure!(done.status.success(), "ptxas refuses the PTX for {arch}:\n{said}{}", String::from_utf8_lossy(&done.stdout));
        let resources = resources(&said);
        let loops = steady_loops(&output(Command::new(&cuda.nvdisasm).arg("-c").arg(&cubin))?);
        for kernel in &KERNELS {
            let r = resources.get(kernel.name).with_context(|| format!("ptxas says nothing of {} for {arch}", kernel.name))?;
            let steady = kernel.elements.map(|elements| {
                let steady = loops.get(kernel.name).with_context(|| format!("{} has no steady loop for {arch}", kernel.name))?;
                anyhow::Ok((steady.instructions, steady.steps * 32 * elements))
            });
            let steady = steady.transpose()?;
            let code = Code {
                registers: r.registers,
                stack_bytes: r.stack,
                spill_bytes: r.spills,
                shared_bytes: r.shared + kernel.dynamic_shared_bytes,
                loop_instructions: steady.map(|(instructions, _)| instructions),
                loop_weights: steady.map(|(_, weights)| weights),
                per_32_weights: steady.map(|(instructions, weights)| instructions as f64 * 32.0 / weights as f64),
            };
            kernels.entry(kernel.name.to_owned()).or_default().insert(arch.to_owned(), code);
        }
    }
    Ok(kernels)
}

/// Reads what `ptxas -v` reports.
fn resources(report: &str) -> BTreeMap<String, Resources> {
    let mut found: BTreeMap<String, Resources> = BTreeMap::new();
    let mut current = None;
    let number =
        |line: &str, unit: &str| -> Option<u32> { line.split_once(unit)?.0.split_whitespace().next_back()?.parse().ok() };
    for line in report.lines() {
        if let Some((_, after)) = line.split_once("Compiling entry function '") {
            current = after.split('\'').next().map(str::to_owned);
        }
        let Some(r) = current.as_ref().map(|name| found.entry(name.clone()).or_default()) else { continue };
        if let Some(stack) = number(line, " bytes stack frame") {
            r.stack = stack;
            r.spills = number(line, " bytes spill stores").unwrap_or(0) + number(line, " bytes spill loads").unwrap_or(0);
        }
        if let Some((_, after)) = line.split_once("Used ") {
            r.registers = number(after, " registers").unwrap_or(0);
            r.shared = number(after, " bytes smem").unwrap_or(0);
        }
    }
    found
}

/// In what a kernel breaks its limits.
pub(super) fn broken_limits(kernels: &BTreeMap<String, Codes>) -> Vec<String> {
    let mut found = Vec::new();
    for Kernel { name, max_registers, max_per_32, .. } in &KERNELS {
        for (arch, code) in kernels.get(*name).into_iter().flatten() {
            if code.spill_bytes > 0 {
                found.push(format!("{name} on {arch} spills {} bytes", code.spill_bytes));
            }
            if code.registers > *max_registers {
                found.push(format!("{name} on {arch} has {} registers, {max_registers} at most", code.registers));
            }
            if code.shared_bytes > MAX_SHARED_BYTES {
                found.push(format!(
                    "{name} on {arch} has {} bytes of shared memory, {MAX_SHARED_BYTES} at most",
                    code.shared_bytes
                ));
            }
            let limit = max_per_32.iter().find(|(a, _)| a == arch);
            if let (Some((_, most)), Some(per_32)) = (limit, code.per_32_weights)
                && per_32 > *most
            {
                found.push(format!("{name} on {arch} has {per_32} instructions for 32 weights, {most} at most"));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read() {
        let report = "\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'a' for 'sm_120'
ptxas info    : Function properties for a
    32 bytes stack frame, 8 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 40 registers, used 1 barriers, 32 bytes cumulative stack size
ptxas info    : Compiling entry function 'b' for 'sm_120'
ptxas info    : Function properties for b
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 28 registers, used 0 barriers, 64 bytes smem, 364 bytes cmem[0]
";
        let a = Resources { registers: 40, stack: 32, spills: 20, shared: 0 };
        let b = Resources { registers: 28, stack: 0, spills: 0, shared: 64 };
        assert_eq!(resources(report), BTreeMap::from([("a".to_owned(), a), ("b".to_owned(), b)]));
    }

    #[test]
    fn limits_are_kept() {
        let code = |registers, per_32: f64| Code {
            registers,
            stack_bytes: 0,
            spill_bytes: 0,
            shared_bytes: 0,
            loop_instructions: None,
            loop_weights: None,
            per_32_weights: Some(per_32),
        };
        let kernels = |code| BTreeMap::from([("decode_bf16_pairs".to_owned(), BTreeMap::from([("sm_120".to_owned(), code)]))]);
        assert!(broken_limits(&kernels(code(40, 16.0))).is_empty());
        assert_eq!(broken_limits(&kernels(code(41, 16.5))).len(), 2);
        assert_eq!(broken_limits(&kernels(Code { spill_bytes: 4, ..code(40, 1.0) })).len(), 1);
        assert!(broken_limits(&kernels(Code { shared_bytes: 16896, ..code(40, 1.0) })).is_empty());
        assert_eq!(broken_limits(&kernels(Code { shared_bytes: 16897, ..code(40, 1.0) })).len(), 1);
    }
    #[test]
    fn every_kernel_has_a_bound_of_registers() {
        let code = |registers| Code {
            registers,
            stack_bytes: 0,
            spill_bytes: 0,
            shared_bytes: 0,
            loop_instructions: None,
            loop_weights: None,
            per_32_weights: None,
        };
        for kernel in &KERNELS {
            let codes =
                |registers| BTreeMap::from([(kernel.name.to_owned(), Codes::from([("sm_120".to_owned(), code(registers))]))]);
            assert!(broken_limits(&codes(kernel.max_registers)).is_empty(), "{}", kernel.name);
            assert_eq!(broken_limits(&codes(kernel.max_registers + 1)).len(), 1, "{}", kernel.name);
        }
    }
}
