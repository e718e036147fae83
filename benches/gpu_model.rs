//! What the kernels would ask of a GPU, counted by the emulator on real tiles, and the throughput that a model makes of it.
//!
//! `cargo bench --bench gpu_model [-- --json] [--mib 4]`
//!
//! Everything printed is *modelled*: the time is the longest of issue, integer lanes, popc, shared memory and DRAM, each busy all the
//! time, latencies hidden. Machine instructions are those of the steady loop (`shaders-ptx/MANIFEST.toml`, by ptxas) times what the emulator
//! executed in all over what it executed in that loop.

mod common;
#[path = "gpu/model.rs"]
mod model;
#[path = "gpu/tools.rs"]
mod tools;

use common::{Args, NO_MODEL, Result, models};
use model::{CASES, Model};

fn main() -> Result<()> {
    let Some(args) = Args::of_cargo_bench() else { return Ok(()) };
    let most = args.value("--mib", 4u64)? << 20;
    let model = Model::new()?;
    let mut rows = Vec::new();
    for case in &CASES {
        match model.measure(case, &models(), most)? {
            Some(row) => rows.push(row),
            None => eprintln!("{}: {NO_MODEL}", case.0),
        }
    }
    if args.has("--json") {
        println!("{}", serde_json::to_string_pretty(&rows)?);
    } else {
        rows.iter().flat_map(|r| r.lines()).for_each(|line| println!("{line}"));
        tools::report(&model)?;
    }
    Ok(())
}
