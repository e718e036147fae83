//! The picture: what a first token takes, a bar for each kind of run, and below it what decoding a layer takes.

use super::{Process, Runs, Spread, Times, count};
use std::fmt::Write;

const WIDTH: f64 = 960.0;
/// Where bars begin: room for "2 threads, cold" and "safetensors" to their left.
const LEFT: f64 = 210.0;
const RIGHT: f64 = WIDTH - 90.0;
const BAR: f64 = 18.0;
const PITCH: f64 = 22.0;
const GAP: f64 = 10.0;
const GREY: &str = "#57606a";

/// Okabe and Ito's colours, which the colour-blind can tell apart.
const PARTS: [(&str, &str); 3] = [("load", "#0072b2"), ("build the model", "#e69f00"), ("first forward", "#009e73")];
const LAYER: [(&str, &str); 3] = [("decode p50", "#d55e00"), ("p95", "#e69f00"), ("p99", "#f0e442")];
const FORWARD: (&str, &str) = ("a layer's share of the first forward", "#009e73");

/// A bar: parts one after the other, each with its width in milliseconds and its colour.
struct Bar {
    group: String,
    name: &'static str,
    parts: Vec<(f64, &'static str)>,
    note: String,
}

/// The picture as SVG: no script, no style sheet, no font of its own.
pub(crate) fn draw(title: &str, processes: &[Process]) -> String {
    let loads: Vec<_> = processes.iter().flat_map(|p| p.caches.iter().flat_map(|runs| bars_of_load(p, runs))).collect();
    let layers: Vec<_> = processes.iter().flat_map(bars_of_layer).collect();
    let mut body = String::new();
    let y = panel(&mut body, 62.0, "From the start of a load to the first token, ms (medians)", &PARTS, &loads);
    let keys = [LAYER[0], LAYER[1], LAYER[2], FORWARD];
    let y = panel(&mut body, y + 24.0, "Decoding one layer from memory, ms", &keys, &layers);
    let height = y + 8.0;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
         font-family=\"Helvetica, Arial, 'DejaVu Sans', sans-serif\" font-size=\"12\" fill=\"#24292f\">\n\
         <title>Load latency against warm-up</title>\n<rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n\
         <text x=\"20\" y=\"30\" font-size=\"16\" font-weight=\"bold\">{}</text>\n{body}</svg>\n",
        escape(title)
    )
}

fn bars_of_load(process: &Process, runs: &Runs) -> [Bar; 2] {
    [("safetensors", &runs.raw), ("wcodec", &runs.wcodec)].map(|(name, times)| {
        let medians = [|t: Times| t.weights, Times::build, Times::forward].map(|of| Spread::of(times, of).median);
        let parts = medians.into_iter().zip(PARTS).map(|(ms, (_, colour))| (ms, colour)).collect();
        let group = format!("{}, {}", count(process.threads), runs.cache.name());
        // The median of the sums, which is not the sum of the medians.
        Bar { group, name, parts, note: format!("{:.0} ms", Spread::of(times, |t| t.token).median) }
    })
}

fn bars_of_layer(process: &Process) -> [Bar; 2] {
    let [p50, p95, p99] = process.layer_ms();
    let parts = [p50, p95 - p50, p99 - p95].into_iter().zip(LAYER).map(|(ms, (_, colour))| (ms, colour)).collect();
    let forward = process.forward_of_a_layer();
    let group = count(process.threads);
    [
        Bar { group: group.clone(), name: "decode", parts, note: format!("{p50:.2} to {p99:.2}") },
        Bar { group, name: "forward", parts: vec![(forward, FORWARD.1)], note: format!("{forward:.2}") },
    ]
}

/// Draws heading, keys, axis and bars from `top` down, and returns where they end.
fn panel(out: &mut String, top: f64, heading: &str, keys: &[(&str, &str)], bars: &[Bar]) -> f64 {
    let _ = writeln!(out, "<text x=\"20\" y=\"{top}\" font-weight=\"bold\">{heading}</text>");
    let mut x = LEFT;
    for (name, colour) in keys {
        let _ = writeln!(
            out,
            "<rect x=\"{x}\" y=\"{}\" width=\"12\" height=\"12\" fill=\"{colour}\"/><text x=\"{}\" y=\"{}\">{name}</text>",
            top + 12.0,
            x + 17.0,
            top + 22.0
        );
        x += 45.0 + 6.6 * name.len() as f64;
    }
    let longest = bars.iter().map(|bar| bar.parts.iter().map(|(ms, _)| ms).sum()).fold(0.0, f64::max);
    let step = step(longest);
    let pixels = |ms: f64| ms / longest.max(f64::MIN_POSITIVE) * (RIGHT - LEFT);
    let first = top + 52.0;
    let gaps = bars.chunk_by(|a, b| a.group == b.group).count().saturating_sub(1);
    let bottom = first + PITCH * bars.len() as f64 + GAP * gaps as f64;
    for n in 0..=(longest / step) as usize {
        let (ms, x) = (n as f64 * step, LEFT + round(pixels(n as f64 * step)));
        let digits = (-step.log10()).ceil().clamp(0.0, 6.0) as usize;
        let _ = writeln!(
            out,
            "<path d=\"M{x} {}V{bottom}\" stroke=\"#d0d7de\"/>\
             <text x=\"{x}\" y=\"{}\" text-anchor=\"middle\" font-size=\"11\" fill=\"{GREY}\">{ms:.digits$}</text>",
            first - 6.0,
            first - 9.0
        );
    }
    let mut y = first;
    for group in bars.chunk_by(|a, b| a.group == b.group) {
        let middle = y + PITCH * group.len() as f64 / 2.0 + 2.0;
        let _ = writeln!(out, "<text x=\"20\" y=\"{middle}\">{}</text>", group[0].group);
        for bar in group {
            let _ = writeln!(
                out,
                "<text x=\"{}\" y=\"{}\" text-anchor=\"end\" fill=\"{GREY}\">{}</text>",
                LEFT - 8.0,
                y + BAR - 5.0,
                bar.name
            );
            let mut x = LEFT;
            for &(ms, colour) in &bar.parts {
                let (width, label) = (pixels(ms).max(0.0), format!("{ms:.0}"));
                let _ = writeln!(
                    out,
                    "<rect x=\"{}\" y=\"{y}\" width=\"{}\" height=\"{BAR}\" fill=\"{colour}\"/>",
                    round(x),
                    round(width)
                );
                // Where it fits, and says more than the note does.
                if bar.parts.len() > 1 && ms >= 10.0 && width > 26.0 {
                    let _ = writeln!(
                        out,
                        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\" fill=\"{}\">{label}</text>",
                        round(x + width / 2.0),
                        y + BAR - 5.0,
                        if colour == PARTS[1].1 { "#24292f" } else { "#ffffff" }
                    );
                }
                x += width;
            }
            let _ = writeln!(out, "<text x=\"{}\" y=\"{}\">{}</text>", round(x + 6.0), y + BAR - 5.0, bar.note);
            y += PITCH;
        }
        y += GAP;
    }
    bottom
}

/// 1, 2 or 5 times a power of ten: at most ten of it are in `longest`.
fn step(longest: f64) -> f64 {
    if !(longest > 0.0 && longest.is_finite()) {
        return 1.0;
    }
    let power = 10f64.powf((longest / 10.0).log10().floor());
    power * [1.0, 2.0, 5.0].into_iter().find(|step| longest <= 10.0 * step * power).unwrap_or(10.0)
}

/// Hundredths of a pixel are as much as anyone sees.
fn round(x: f64) -> f64 {
    (x * 100.0).round() / 100.0
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
