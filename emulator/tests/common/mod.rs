//! Small kernels on the emulator.

#![allow(dead_code, unreachable_pub)]

use wcodec_emulator::exec::{Launch, Options, Outcome, run};
use wcodec_emulator::memory::Memory;
use wcodec_emulator::ptx::{LoadedGlobals, Module};
use wcodec_emulator::sanitize::Fault;

/// What stands above every kernel.
pub const HEAD: &str = ".version 8.0\n.target sm_80\n.address_size 64\n";

/// How to look: plainly, counting, sanitizing.
pub fn every_mode() -> [Options; 3] {
    let options = |sanitize, count| Options { sanitize, count, threads: 1, instruction_limit: Some(1 << 20) };
    [options(false, false), options(false, true), options(true, false)]
}

/// Memory, and a module's kernel called `k` in it.
pub struct Machine {
    pub memory: Memory,
    pub module: Module,
    pub globals: LoadedGlobals,
}

impl Machine {
    /// Panics with the error where the text is no module.
    pub fn new(text: &str) -> Self {
        let module = Module::parse(text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        let memory = Memory::new(1 << 28);
        let globals = LoadedGlobals::load(module.globals(), &memory).unwrap();
        Self { memory, module, globals }
    }

    /// An allocation that holds `bytes`.
    pub fn put(&self, bytes: &[u8]) -> u64 {
        let address = self.memory.alloc(bytes.len().max(1) as u64).unwrap();
        self.memory.write(address, bytes).unwrap();
        address
    }

    pub fn get(&self, address: u64, len: usize) -> Vec<u8> {
        let mut out = vec![0; len];
        self.memory.read(address, &mut out).unwrap();
        out
    }

    /// Runs `k` with 64-bit parameters.
    pub fn run(&self, blocks: u32, threads: u32, shared: u32, params: &[u64], options: &Options) -> Result<Outcome, Fault> {
        let params = params.iter().flat_map(|p| p.to_le_bytes()).collect();
        let launch = Launch { grid: [blocks, 1, 1], block: [threads, 1, 1], dynamic_shared: shared, params };
        run(self.module.kernel("k").unwrap(), &self.globals, &self.memory, &launch, options)
    }
}

/// SplitMix64.
pub struct Numbers(pub u64);

impl Numbers {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}
