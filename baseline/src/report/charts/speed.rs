//! Speed against size, and the coders that no other beats in both.

use super::{Anchor, Svg, percent, rate, steps, text_width};
use crate::report::{Report, Total};

/// Which speed.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Direction {
    Decode,
    Encode,
}

struct Point<'a> {
    coder: usize,
    total: &'a Total,
    speed: f64,
    at: (f64, f64),
}

/// A rectangle: left, top, right, bottom.
type Area = [f64; 4];

pub(crate) fn draw(report: &Report, width: f64, class: &str, direction: Direction) -> String {
    let height = 344.0;
    let (left, right, top, bottom) = (44.0, width - 16.0, 32.0, height - 46.0);
    let speed = |t: &Total| if direction == Direction::Decode { t.decode_gb_s } else { t.encode_gb_s };
    let totals = || report.total.coders.iter().filter(|t| speed(t) > 0.0);
    let entropy = report.total.bounds.order0_bytes / report.total.bytes.max(1) as f64;
    let low = totals().map(speed).fold(f64::INFINITY, f64::min).clamp(1e-4, 1e3);
    let high = totals().map(speed).fold(0.0, f64::max).max(low);
    // Room at both ends for marks and their names.
    let (from, to) = ((low.log10() - 0.2).floor().max(-5.0), (high.log10() + 0.15).ceil());
    let ratios = || totals().map(|t| t.ratio).chain([entropy]);
    let (least, most) = (ratios().fold(f64::INFINITY, f64::min), ratios().fold(0.0, f64::max));
    let (least, most, step) = steps(100.0 * least - 0.5, 100.0 * most + 0.5, 6.0);
    let x = |speed: f64| left + (right - left) * ((speed.max(1e-6).log10() - from) / (to - from)).clamp(0.0, 1.0);
    let y = |ratio: f64| bottom - (bottom - top) * ((100.0 * ratio - least) / (most - least)).clamp(0.0, 1.0);

    let mut svg = Svg::new(width, height);
    let mut tick = least;
    while tick <= most + 1e-6 {
        svg.line((left, y(tick / 100.0)), (right, y(tick / 100.0)), "grid");
        svg.text(left - 8.0, y(tick / 100.0) + 4.0, Anchor::End, "small", &format!("{}", (tick * 10.0).round() / 10.0));
        tick += step;
    }
    for decade in from as i32..=to as i32 {
        let value = 10f64.powi(decade);
        svg.line((x(value), top), (x(value), bottom), "grid");
        svg.text(x(value), bottom + 17.0, Anchor::Middle, "small", &format!("{value}"));
    }
    let what = if direction == Direction::Decode { "decoding" } else { "encoding" };
    svg.text(f64::midpoint(left, right), height - 9.0, Anchor::Middle, "small", &format!("{what}, GB/s on one thread"));
    svg.text(left - 36.0, 12.0, Anchor::Start, "small", "size, %");
    let line = y(entropy);
    svg.path(&format!("M{left:.1} {line:.1}H{right:.1}"), "bound0", &format!("entropy of order 0: {}", percent(entropy)));

    let points: Vec<Point<'_>> = report
        .total
        .coders
        .iter()
        .enumerate()
        .filter(|(_, t)| speed(t) > 0.0)
        .map(|(coder, total)| Point { coder, total, speed: speed(total), at: (x(speed(total)), y(total.ratio)) })
        .collect();
    let front = front(&points);
    let steps: Vec<_> = front.iter().map(|p| p.at).collect();
    if let Some(((x0, y0), rest)) = steps.split_first() {
        let mut d = format!("M{x0:.1} {y0:.1}");
        rest.iter().for_each(|(x, y)| d += &format!("H{x:.1}V{y:.1}"));
        svg.path(&d, "front", "No coder is both smaller and faster than these");
    }
    for point in points.iter().rev() {
        let title = format!("{}: {}, {} GB/s", point.total.coder, percent(point.total.ratio), rate(point.speed));
        svg.mark(point.coder, point.at, 6.0, &title);
    }
    for (point, (place, anchor)) in points.iter().zip(labels(&points, [left, top, right, bottom], line)) {
        let class = if point.coder < 2 { "name own" } else { "name" };
        svg.text(place.0, place.1, anchor, class, &point.total.coder);
    }
    let names: Vec<_> = front.iter().map(|p| p.total.coder.as_str()).collect();
    let description =
        format!("Speed to the right on a logarithmic scale, size upwards. On the Pareto front: {}.", names.join(", "));
    svg.finish(class, &format!("Size against speed of {what}"), &description)
}

/// Those that no other beats in both, from the fastest on.
fn front<'a, 'b>(points: &'b [Point<'a>]) -> Vec<&'b Point<'a>> {
    let mut all: Vec<_> = points.iter().collect();
    all.sort_by(|a, b| b.speed.total_cmp(&a.speed).then(a.total.ratio.total_cmp(&b.total.ratio)));
    let mut best = f64::INFINITY;
    all.retain(|p| {
        let is_better = p.total.ratio < best;
        best = best.min(p.total.ratio);
        is_better
    });
    all
}

/// Where names go: beside their mark where nothing else is, further off where it must be.
fn labels(points: &[Point<'_>], frame: Area, line: f64) -> Vec<((f64, f64), Anchor)> {
    let mut taken: Vec<Area> = points.iter().map(|p| [p.at.0 - 8.0, p.at.1 - 8.0, p.at.0 + 8.0, p.at.1 + 8.0]).collect();
    taken.push([frame[0], line - 1.0, frame[2], line + 1.0]);
    let mut places = Vec::new();
    for (n, point) in points.iter().enumerate() {
        let ((x, y), width) = (point.at, text_width(&point.total.coder) * if point.coder < 2 { 1.12 } else { 1.0 } + 8.0);
        let beside =
            [(10.0, 4.0, Anchor::Start), (-10.0, 4.0, Anchor::End), (0.0, -11.0, Anchor::Middle), (0.0, 20.0, Anchor::Middle)];
        let further = (1..12).flat_map(|k| {
            let d = 13.0 * f64::from(k);
            [
                (8.0, 4.0 - d, Anchor::Start),
                (8.0, 4.0 + d, Anchor::Start),
                (-8.0, 4.0 - d, Anchor::End),
                (-8.0, 4.0 + d, Anchor::End),
            ]
        });
        let area = |(dx, dy, anchor): (f64, f64, Anchor)| {
            let from = match anchor {
                Anchor::Start => x + dx,
                Anchor::Middle => x + dx - width / 2.0,
                Anchor::End => x + dx - width,
            };
            [from, y + dy - 11.0, from + width, y + dy + 3.0]
        };
        let free = |candidate: &(f64, f64, Anchor)| {
            let a = area(*candidate);
            let inside = a[0] >= frame[0] && a[1] >= frame[1] && a[2] <= frame[2] + 10.0 && a[3] <= frame[3];
            inside && taken.iter().enumerate().all(|(m, b)| m == n || !overlap(&a, b))
        };
        let place = beside.into_iter().chain(further).find(free).unwrap_or(beside[0]);
        taken.push(area(place));
        places.push(((x + place.0, y + place.1), place.2));
    }
    places
}

fn overlap(a: &Area, b: &Area) -> bool {
    a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3]
}
