//! What all blocks of a launch share: checked sizes, memory, parameters, and a register file filled with what stays the same.

use std::sync::RwLockReadGuard;

use super::{Launch, Options};
use crate::isa::{Input, Registers, Slot, Special};
use crate::memory::{Buffer, Memory, View};
use crate::ptx::{Kernel, LoadedGlobals};
use crate::sanitize::{Fault, FaultKind, GlobalRaces};

/// Shared memory that a block of the newest hardware can have.
const MAX_SHARED: u32 = 227 << 10;

/// A launch that can run.
pub(super) struct Plan<'a> {
    pub(super) kernel: &'a Kernel,
    pub(super) memory: &'a Memory,
    pub(super) view: View,
    pub(super) grid: [u32; 3],
    pub(super) block: [u32; 3],
    pub(super) threads: u32,
    pub(super) warps: u32,
    pub(super) shared_bytes: u32,
    pub(super) params: Buffer,
    /// A warp's registers before what is its own is filled in.
    pub(super) registers: Registers,
    /// Slots that differ by warp or by block.
    pub(super) specials: Vec<(Slot, Special)>,
    pub(super) races: Option<GlobalRaces>,
    pub(super) limit: u64,
    _running: RwLockReadGuard<'a, ()>,
}

impl<'a> Plan<'a> {
    pub(super) fn new(
        kernel: &'a Kernel,
        globals: &LoadedGlobals,
        memory: &'a Memory,
        launch: &Launch,
        options: &Options,
    ) -> Result<Self, Fault> {
        let threads = launch.block.iter().try_fold(1u32, |all, &axis| all.checked_mul(axis)).unwrap_or(u32::MAX);
        let shared_bytes = dynamic_base(kernel).saturating_add(launch.dynamic_shared);
        check(kernel, launch, threads, shared_bytes).map_err(|detail| bad_launch(kernel, detail))?;
        let params = Buffer::zeroed(launch.params.len() as u64).expect("parameters are small");
        params.bytes().write(0, &launch.params);
        let (view, running) = memory.view();
        let races = options.sanitize.then(|| GlobalRaces::new(&view));
        let mut plan = Self {
            kernel,
            memory,
            view,
            grid: launch.grid,
            block: launch.block,
            threads,
            warps: threads.div_ceil(32),
            shared_bytes,
            params,
            registers: Registers::new(kernel.slots, kernel.predicates),
            specials: Vec::new(),
            races,
            limit: options.instruction_limit.unwrap_or(u64::MAX),
            _running: running,
        };
        for (slot, input) in &kernel.inputs {
            plan.fill(*slot, input, globals, launch)?;
        }
        Ok(plan)
    }

    fn fill(&mut self, slot: Slot, input: &Input, globals: &LoadedGlobals, launch: &Launch) -> Result<(), Fault> {
        let (value, wide) = match input {
            Input::Bits32(bits) => (u64::from(*bits), false),
            Input::Bits64(bits) => (*bits, true),
            Input::Param { offset, bytes, signed, wide } => (param(&launch.params, *offset, *bytes, *signed), *wide),
            Input::Variable { name, offset, wide } => {
                let address = globals.address(name);
                let detail = || bad_launch(self.kernel, format!("variable {name} is not loaded"));
                (address.ok_or_else(detail)?.wrapping_add_signed(*offset), *wide)
            }
            Input::DynamicShared { offset, wide } => (u64::from(dynamic_base(self.kernel)).wrapping_add_signed(*offset), *wide),
            Input::Special(special) => {
                self.specials.push((slot, *special));
                return Ok(());
            }
        };
        match wide {
            true => self.registers.set(slot, u32::MAX, &[value; 32]),
            false => self.registers.set(slot, u32::MAX, &[value as u32; 32]),
        }
        Ok(())
    }

    /// Index of a block by its number, x fastest.
    pub(super) fn block_index(&self, number: u64) -> [u32; 3] {
        let [x, y, _] = self.grid.map(u64::from);
        [(number % x) as u32, (number / x % y) as u32, (number / x / y) as u32]
    }

    /// Fills in what is a block's, and a warp's, own.
    pub(super) fn specialise(&self, registers: &mut Registers, warp: u32, block: [u32; 3]) {
        let [width, height, _] = self.block;
        for &(slot, special) in &self.specials {
            let values: [u32; 32] = std::array::from_fn(|lane| {
                let (thread, bit) = (warp * 32 + lane as u32, 1u32 << lane);
                match special {
                    Special::Thread(axis) => [thread % width, thread / width % height, thread / width / height][axis],
                    Special::Threads(axis) => self.block[axis],
                    Special::Block(axis) => block[axis],
                    Special::Blocks(axis) => self.grid[axis],
                    Special::Lane => lane as u32,
                    Special::Warp => warp,
                    Special::Warps => self.warps,
                    Special::MaskEq => bit,
                    Special::MaskLe => bit | (bit - 1),
                    Special::MaskLt => bit - 1,
                    Special::MaskGe => !(bit - 1),
                    Special::MaskGt => !(bit | (bit - 1)),
                    Special::DynamicShared => self.shared_bytes - dynamic_base(self.kernel),
                    Special::TotalShared => self.shared_bytes,
                    Special::Processors => 1,
                    Special::Processor | Special::Zero64 => 0,
                }
            });
            match special.is_wide() {
                true => registers.set(slot, u32::MAX, &values.map(u64::from)),
                false => registers.set(slot, u32::MAX, &values),
            }
        }
    }
}

/// Where shared memory that the launch adds begins.
fn dynamic_base(kernel: &Kernel) -> u32 {
    kernel.static_shared.next_multiple_of(16)
}

fn param(params: &[u8], offset: u32, bytes: u32, signed: bool) -> u64 {
    let mut value = [0; 8];
    let source = &params[offset as usize..(offset + bytes) as usize];
    value[..source.len()].copy_from_slice(source);
    let above = 64 - 8 * bytes;
    match signed {
        true => (i64::from_le_bytes(value) << above >> above) as u64,
        false => u64::from_le_bytes(value),
    }
}

fn check(kernel: &Kernel, launch: &Launch, threads: u32, shared: u32) -> Result<(), String> {
    let Launch { grid, block, params, .. } = launch;
    if grid.contains(&0) || block.contains(&0) {
        return Err(format!("an empty grid or block: {grid:?} of {block:?}"));
    }
    if grid[0] > i32::MAX as u32 || grid[1] > 65535 || grid[2] > 65535 || block[2] > 64 {
        return Err(format!("a grid or block of too many along one axis: {grid:?} of {block:?}"));
    }
    if threads > kernel.max_threads {
        return Err(format!("{threads} threads a block, where the kernel allows {}", kernel.max_threads));
    }
    if kernel.required_block.is_some_and(|required| required != *block) {
        return Err(format!("blocks of {block:?}, where the kernel requires {:?}", kernel.required_block.expect("checked")));
    }
    if shared > MAX_SHARED {
        return Err(format!("{shared} bytes of shared memory a block, of {MAX_SHARED}"));
    }
    if params.len() < kernel.param_bytes {
        return Err(format!("{} bytes of parameters, where the kernel has {}", params.len(), kernel.param_bytes));
    }
    Ok(())
}

fn bad_launch(kernel: &Kernel, detail: String) -> Fault {
    Fault {
        kind: FaultKind::BadLaunch,
        kernel: kernel.name.clone(),
        line: 0,
        block: [0; 3],
        warp: 0,
        lane: None,
        address: None,
        detail,
    }
}
