//! A module's parts after decoding: kernels and variables.

use std::collections::BTreeMap;

use crate::isa::{Access, Input, Op, Slot};
use crate::memory::{Memory, MemoryError};

/// A kernel parameter's place in the parameter block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Param {
    /// Byte offset in the block.
    pub offset: usize,
    /// Size in bytes.
    pub size: usize,
}

/// Where a variable of module scope lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Space {
    /// `.global`
    Global,
    /// `.const`
    Const,
}

/// A variable of module scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Where it lives.
    pub space: Space,
    /// Size in bytes.
    pub size: u64,
    /// Alignment in bytes, a power of two.
    pub align: u64,
    /// Initial contents, `size` bytes: zeros where the text gives none.
    pub initial: Vec<u8>,
    /// Where the contents hold the address of another variable: byte offset, the variable's name.
    pub relocations: Vec<(usize, String)>,
}

/// A module's variables in device memory.
#[derive(Debug, Clone, Default)]
pub struct LoadedGlobals {
    addresses: BTreeMap<String, u64>,
}

impl LoadedGlobals {
    /// Allocates `variables` in `memory` and writes their initial contents.
    pub fn load(variables: &[Variable], memory: &Memory) -> Result<Self, MemoryError> {
        let mut loaded = Self::default();
        for variable in variables {
            let address = match memory.alloc(variable.size) {
                Ok(address) => address,
                Err(error) => {
                    loaded.unload(memory)?;
                    return Err(error);
                }
            };
            loaded.addresses.insert(variable.name.clone(), address);
        }
        for variable in variables {
            let mut bytes = variable.initial.clone();
            for (offset, name) in &variable.relocations {
                let slot = &mut bytes[*offset..offset + 8];
                let addend = u64::from_le_bytes((&*slot).try_into().expect("8 bytes"));
                slot.copy_from_slice(&(loaded.addresses[name].wrapping_add(addend)).to_le_bytes());
            }
            memory.write(loaded.addresses[&variable.name], &bytes)?;
        }
        Ok(loaded)
    }

    /// Frees the variables.
    pub fn unload(&self, memory: &Memory) -> Result<(), MemoryError> {
        self.addresses.values().try_for_each(|&address| memory.free(address))
    }

    /// Device address of the variable of this name.
    pub fn address(&self, name: &str) -> Option<u64> {
        self.addresses.get(name).copied()
    }
}

/// A decoded kernel.
#[derive(Debug)]
pub struct Kernel {
    pub(crate) name: String,
    pub(crate) params: Vec<Param>,
    pub(crate) param_bytes: usize,
    pub(crate) static_shared: u32,
    pub(crate) max_threads: u32,
    /// The block that the kernel insists on.
    pub(crate) required_block: Option<[u32; 3]>,
    pub(crate) ops: Vec<Op>,
    pub(crate) accesses: Vec<Access>,
    /// Targets of branches by index.
    pub(crate) tables: Vec<Vec<u32>>,
    /// Slots filled before a warp starts, and with what.
    pub(crate) inputs: Vec<(Slot, Input)>,
    /// Slots that the register file has.
    pub(crate) slots: u32,
    pub(crate) predicates: u32,
    /// Bytes of local memory a thread has.
    pub(crate) local_bytes: u32,
}

impl Kernel {
    /// The `.entry`'s name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its parameters, in order.
    pub fn params(&self) -> &[Param] {
        &self.params
    }

    /// Size of the parameter block in bytes.
    pub fn param_bytes(&self) -> usize {
        self.param_bytes
    }

    /// Bytes of shared memory that the text itself declares.
    pub fn static_shared(&self) -> u32 {
        self.static_shared
    }

    /// The most threads a block may have: 1024, or what `.maxntid` or `.reqntid` says.
    pub fn max_threads(&self) -> u32 {
        self.max_threads
    }
}
