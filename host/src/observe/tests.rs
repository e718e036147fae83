use super::*;
use proptest::prelude::*;
use std::time::{Duration, Instant};

const STAGES: [Stage; 7] =
    [Stage::Open, Stage::Read, Stage::Copy, Stage::Decode, Stage::Ready, Stage::Forward, Stage::Other("pack & ship")];

fn span(stage: Stage, track: u32, name: &str, start_us: f64, end_us: f64) -> Span {
    Span { stage, track, name: name.into(), start_us, end_us, bytes: 1000 }
}

fn timeline(spans: impl IntoIterator<Item = Span>) -> Timeline {
    let timeline = Timeline::new();
    spans.into_iter().for_each(|span| timeline.add(span));
    timeline
}

fn chrome(timeline: &Timeline) -> Vec<serde_json::Value> {
    let mut json = Vec::new();
    timeline.write_chrome(&mut json).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    json["traceEvents"].as_array().unwrap().clone()
}

fn svg(timeline: &Timeline) -> String {
    let mut svg = Vec::new();
    timeline.write_svg(&mut svg).unwrap();
    assert!(svg.len() < 2_000_000, "{} bytes", svg.len());
    String::from_utf8(svg).unwrap()
}

/// The rows of a picture by label, with the titles of their shapes.
fn rows(svg: &str) -> Vec<(String, Vec<String>)> {
    let document = roxmltree::Document::parse(svg).unwrap();
    let named =
        |name: &'static str| move |node: &roxmltree::Node<'_, '_>| node.has_tag_name(("http://www.w3.org/2000/svg", name));
    let titles = |row: roxmltree::Node<'_, '_>| {
        let shapes = row.children().filter(named("rect"));
        shapes.map(|shape| shape.children().find(named("title")).unwrap().text().unwrap().to_owned()).collect()
    };
    let rows = document.descendants().filter(named("g"));
    rows.map(|row| (row.attribute("aria-label").unwrap().to_owned(), titles(row))).collect()
}

/// Pipelined loads as they look: slots, buffers, lanes.
fn load(units: u32) -> Timeline {
    timeline((0..units).flat_map(|unit| {
        let (at, name) = (f64::from(unit) * 70.0, format!("model.layers.{}.mlp.down_proj.weight", unit / 7));
        [
            span(Stage::Read, unit % 8, &name, at, at + 500.0),
            span(Stage::Copy, unit % 4, &name, at + 510.0, at + 580.0),
            span(Stage::Decode, unit % 2, &name, at + 590.0, at + 690.0),
            span(Stage::Ready, 0, &name, at + 690.0, at + 690.0),
        ]
    }))
}

#[test]
fn times_are_microseconds_from_the_start() {
    let timeline = Timeline::new();
    let start = Instant::now();
    timeline.record(Stage::Read, 3, "a", start, start + Duration::from_millis(2), 7);
    timeline.record(Stage::Open, 0, "b", start - Duration::from_secs(1), start, 0);
    // An end before the start, as clocks of different origin may give.
    timeline.record(Stage::Decode, 0, "c", start + Duration::from_secs(1), start, 0);
    let spans = timeline.spans();
    assert_eq!(spans.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["b", "a", "c"]);
    assert!(spans[0].start_us < 0.0 && spans[0].end_us >= 0.0);
    assert!((spans[1].duration_us() - 2000.0).abs() < 0.1 && spans[1].bytes == 7 && spans[1].track == 3);
    assert_eq!(spans[2].duration_us(), 0.0);
    assert!((timeline.elapsed_us() - 2e6).abs() < 0.1);
    timeline.add(span(Stage::Read, 0, "never", f64::NAN, 1.0));
    timeline.add(span(Stage::Read, 0, "never", 0.0, f64::INFINITY));
    assert_eq!(timeline.spans().len(), 3);
}

/// Level, target and the names of the fields of an event.
type Event = (tracing::Level, String, Vec<String>);

#[derive(Clone, Default)]
struct Events(std::sync::Arc<std::sync::Mutex<Vec<Event>>>);

