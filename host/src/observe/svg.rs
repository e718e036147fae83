//! The picture.
//!
//! ```text
//! heading     the time from the first span to the last
//! legend      a line for each stage: spans, busy time, bytes, speed, and what of it no read hides
//! axis        milliseconds
//! rows        a group for each stage, a row for each track
//! ```
//!
//! Everything is placed by numbers, without style sheets, scripts or fonts of its own: it must look the same in a browser, in a README
//! and in a rasteriser.

use super::overlap::{Overlap, busy, length};
use super::shapes::{Scale, Shape, shapes, ticks};
use super::timeline::extent;
use super::{Span, Stage};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write;

const WIDTH: f64 = 1280.0;
/// Where rows begin: room for "decode" and "buffer 12" to their left.
const LEFT: f64 = 144.0;
const RIGHT: f64 = WIDTH - 20.0;
const ROW: f64 = 13.0;
const ROW_GAP: f64 = 3.0;
const GROUP_GAP: f64 = 12.0;
const LINE: f64 = 17.0;
/// Rows of a stage that are drawn: more could not be read. Tracks after that share the last one.
const ROWS_OF_STAGE: usize = 64;
/// Bytes of shapes that are drawn. The rest of the 2 MB is for rows and legend.
const SHAPES_SIZE: usize = 1_500_000;
/// Characters of a name that are shown.
const NAME_LENGTH: usize = 64;

/// Colours that the colour-blind can tell apart (Okabe and Ito, <https://jfly.uni-koeln.de/color/>), darkened where white must show on them.
fn colour(stage: Stage, other: usize) -> &'static str {
    const OTHERS: [&str; 3] = ["#56a0c9", "#8c6d31", "#5d5da8"];
    match stage {
        Stage::Open => "#6b7280",
        Stage::Read => "#0072b2",
        Stage::Copy => "#e08e00",
        Stage::Decode => "#009e73",
        Stage::Ready => "#d55e00",
        Stage::Forward => "#a8558a",
        Stage::Other(_) => OTHERS[other % OTHERS.len()],
    }
}

/// A row: the tracks it shows (one, but for the last row of a stage with very many) and their spans by start.
struct Row<'a> {
    name: String,
    y: f64,
    spans: Vec<&'a Span>,
}

struct Group<'a> {
    stage: Stage,
    colour: &'static str,
    rows: Vec<Row<'a>>,
}

/// `spans` are sorted by start.
pub(super) fn draw(spans: &[Span]) -> String {
    let (first, last) = extent(spans).unwrap_or((0.0, 0.0));
    let elapsed = last - first;
    // From the start of the recording, unless that would leave most of the picture empty.
    let first = if first > 0.0 && first < 0.2 * elapsed { 0.0 } else { first };
    let last = if last > first { last } else { first + 1.0 };
    let scale = Scale { first_us: first, left: LEFT, pixels_per_us: (RIGHT - LEFT) / (last - first) };

    let groups_of = |top: f64| groups(spans, top);
    let (stages, _) = groups_of(0.0);
    let top = 40.0 + LINE * (stages.len() + 1) as f64 + 34.0;
    let (groups, bottom) = groups_of(top);
    let height = bottom + 12.0;

    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
         font-family=\"Helvetica, Arial, 'DejaVu Sans', sans-serif\" font-size=\"11\" fill=\"#24292f\">\n\
         <title>Load timeline</title>\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n\
         <text x=\"20\" y=\"27\" font-size=\"15\" font-weight=\"bold\">Load timeline: {}, {} spans</text>\n",
        milliseconds(elapsed),
        spans.len()
    );
    legend(&mut out, spans, &groups, elapsed);
    if spans.is_empty() {
        let _ = writeln!(out, "<text x=\"20\" y=\"{}\" fill=\"#57606a\">Nothing was recorded.</text>", top - 20.0);
    } else {
        rows(&mut out, &groups);
        axis(&mut out, &scale, last, top, bottom);
        let shapes = bounded(&groups, &scale);
        if shapes.contains("fill-opacity") {
            let _ = writeln!(
                out,
                "<text x=\"{RIGHT}\" y=\"27\" text-anchor=\"end\" font-size=\"10\" fill=\"#57606a\">\
                 Spans too narrow to be seen are drawn together: the paler, the less busy.</text>"
            );
        }
        out += &shapes;
    }
    out += "</svg>\n";
    out
}

