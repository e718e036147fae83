//! Counted events of every kernel launched by this process, and their JSON.
//!
//! ```json
//! {"kernels": {"NAME": {"launches": 1, "thread_instructions": 9, "read_sectors": 3, "total": EVENTS, "lines": {"12": EVENTS}}}}
//! ```
//! `EVENTS` has `warp_instructions` (by pipe), `lane_instructions`, `global_loads` and `global_stores` (`requests`, `sectors`,
//! `full_sectors`, `bytes`), `shared_requests`, `shared_wavefronts` and `shared_ideal_wavefronts`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Mutex;

use super::fault;
use super::settings::settings;
use super::sync::lock;
use crate::count::{Counters, Events, Pipe, Traffic};
use crate::exec::Outcome;

/// Sums over the launches of one kernel.
#[derive(Default)]
struct Sums {
    launches: u64,
    thread_instructions: u64,
    events: Counters,
}

#[derive(Default)]
struct Table {
    kernels: BTreeMap<String, Sums>,
    /// Changed since last written to a file.
    changed: bool,
}

static TABLE: Mutex<Table> = Mutex::new(Table { kernels: BTreeMap::new(), changed: false });

/// Adds one launch of `kernel`, if it was counted.
pub(crate) fn add(kernel: &str, outcome: Outcome) {
    let Some(events) = outcome.counters else { return };
    let mut table = lock(&TABLE);
    let sums = table.kernels.entry(kernel.to_owned()).or_default();
    sums.launches += 1;
    sums.thread_instructions += outcome.thread_instructions;
    sums.events.add(&events);
    table.changed = true;
}

/// Starts anew.
pub(crate) fn reset() {
    *lock(&TABLE) = Table { kernels: BTreeMap::new(), changed: true };
}

/// Writes the file named by the settings if anything changed.
pub(crate) fn flush() {
    let Some(path) = settings().counters else { return };
    let mut table = lock(&TABLE);
    if std::mem::take(&mut table.changed)
        && let Err(error) = std::fs::write(&path, format(&table.kernels))
    {
        fault::report(&format!("counters: cannot write {}: {error}", path.display()));
    }
}

/// All sums as JSON.
pub(crate) fn json() -> String {
    format(&lock(&TABLE).kernels)
}

fn format(kernels: &BTreeMap<String, Sums>) -> String {
    let kernels = object(kernels.iter().map(|(name, sums)| {
        let lines = object(sums.events.lines.iter().map(|(line, events)| (line.to_string(), events_json(events))));
        let fields = [
            ("launches", sums.launches.to_string()),
            ("thread_instructions", sums.thread_instructions.to_string()),
            ("read_sectors", sums.events.read_sectors.to_string()),
            ("total", events_json(&sums.events.total)),
            ("lines", lines),
        ];
        (name.clone(), object(fields.map(|(field, value)| (field.to_owned(), value))))
    }));
    format!("{{\"kernels\":{kernels}}}\n")
}

fn events_json(events: &Events) -> String {
    let pipes = Pipe::ALL.map(|pipe| (format!("{pipe:?}").to_lowercase(), events.pipe(pipe).to_string()));
    let fields = [
        ("warp_instructions", object(pipes)),
        ("lane_instructions", events.lane_instructions.to_string()),
        ("global_loads", traffic_json(&events.global_loads)),
        ("global_stores", traffic_json(&events.global_stores)),
        ("shared_requests", events.shared_requests.to_string()),
        ("shared_wavefronts", events.shared_wavefronts.to_string()),
        ("shared_ideal_wavefronts", events.shared_ideal_wavefronts.to_string()),
    ];
    object(fields.map(|(field, value)| (field.to_owned(), value)))
}

fn traffic_json(traffic: &Traffic) -> String {
    let Traffic { requests, sectors, full_sectors, bytes } = traffic;
    format!(r#"{{"requests":{requests},"sectors":{sectors},"full_sectors":{full_sectors},"bytes":{bytes}}}"#)
}

/// A JSON object. Keys are PTX identifiers or fixed words, which need no escaping.
fn object(fields: impl IntoIterator<Item = (String, String)>) -> String {
    let mut text = String::from("{");
    for (index, (key, value)) in fields.into_iter().enumerate() {
        let _ = write!(text, "{}\"{key}\":{value}", if index == 0 { "" } else { "," });
    }
    text + "}"
}