impl tracing::Subscriber for Events {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        let metadata = event.metadata();
        let fields = metadata.fields().iter().map(|field| field.name().to_owned()).collect();
        self.0.lock().unwrap().push((*metadata.level(), metadata.target().to_owned(), fields));
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[test]
fn subscribers_see_every_span() {
    let events = Events::default();
    let now = Instant::now();
    tracing::subscriber::with_default(events.clone(), || {
        let timeline = Timeline::new();
        STAGES.iter().for_each(|&stage| timeline.record(stage, 0, "t", now, now, 0));
    });
    let events = events.0.lock().unwrap();
    let fields = ["stage", "track", "name", "start_us", "duration_us", "bytes"];
    assert!(events.iter().all(|(_, target, names)| target == "wcodec::load" && names == &fields));
    use tracing::Level;
    let levels = events.iter().map(|(level, ..)| *level).collect::<Vec<_>>();
    assert_eq!(levels, [Level::DEBUG, Level::TRACE, Level::TRACE, Level::TRACE, Level::DEBUG, Level::DEBUG, Level::DEBUG]);
}

#[test]
fn threads_record_together() {
    let timeline = Timeline::new();
    std::thread::scope(|scope| {
        for track in 0..8 {
            let timeline = timeline.clone();
            scope.spawn(move || {
                for i in 0..1000 {
                    let now = Instant::now();
                    timeline.record(Stage::Decode, track, format!("{track} {i}"), now, Instant::now(), 1);
                }
            });
        }
    });
    let spans = timeline.spans();
    assert_eq!(spans.iter().map(|s| s.name.as_str()).collect::<std::collections::HashSet<_>>().len(), 8000);
    assert!(spans.is_sorted_by(|a, b| a.start_us <= b.start_us));
    for track in 0..8 {
        assert_eq!(spans.iter().filter(|s| s.track == track).count(), 1000);
    }
}

#[test]
fn nothing_recorded() {
    let timeline = Timeline::new();
    assert_eq!(chrome(&timeline).len(), 0);
    assert!(rows(&svg(&timeline)).is_empty());
    let overlap = timeline.overlap(Stage::Decode, Stage::Read);
    assert_eq!((overlap, overlap.exposed_share()), (Overlap::default(), 0.0));
    assert_eq!((timeline.elapsed_us(), timeline.exposed_share(Stage::Decode, Stage::Read)), (0.0, 0.0));
}

/// A share of the load's time, not of the stage's.
#[test]
fn exposed_of_all() {
    let timeline = timeline([
        span(Stage::Read, 0, "a", 0.0, 60.0),
        span(Stage::Decode, 0, "a", 50.0, 70.0),
        span(Stage::Ready, 0, "a", 100.0, 100.0),
    ]);
    assert_eq!(timeline.overlap(Stage::Decode, Stage::Read).exposed_share(), 0.5);
    assert_eq!(timeline.exposed_share(Stage::Decode, Stage::Read), 0.1);
}

#[test]
fn one_moment() {
    for at in [0.0, -5.0, 1e15] {
        let timeline = timeline([span(Stage::Ready, 0, "t", at, at)]);
        assert_eq!(rows(&svg(&timeline)).len(), 1);
        assert_eq!(chrome(&timeline).iter().filter(|e| e["ph"] == "X").count(), 1);
    }
}

#[test]
fn names_are_escaped() {
    let name = "<b attr='\"'>&amp;\u{0}\u{1b}\u{ffff}\\\n層</b>";
    let timeline = timeline([span(Stage::Read, 0, name, 0.0, 10.0), span(Stage::Other("<&\">"), 0, name, 0.0, 0.0)]);
    let events = chrome(&timeline);
    assert_eq!(events.iter().filter(|e| e["ph"] == "X" && e["name"] == name).count(), 2);
    let rows = rows(&svg(&timeline));
    assert!(rows[0].1[0].starts_with("<b attr='\"'>&amp;\u{fffd}\u{fffd}\u{fffd}\\\u{fffd}層</b>, 0.010 ms"), "{}", rows[0].1[0]);
    assert_eq!(rows[1].0, "<&\"> thread 0");
}

#[test]
fn chrome_events_of_a_thread_do_not_overlap() {
    // Three at once on one track, and a neighbour.
    let spans = (0..30).map(|i| span(Stage::Read, 0, "r", f64::from(i) * 10.0, f64::from(i) * 10.0 + 25.0));
    let events = chrome(&timeline(spans.chain([span(Stage::Read, 1, "n", 0.0, 300.0)])));
    let mut ends = std::collections::HashMap::new();
    for event in events.iter().filter(|e| e["ph"] == "X") {
        let (start, duration) = (event["ts"].as_f64().unwrap(), event["dur"].as_f64().unwrap());
        let end = ends.entry(event["tid"].as_u64().unwrap()).or_insert(0.0);
        assert!(*end <= start);
        *end = start + duration;
    }
    assert_eq!(ends.len(), 4);
}

#[test]
fn small_pictures_show_every_span() {
    let timeline = timeline(STAGES.iter().zip(0u32..).map(|(&stage, i)| {
        let at = f64::from(i) * 1000.0;
        span(stage, i, stage.name(), at, if stage == Stage::Ready { at } else { at + 900.0 })
    }));
    let rows = rows(&svg(&timeline));
    assert_eq!(rows.len(), 7);
    assert_eq!(rows[1].0, "read slot 1");
    assert_eq!(rows[1].1, ["read, 0.900 ms from 1.00 ms, 1.0 kB"]);
    assert_eq!(rows[4].1, ["ready from 4.00 ms, 1.0 kB"]);
}

#[test]
fn large_pictures_stay_small() {
    let svg_of_load = svg(&load(30_000));
    assert_eq!(rows(&svg_of_load).len(), 8 + 4 + 2 + 1);
    // Every track at once, all over each other, with names as long as names get.
    let name = "<".repeat(500);
    let many = (0..40_000u32).map(|i| span(Stage::Read, i % 500, &name, f64::from(i), f64::from(i) + 20_000.0));
    let rows = rows(&svg(&timeline(many)));
    assert_eq!(rows.len(), 64);
    assert_eq!(rows[63].0, "read 437 more");
}

#[test]
fn ticks_are_few_and_round() {
    assert_eq!(shapes::ticks(0.0, 100.0), (0..=10).map(|i| f64::from(i) * 10.0).collect::<Vec<_>>());
    assert_eq!(shapes::ticks(-1.0, 3.1).len(), 9);
    for last in (1..400).map(|i| 1.07f64.powi(i - 200)) {
        let ticks = shapes::ticks(0.0, last);
        assert!((5..=12).contains(&ticks.len()), "{last}: {ticks:?}");
    }
    assert!(!shapes::ticks(1e15, 1e15 + 0.001).is_empty());
}

/// The oracle: which of the unit-long cells of time have both.
fn overlap_by_cells(spans: &[Span], of: Stage, with: Stage) -> (f64, f64) {
    let runs = |stage, cell: i32| {
        spans.iter().any(|s| s.stage == stage && s.start_us <= f64::from(cell) && f64::from(cell) + 1.0 <= s.end_us)
    };
    let (mut total, mut covered) = (0, 0);
    for cell in -10..140 {
        total += i32::from(runs(of, cell));
        covered += i32::from(runs(of, cell) && runs(with, cell));
    }
    (f64::from(total), f64::from(covered))
}

fn any_span() -> impl Strategy<Value = Span> {
    (0..STAGES.len(), 0u32..5, -10i32..100, 0i32..40, any::<String>()).prop_map(|(stage, track, start, length, name)| {
        span(STAGES[stage], track, &name, f64::from(start), f64::from(start + length))
    })
}

proptest! {
    #[test]
    fn overlap_is_what_cells_say(spans in prop::collection::vec(any_span(), 0..40), of in 0..STAGES.len(), with in 0..STAGES.len()) {
        let (total, covered) = overlap_by_cells(&spans, STAGES[of], STAGES[with]);
        let overlap = timeline(spans).overlap(STAGES[of], STAGES[with]);
        prop_assert_eq!(overlap, Overlap { total_us: total, covered_us: covered });
        prop_assert_eq!(overlap.exposed_us(), total - covered);
        prop_assert!((0.0..=1.0).contains(&overlap.exposed_share()));
    }

    #[test]
    fn shapes_leave_nothing_out(spans in prop::collection::vec(any_span(), 0..60), near in 0.0f64..20.0) {
        let spans = timeline(spans).spans();
        let scale = shapes::Scale { first_us: -10.0, left: 5.0, pixels_per_us: 1.0 };
        let shapes = shapes::shapes(&spans.iter().collect::<Vec<_>>(), &scale, near);
        let mut rest = &spans[..];
        for shape in &shapes {
            let (run, after) = rest.split_at(shape.spans);
            rest = after;
            prop_assert!(std::ptr::eq(shape.first, &run[0]) && std::ptr::eq(shape.last, &run[run.len() - 1]));
            prop_assert_eq!(shape.bytes, run.len() as u64 * 1000);
            prop_assert!(run.iter().all(|s| shape.x.0 <= scale.x(s.start_us) && scale.x(s.end_us) <= shape.x.1));
            prop_assert!((0.0..=1.0).contains(&shape.density) && shape.busy_us <= shape.x.1 - shape.x.0 + 1e-9);
        }
        prop_assert!(rest.is_empty());
    }

    #[test]
    fn both_forms_show_what_was_recorded(spans in prop::collection::vec(any_span(), 0..60)) {
        let timeline = timeline(spans.clone());
        let events = chrome(&timeline);
        for span in &spans {
            prop_assert!(events.iter().any(|e| e["ph"] == "X"
                && e["name"] == span.name
                && e["cat"] == span.stage.name()
                && e["ts"] == span.start_us
                && e["dur"] == span.duration_us()
                && e["args"]["bytes"] == span.bytes));
        }
        prop_assert_eq!(events.iter().filter(|e| e["ph"] == "X").count(), spans.len());
        for event in events.iter().filter(|e| e["ph"] == "X") {
            prop_assert!(events.iter().any(|e| e["ph"] == "M" && e["name"] == "thread_name" && e["tid"] == event["tid"] && e["pid"] == event["pid"]));
        }

        let tracks: std::collections::BTreeSet<_> = spans.iter().map(|s| (s.stage, s.track)).collect();
        let labels: Vec<_> = tracks.iter().map(|(stage, track)| format!("{stage} {}", stage.track_name(*track))).collect();
        prop_assert_eq!(rows(&svg(&timeline)).into_iter().map(|row| row.0).collect::<Vec<_>>(), labels);
    }
}
