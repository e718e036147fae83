//! What the benchmarks share; each uses its part of it.
#![allow(dead_code)]

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Instant;

/// Why a benchmark stopped.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;
pub(crate) type Result<T> = std::result::Result<T, Failure>;

/// Command-line arguments: `--name` and `--name value`.
pub(crate) struct Args(Vec<String>);

impl Args {
    /// The arguments; `None`, and a word why, unless cargo bench runs this: `cargo test --all-targets` runs every benchmark too,
    /// and nobody wants to wait for that.
    pub(crate) fn of_cargo_bench() -> Option<Self> {
        let args = Self(std::env::args().skip(1).collect());
        if !args.has("--bench") {
            println!("not measuring: run this with `cargo bench`");
            return None;
        }
        Some(args)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|a| a == name)
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        let at = self.0.iter().position(|a| a == name)?;
        self.0.get(at + 1).map(String::as_str)
    }

    /// What is neither an option nor the value of one of those that have one.
    pub(crate) fn plain(&self, with_value: &[&str]) -> Vec<&str> {
        let is_value = |at: usize| at > 0 && with_value.contains(&self.0[at - 1].as_str());
        let plain = |&(at, word): &(usize, &String)| !word.starts_with("--") && !is_value(at);
        self.0.iter().enumerate().filter(plain).map(|(_, word)| word.as_str()).collect()
    }

    /// The value of `name`, `default` where it is not given.
    pub(crate) fn value<T: FromStr>(&self, name: &str, default: T) -> Result<T> {
        match self.text(name) {
            Some(text) => text.parse().map_err(|_| format!("{name} {text}: not a number").into()),
            None if self.has(name) => Err(format!("{name} needs a value").into()),
            None => Ok(default),
        }
    }
}

/// Where the models lie: `models/` of the repository, or what `WCODEC_MODELS` names.
pub(crate) fn models() -> PathBuf {
    match std::env::var_os("WCODEC_MODELS") {
        Some(directory) => directory.into(),
        None => PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../models")),
    }
}

pub(crate) const NO_MODEL: &str = "skipped: run `cargo xtask models`";

const PAGE: usize = 4096;

/// A buffer that begins on a page and whose every page is there, so that page faults are in nobody's time.
pub(crate) struct Pages {
    memory: Vec<u8>,
    start: usize,
    len: usize,
}

impl Pages {
    pub(crate) fn new(len: usize) -> Self {
        // Ones, not zeros: those would be mapped only when they are first written.
        let memory = vec![1; len + PAGE];
        let start = memory.as_ptr().align_offset(PAGE);
        Self { memory, start, len }
    }

    pub(crate) fn copy_of(bytes: &[u8]) -> Self {
        let mut pages = Self::new(bytes.len());
        pages.copy_from_slice(bytes);
        pages
    }
}

impl std::ops::Deref for Pages {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.len]
    }
}

impl std::ops::DerefMut for Pages {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.len]
    }
}

/// An empty vector whose capacity is memory that is there already.
pub(crate) fn touched(capacity: usize) -> Vec<u8> {
    let mut memory = vec![1; capacity];
    memory.clear();
    memory
}

/// The middle one, or the mean of the two in the middle; NaN of none.
pub(crate) fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    match (sorted.len() / 2, sorted.len() % 2) {
        (0, 0) => f64::NAN,
        (half, 0) => (sorted[half - 1] + sorted[half]) / 2.0,
        (half, _) => sorted[half],
    }
}

/// What `f` gives, and the seconds that it took.
pub(crate) fn timed<T>(f: impl FnOnce() -> T) -> (T, f64) {
    let start = Instant::now();
    let result = f();
    (result, start.elapsed().as_secs_f64())
}

/// xoshiro256++: seeded, so that every run measures the same data.
pub(crate) struct Random([u64; 4]);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        // The state is filled by SplitMix64, as the generator's authors advise.
        let mut x = seed;
        Self(std::array::from_fn(|_| {
            x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        }))
    }

    pub(crate) fn next(&mut self) -> u64 {
        let s = &mut self.0;
        let result = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// Uniform in (0, 1].
    pub(crate) fn unit(&mut self) -> f64 {
        ((self.next() >> 11) + 1) as f64 / (1u64 << 53) as f64
    }

    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
    }
}

/// Gaussian BF16 values: drawn from 65536 that Box and Muller's method gave, because a draw is then a table look-up and gigabytes
/// take seconds.
pub(crate) struct Gaussian {
    random: Random,
    table: Vec<f32>,
}

impl Gaussian {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let table = (0..1 << 16)
            .map(|_| {
                let radius = (-2.0 * random.unit().ln()).sqrt();
                (radius * (std::f64::consts::TAU * random.unit()).cos()) as f32
            })
            .collect();
        Self { random, table }
    }

    /// Fills `bytes` with BF16 values of standard deviation `sigma`, little-endian.
    pub(crate) fn fill(&mut self, sigma: f32, bytes: &mut [u8]) {
        let scaled: Vec<[u8; 2]> = self.table.iter().map(|x| half::bf16::from_f32(x * sigma).to_le_bytes()).collect();
        for four in bytes.chunks_mut(8) {
            let draw = self.random.next();
            for (i, value) in four.chunks_exact_mut(2).enumerate() {
                value.copy_from_slice(&scaled[(draw >> (16 * i)) as u16 as usize]);
            }
        }
    }
}
