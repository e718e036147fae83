//! The recording as a picture: a row for each slot, stage buffer and lane, time to the right.

use super::{Span, Stage, Timeline};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write};

const LEFT: f64 = 90.0;
const WIDTH: f64 = 1000.0;
const ROW: f64 = 16.0;
const TOP: f64 = 62.0;
/// Spans that are nearer to each other than this are drawn as one.
const NEAR: f64 = 0.4;

fn colour(stage: Stage) -> &'static str {
    match stage {
        Stage::Open => "#8a8f98",
        Stage::Read => "#3b78c4",
        Stage::Copy => "#c77d2e",
        Stage::Decode => "#3f9a5b",
        Stage::Ready => "#222222",
        Stage::Forward => "#8b5bb0",
        Stage::Other(_) => "#b04a5a",
    }
}

fn escape(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// A round number of milliseconds, of which about eight fit `total`.
fn step(total: f64) -> f64 {
    let rough = (total / 8.0).max(1e-3);
    let power = 10f64.powf(rough.log10().floor());
    [1.0, 2.0, 5.0, 10.0].map(|m| m * power).into_iter().find(|s| *s >= rough).unwrap_or(rough)
}

impl Timeline {
    /// Draws the recording as an SVG picture that stands by itself.
    pub fn write_svg(&self, mut out: impl Write) -> io::Result<()> {
        out.write_all(draw(&self.spans()).as_bytes())?;
        out.flush()
    }
}

fn draw(spans: &[Span]) -> String {
    let end = spans.iter().map(|s| s.end_us).fold(1.0, f64::max);
    let x = |us: f64| LEFT + us / end * WIDTH;
    let mut rows: BTreeMap<(Stage, u32), Vec<&Span>> = BTreeMap::new();
    spans.iter().for_each(|s| rows.entry((s.stage, s.track)).or_default().push(s));
    let height = TOP + ROW * rows.len() as f64 + 30.0;
    let full = LEFT + WIDTH + 20.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{full}\" height=\"{height}\" viewBox=\"0 0 {full} {height}\" \
         font-family=\"sans-serif\" font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    legend(&mut svg, spans, end);
    let bottom = TOP + ROW * rows.len() as f64;
    let step = step(end / 1e3);
    for i in 0..=(end / 1e3 / step) as usize {
        let at = x(i as f64 * step * 1e3);
        let label = format!("{} ms", (i as f64 * step * 1e3).round() / 1e3);
        let _ = writeln!(svg, "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{bottom}\" stroke=\"#e3e5e8\"/>");
        let _ = writeln!(svg, "<text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#555\">{label}</text>", bottom + 16.0);
    }
    for (r, ((stage, track), spans)) in rows.iter().enumerate() {
        let y = TOP + ROW * r as f64;
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#333\">{} {track}</text>",
            LEFT - 8.0,
            y + 12.0,
            escape(stage.name())
        );
        let mut drawn: Vec<(f64, f64, String)> = Vec::new();
        for span in spans {
            let (from, to) = (x(span.start_us), x(span.end_us).max(x(span.start_us) + 1.0));
            match drawn.last_mut() {
                Some((start, end, _)) if from - *end < NEAR && (to - *start < 2.0) => *end = end.max(to),
                _ => {
                    let title = format!("{}: {:.3} ms, {} bytes", span.name, (span.end_us - span.start_us) / 1e3, span.bytes);
                    drawn.push((from, to, title));
                }
            }
        }
        for (from, to, title) in drawn {
            let _ = writeln!(
                svg,
                "<rect x=\"{from:.2}\" y=\"{:.1}\" width=\"{:.2}\" height=\"{}\" fill=\"{}\" stroke=\"#fff\" stroke-width=\"0.3\"><title>{}</title></rect>",
                y + 2.0,
                to - from,
                ROW - 4.0,
                colour(*stage),
                escape(&title)
            );
        }
    }
    svg.push_str("</svg>\n");
    svg
}

/// What each stage came to.
fn legend(svg: &mut String, spans: &[Span], end: f64) {
    let mut stages: BTreeMap<Stage, (f64, u64, usize)> = BTreeMap::new();
    for s in spans {
        let (busy, bytes, count) = stages.entry(s.stage).or_default();
        (*busy, *bytes, *count) = (*busy + s.end_us - s.start_us, *bytes + s.bytes, *count + 1);
    }
    let _ = writeln!(svg, "<text x=\"{LEFT}\" y=\"18\" font-size=\"13\" fill=\"#111\">{:.1} ms</text>", end / 1e3);
    for (i, (stage, (busy, bytes, count))) in stages.iter().enumerate() {
        let x = LEFT + 200.0 * (i % 5) as f64;
        let y = 34.0 + 16.0 * (i / 5) as f64;
        let rate = if *busy > 0.0 { format!(", {:.2} GB/s each", *bytes as f64 / busy / 1e3) } else { String::new() };
        let _ = writeln!(svg, "<rect x=\"{x}\" y=\"{}\" width=\"10\" height=\"10\" fill=\"{}\"/>", y - 9.0, colour(*stage));
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{y}\" fill=\"#333\">{} × {count}: {:.1} ms{rate}</text>",
            x + 14.0,
            escape(stage.name()),
            busy / 1e3
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn a_row_for_each_track_and_names_escaped() {
        let timeline = Timeline::new();
        let at = |us| Instant::now() + Duration::from_micros(us);
        for track in 0..3 {
            timeline.record(Stage::Read, track, "<w> & \"x\"", at(10 * track as u64), at(500), 1 << 20);
        }
        timeline.record(Stage::Decode, 0, "w", at(400), at(900), 1 << 21);
        let mut out = Vec::new();
        timeline.write_svg(&mut out).unwrap();
        let svg = String::from_utf8(out).unwrap();
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
        assert!(svg.contains("&lt;w&gt; &amp; &quot;x&quot;") && !svg.contains("<w>"));
        for row in ["read 0", "read 1", "read 2", "decode 0"] {
            assert!(svg.contains(&format!(">{row}</text>")), "{row}");
        }
    }

    #[test]
    fn thousands_of_spans_stay_small_and_none_is_no_trouble() {
        let timeline = Timeline::new();
        assert!(draw(&timeline.spans()).contains("</svg>"));
        let began = Instant::now();
        for i in 0..50_000u64 {
            let at = began + Duration::from_micros(10 * i);
            timeline.record(Stage::Decode, (i % 4) as u32, format!("tensor {i}"), at, at + Duration::from_micros(9), 1);
        }
        assert!(draw(&timeline.spans()).len() < 2 << 20);
    }
}
