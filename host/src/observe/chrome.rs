//! The Chrome trace event format, which chrome://tracing and Perfetto show: complete events ("X"), moments ("i"), names of tracks ("M").

use super::{Stage, Timeline};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{self, Write};

impl Timeline {
    /// Writes the recording as a Chrome trace.
    pub fn write_chrome(&self, mut out: impl Write) -> io::Result<()> {
        let spans = self.spans();
        let tracks: BTreeSet<(Stage, u32)> = spans.iter().map(|s| (s.stage, s.track)).collect();
        let id = |stage, track| tracks.iter().position(|&t| t == (stage, track)).unwrap_or(0);
        let mut events: Vec<Value> = tracks
            .iter()
            .enumerate()
            .map(|(id, (stage, track))| {
                json!({"ph": "M", "name": "thread_name", "pid": 1, "tid": id, "args": {"name": format!("{} {track}", stage.name())}})
            })
            .collect();
        events.extend(spans.iter().map(|s| {
            let mut event = json!({
                "name": s.name, "cat": s.stage.name(), "pid": 1, "tid": id(s.stage, s.track), "ts": s.start_us,
                "args": {"bytes": s.bytes},
            });
            if s.stage == Stage::Ready {
                (event["ph"], event["s"]) = (json!("i"), json!("t"));
            } else {
                (event["ph"], event["dur"]) = (json!("X"), json!(s.end_us - s.start_us));
            }
            event
        }));
        serde_json::to_writer(&mut out, &json!({"displayTimeUnit": "ms", "traceEvents": events}))?;
        out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn every_span_is_there() {
        let timeline = Timeline::new();
        let at = |us| Instant::now() + Duration::from_micros(us);
        timeline.record(Stage::Read, 1, "a \"quoted\"\nname", at(10), at(30), 5);
        timeline.record(Stage::Decode, 0, "b", at(20), at(25), 6);
        timeline.record(Stage::Ready, 0, "b", at(25), at(25), 6);
        let mut out = Vec::new();
        timeline.write_chrome(&mut out).unwrap();
        let trace: Value = serde_json::from_slice(&out).unwrap();
        let events = trace["traceEvents"].as_array().unwrap();
        assert_eq!(events.iter().filter(|e| e["ph"] == "M").count(), 3);
        assert_eq!(events.iter().filter(|e| e["ph"] == "i").count(), 1);
        let read = events.iter().find(|e| e["cat"] == "read").unwrap();
        assert_eq!(read["name"], "a \"quoted\"\nname");
        assert!((read["dur"].as_f64().unwrap() - 20.0).abs() < 1.0);
    }
}