/// Groups and rows with their places from `top` down, and where they end.
fn groups(spans: &[Span], top: f64) -> (Vec<Group<'_>>, f64) {
    let mut tracks: BTreeMap<Stage, BTreeMap<u32, Vec<&Span>>> = BTreeMap::new();
    for span in spans {
        tracks.entry(span.stage).or_default().entry(span.track).or_default().push(span);
    }
    let mut y = top;
    let mut groups = Vec::new();
    let mut others = 0;
    for (stage, tracks) in tracks {
        let more = tracks.len().saturating_sub(ROWS_OF_STAGE);
        let mut rows: Vec<Row<'_>> = Vec::new();
        for (track, spans) in tracks {
            if rows.len() < ROWS_OF_STAGE {
                rows.push(Row { name: stage.track_name(track), y, spans });
                y += ROW + ROW_GAP;
            } else if let Some(shared) = rows.last_mut() {
                shared.name = format!("{} more", more + 1);
                shared.spans.extend(spans);
            }
        }
        if let Some(shared) = rows.last_mut().filter(|_| more > 0) {
            shared.spans.sort_by(|a, b| a.start_us.total_cmp(&b.start_us));
        }
        groups.push(Group { stage, colour: colour(stage, others), rows });
        others += usize::from(matches!(stage, Stage::Other(_)));
        y += GROUP_GAP;
    }
    (groups, y)
}

