//! The constants of `Distribution`, from a checkpoint: `cargo run --release -p wcodec-baseline --example fit -- FILE`.

use std::collections::BTreeMap;
use std::path::Path;
use wcodec_baseline::{Checkpoint, Distribution, Kind, fit};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("usage: fit FILE")?;
    let checkpoint = Checkpoint::open(Path::new(&path))?;
    let mut kinds: BTreeMap<Kind, Vec<Distribution>> = BTreeMap::new();
    for index in 0..checkpoint.len() {
        let tensor = checkpoint.read(index)?;
        let Some(source) = tensor.source() else { continue };
        if let Some(found) = fit(&source, &tensor)? {
            kinds.entry(source.kind).or_default().push(found);
        }
    }
    println!(
        "{:14} {:>3} {:>7} {:>9} {:>6} {:>6} {:>7} {:>6}",
        "kind", "n", "mean", "deviation", "nu", "rows", "columns", "layers"
    );
    for (kind, all) in kinds {
        // Medians: a layer or two are unlike all others.
        let median = |of: fn(&Distribution) -> f64| {
            let mut values: Vec<f64> = all.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        let logs: Vec<f64> = all.iter().map(|d| d.deviation.max(1e-12).ln()).collect();
        let mean = logs.iter().sum::<f64>() / logs.len() as f64;
        let layers = (logs.iter().map(|l| (l - mean).powi(2)).sum::<f64>() / logs.len() as f64).sqrt();
        let fields: [fn(&Distribution) -> f64; 5] = [|d| d.mean, |d| d.deviation, |d| d.nu, |d| d.rows, |d| d.columns];
        let [m, d, nu, r, c] = fields.map(median);
        println!("{:14} {:>3} {m:>7.3} {d:>9.3} {nu:>6.1} {r:>6.3} {c:>7.3} {layers:>6.3}", kind.label(), all.len());
    }
    Ok(())
}
