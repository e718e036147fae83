//! The trace event format of Chrome: <https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU>.
//!
//! A stage is a process and a track a thread, so that viewers group the rows as the picture does. Events of one thread must nest, or
//! viewers drop them: where spans of one track overlap, the later ones go to more threads of the same name.

use super::{Span, Stage};
use serde_json::json;
use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};

/// `spans` are sorted by start.
pub(super) fn write(spans: &[Span], w: impl Write) -> io::Result<()> {
    // For each track and each of its threads, when its last event ends. Few tracks have more than one thread.
    let mut ends: BTreeMap<(Stage, u32), Vec<f64>> = BTreeMap::new();
    let mut thread_of_span = Vec::with_capacity(spans.len());
    for span in spans {
        let ends = ends.entry((span.stage, span.track)).or_default();
        let thread = ends.iter().position(|&end| end <= span.start_us).unwrap_or(ends.len());
        if thread == ends.len() {
            ends.push(span.end_us);
        } else {
            ends[thread] = span.end_us;
        }
        thread_of_span.push(thread);
    }

    let mut events = Events { w: BufWriter::new(w), any: false };
    events.w.write_all(b"{\"displayTimeUnit\":\"ms\",\"traceEvents\":[")?;
    // Numbers in the order in which the rows are to be shown. Thread numbers are not used twice: some viewers look at nothing else.
    let mut processes: BTreeMap<Stage, u32> = BTreeMap::new();
    let mut first_thread: BTreeMap<(Stage, u32), usize> = BTreeMap::new();
    let mut tid = 1;
    for (&(stage, track), ends) in &ends {
        let next = processes.len() as u32 + 1;
        let pid = *processes.entry(stage).or_insert(next);
        if pid == next {
            events.metadata("process_name", pid, 0, &json!({"name": stage.name()}))?;
            events.metadata("process_sort_index", pid, 0, &json!({"sort_index": pid}))?;
        }
        first_thread.insert((stage, track), tid);
        for tid in tid..tid + ends.len() {
            events.metadata("thread_name", pid, tid, &json!({"name": stage.track_name(track)}))?;
            events.metadata("thread_sort_index", pid, tid, &json!({"sort_index": tid}))?;
        }
        tid += ends.len();
    }
    for (span, thread) in spans.iter().zip(thread_of_span) {
        events.write(&json!({
            "ph": "X", "cat": span.stage.name(), "name": span.name,
            "pid": processes[&span.stage], "tid": first_thread[&(span.stage, span.track)] + thread,
            "ts": span.start_us, "dur": span.duration_us(), "args": {"bytes": span.bytes},
        }))?;
    }
    events.w.write_all(b"\n]}\n")?;
    events.w.flush()
}

struct Events<W: Write> {
    w: BufWriter<W>,
    any: bool,
}

impl<W: Write> Events<W> {
    fn metadata(&mut self, name: &str, pid: u32, tid: usize, args: &serde_json::Value) -> io::Result<()> {
        self.write(&json!({"ph": "M", "name": name, "pid": pid, "tid": tid, "args": args}))
    }

    fn write(&mut self, event: &serde_json::Value) -> io::Result<()> {
        self.w.write_all(if self.any { b",\n" } else { b"\n" })?;
        self.any = true;
        Ok(serde_json::to_writer(&mut self.w, event)?)
    }
}