fn legend(out: &mut String, spans: &[Span], groups: &[Group<'_>], elapsed: f64) {
    const COLUMNS: [f64; 7] = [40.0, 180.0, 280.0, 370.0, 470.0, 570.0, 730.0];
    const HEADS: [&str; 7] = ["stage", "spans", "busy", "of the time", "bytes", "while busy", "not hidden by reads"];
    let mut line = |y: f64, weight: &str, cells: [&str; 7]| {
        for (place, (x, cell)) in COLUMNS.into_iter().zip(cells).enumerate() {
            let anchor = if place == 0 { "start" } else { "end" };
            let _ = write!(out, "<text x=\"{x}\" y=\"{y}\" text-anchor=\"{anchor}\"{weight}>{}</text>", escape(cell));
        }
        out.push('\n');
    };
    let top = 40.0 + LINE - 4.0;
    if !groups.is_empty() {
        line(top, " fill=\"#57606a\"", HEADS);
    }
    let reads = groups.iter().any(|group| group.stage == Stage::Read);
    for (y, group) in (1..).map(|n| top + LINE * f64::from(n)).zip(groups) {
        let count = group.rows.iter().map(|row| row.spans.len()).sum::<usize>().to_string();
        let total = group.rows.iter().flat_map(|row| &row.spans).fold(0u64, |sum, s| sum.saturating_add(s.bytes));
        let busy_us = length(&busy(spans, group.stage));
        let moments = busy_us == 0.0;
        let share = format!("{:.1} %", 100.0 * busy_us / elapsed);
        let exposed = Overlap::between(spans, group.stage, Stage::Read);
        let exposed = format!("{} ({:.1} %)", milliseconds(exposed.exposed_us()), 100.0 * exposed.exposed_share());
        let cell = |shown: bool, text: String| if shown { text } else { String::new() };
        line(
            y,
            "",
            [
                group.stage.name(),
                &count,
                &cell(!moments, milliseconds(busy_us)),
                &cell(!moments, share),
                &cell(total > 0, bytes(total)),
                &cell(total > 0 && !moments, format!("{:.2} GB/s", total as f64 / busy_us / 1e3)),
                &cell(reads && group.stage != Stage::Read && !moments, exposed),
            ],
        );
    }
    for (y, group) in (1..).map(|n| top + LINE * f64::from(n)).zip(groups) {
        let _ = writeln!(out, "<rect x=\"20\" y=\"{}\" width=\"12\" height=\"10\" fill=\"{}\"/>", y - 9.0, group.colour);
    }
}

/// The names and grounds of the rows.
fn rows(out: &mut String, groups: &[Group<'_>]) {
    for group in groups {
        let Some(first) = group.rows.first() else { continue };
        let _ = writeln!(
            out,
            "<text x=\"20\" y=\"{}\" font-weight=\"bold\" fill=\"{}\">{}</text>",
            first.y + ROW - 3.0,
            group.colour,
            escape(&clip(group.stage.name(), 9)),
        );
        let pool = matches!(group.stage, Stage::Read | Stage::Copy | Stage::Decode);
        for row in &group.rows {
            // "thread 0" says nothing where it is the only one.
            let name = if pool || group.rows.len() > 1 { &row.name } else { "" };
            let _ = writeln!(
                out,
                "<text x=\"{}\" y=\"{}\" text-anchor=\"end\" font-size=\"10\" fill=\"#57606a\">{name}</text>\
                 <rect x=\"{LEFT}\" y=\"{}\" width=\"{}\" height=\"{ROW}\" fill=\"#f3f4f6\"/>",
                LEFT - 6.0,
                row.y + ROW - 3.0,
                row.y,
                RIGHT - LEFT,
            );
        }
    }
}

fn axis(out: &mut String, scale: &Scale, last: f64, top: f64, bottom: f64) {
    let ticks = ticks(scale.first_us / 1e3, last / 1e3);
    let step = if let [a, b, ..] = ticks[..] { b - a } else { 1.0 };
    let digits = (-step.log10()).ceil().clamp(0.0, 6.0) as usize;
    for ms in ticks {
        let x = round(scale.x(ms * 1e3));
        let _ = writeln!(
            out,
            "<path d=\"M{x} {}V{}\" stroke=\"#d0d7de\"/>\
             <text x=\"{x}\" y=\"{}\" text-anchor=\"middle\" font-size=\"10\" fill=\"#57606a\">{ms:.digits$}</text>",
            top - 6.0,
            bottom - GROUP_GAP,
            top - 10.0,
        );
    }
    let _ = writeln!(
        out,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"end\" font-size=\"10\" fill=\"#57606a\">ms</text>",
        LEFT - 14.0,
        top - 10.0
    );
}

/// The shapes of all rows in no more than [`SHAPES_SIZE`] bytes: what is merged grows wider until they fit.
fn bounded(groups: &[Group<'_>], scale: &Scale) -> String {
    let mut near = 0.5;
    loop {
        let mut out = String::new();
        for group in groups {
            for row in &group.rows {
                let _ = writeln!(out, "<g class=\"track\" fill=\"{}\" aria-label=\"{}\">", group.colour, label(group, row));
                for shape in shapes(&row.spans, scale, near) {
                    self::shape(&mut out, group, row, &shape);
                }
                out += "</g>\n";
            }
        }
        // Beyond the width of the picture there is nothing left to merge.
        if out.len() <= SHAPES_SIZE || near > WIDTH {
            return out;
        }
        near *= 2.0;
    }
}

fn label(group: &Group<'_>, row: &Row<'_>) -> String {
    format!("{} {}", escape(group.stage.name()), row.name)
}

fn shape(out: &mut String, group: &Group<'_>, row: &Row<'_>, shape: &Shape<'_>) {
    let (left, right) = shape.x;
    let (y, width) = (row.y, right - left);
    let title = title(group.stage, shape);
    if shape.busy_us == 0.0 {
        // Moments are ticks that stand out of the row; many that are close together a block as high.
        let (x, width, y, height) = (left - 0.5, width.max(0.0) + 1.0, y - 1.0, ROW + 2.0);
        let _ = writeln!(
            out,
            "<rect x=\"{}\" y=\"{y}\" width=\"{}\" height=\"{height}\"><title>{title}</title></rect>",
            round(x),
            round(width)
        );
        return;
    }
    // A light edge between neighbours, which would be one block without it. The pieces of a long run must look like one: without their own
    // edges softened, and as dark as they were busy.
    let alone = shape.spans == 1;
    let drawn = if width > 2.0 && alone { width - 0.5 } else { width.max(0.6) };
    let mut looks = String::new();
    if !alone && width > 2.0 {
        looks += " shape-rendering=\"crispEdges\"";
    }
    if shape.density < 0.95 {
        let _ = write!(looks, " fill-opacity=\"{:.2}\"", shape.density.max(0.3));
    }
    let _ = writeln!(
        out,
        "<rect x=\"{}\" y=\"{y}\" width=\"{}\" height=\"{ROW}\"{looks}><title>{title}</title></rect>",
        round(left),
        // Where one piece ends is where the next begins, after rounding, too.
        round(round(left + drawn) - round(left))
    );
    // A name is written where all of it fits: 5 pixels a character is what 9-pixel type takes.
    let name = &shape.first.name;
    if alone && name.is_ascii() && !name.is_empty() && name.len() as f64 * 5.0 + 6.0 < drawn {
        let _ = writeln!(
            out,
            "<text x=\"{}\" y=\"{}\" font-size=\"9\" fill=\"#ffffff\" pointer-events=\"none\">{}</text>",
            round(left + 3.0),
            y + ROW - 3.5,
            escape(&clip(name, NAME_LENGTH))
        );
    }
}

fn title(stage: Stage, shape: &Shape<'_>) -> String {
    let mut title = match shape.spans {
        1 => escape(&clip(&shape.first.name, NAME_LENGTH)).into_owned(),
        n => {
            let ends = [shape.first, shape.last].map(|span| clip(&span.name, NAME_LENGTH / 2));
            format!("{n} × {}: {} … {}", escape(stage.name()), escape(&ends[0]), escape(&ends[1]))
        }
    };
    if shape.busy_us > 0.0 {
        let _ = write!(title, ", {}", milliseconds(shape.busy_us));
    }
    let _ = write!(title, " from {}", milliseconds(shape.first.start_us));
    if shape.bytes > 0 {
        let _ = write!(title, ", {}", bytes(shape.bytes));
    }
    title
}

/// Hundredths of a pixel are as much as anyone sees.
fn round(x: f64) -> f64 {
    (x * 100.0).round() / 100.0
}

fn milliseconds(us: f64) -> String {
    match us / 1e3 {
        ms if ms.abs() >= 100.0 => format!("{ms:.1} ms"),
        ms if ms.abs() >= 1.0 => format!("{ms:.2} ms"),
        ms => format!("{ms:.3} ms"),
    }
}

fn bytes(n: u64) -> String {
    match n {
        0..1_000 => format!("{n} B"),
        1_000..1_000_000 => format!("{:.1} kB", n as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", n as f64 / 1e6),
        _ => format!("{:.2} GB", n as f64 / 1e9),
    }
}

/// At most `length` characters: tensors' names tell most at their ends, so the middle goes.
fn clip(name: &str, length: usize) -> Cow<'_, str> {
    let count = name.chars().count();
    if count <= length {
        return name.into();
    }
    let head = (length - 1) / 2;
    let tail = length - 1 - head;
    name.chars().take(head).chain(['…']).chain(name.chars().skip(count - tail)).collect::<String>().into()
}

/// As text or attribute of XML. What XML cannot hold at all (control characters) becomes U+FFFD.
fn escape(text: &str) -> Cow<'_, str> {
    let plain = |c: char| !matches!(c, '<' | '>' | '&' | '"' | '\'' | '\0'..='\x1f' | '\u{fffe}' | '\u{ffff}');
    if text.chars().all(plain) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '&' => out += "&amp;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            c if plain(c) => out.push(c),
            _ => out.push('\u{fffd}'),
        }
    }
    out.into()
}
