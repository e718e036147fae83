//! Size by element type and by what tensors are for: a row each, a mark for each coder, ticks for the entropies.

use super::{Anchor, NARROW, Svg, percent, steps};
use crate::report::{Group, Report};

/// What is larger is drawn at the edge: small tensors have more overhead than is worth a scale.
const LIMIT: f64 = 1.10;

pub(crate) fn draw(report: &Report, width: f64, class: &str) -> String {
    let narrow = width <= NARROW;
    let (left, right) = (if narrow { 90.0 } else { 118.0 }, width - 14.0);
    let row = if narrow { 26.0 } else { 28.0 };
    let sections =
        [("", std::slice::from_ref(&report.total)), ("By element type", &report.dtypes), ("By layer kind", &report.kinds)];
    let groups = || sections.iter().flat_map(|(_, groups)| *groups).filter(|g| g.bytes > 0);
    // What is next to nothing of the checkpoint does not stretch the scale.
    let values = || groups().filter(|g| report.is_seen(g)).flat_map(values_of);
    let low = values().fold(1.0, f64::min).min(0.99);
    let high = values().fold(low, f64::max).min(LIMIT);
    let (low, high, step) = steps(100.0 * low, 100.0 * high.max(1.0), if narrow { 4.0 } else { 9.0 });
    let high = high.min(100.0 * LIMIT);
    let x = |ratio: f64| left + (right - left) * ((100.0 * ratio - low) / (high - low)).clamp(0.0, 1.0);

    let count = groups().count();
    let top = 26.0;
    let bottom = top + row * count as f64 + 2.0 * 26.0;
    let mut svg = Svg::new(width, bottom + 40.0);
    let mut tick = low;
    while tick <= high + 1e-6 {
        let class = if (tick - 100.0).abs() < 1e-6 { "grid strong" } else { "grid" };
        svg.line((x(tick / 100.0), top - 4.0), (x(tick / 100.0), bottom), class);
        svg.text(x(tick / 100.0), bottom + 16.0, Anchor::Middle, "small", &format!("{}", (tick * 10.0).round() / 10.0));
        tick += step;
    }
    svg.text(f64::midpoint(left, right), bottom + 33.0, Anchor::Middle, "small", "size, % of the checkpoint (less is better)");
    let mut y = top;
    for (heading, groups) in sections {
        if !heading.is_empty() {
            svg.text(0.0, y + 17.0, Anchor::Start, "heading", heading);
            y += 26.0;
        }
        for group in groups.iter().filter(|g| g.bytes > 0) {
            one(&mut svg, group, y + row / 2.0, (left, right), &x);
            y += row;
        }
    }
    svg.finish(class, "Size by element type and layer kind", &description(report))
}

fn one(svg: &mut Svg, group: &Group, y: f64, (left, right): (f64, f64), x: &dyn Fn(f64) -> f64) {
    let label = if group.label == "all" { "everything" } else { &group.label };
    svg.text(left - 10.0, y + 4.0, Anchor::End, "label", label);
    svg.line((left, y), (right, y), "rail");
    for (name, bytes, class) in
        [("order 0", group.bounds.order0_bytes, "bound0"), ("order 1", group.bounds.order1_bytes, "bound1")]
    {
        let at = x(bytes / group.bytes as f64);
        let title = format!("{label}, entropy of {name}: {}", percent(bytes / group.bytes as f64));
        svg.path(&format!("M{at:.1} {:.1}V{:.1}", y - 10.0, y + 10.0), class, &title);
    }
    // The first coders, which the page is about, on top.
    for (n, total) in group.coders.iter().enumerate().rev() {
        let title = format!("{label}, {}: {}", total.coder, percent(total.ratio));
        svg.mark(n, (x(total.ratio), y), 5.0, &title);
    }
}

fn values_of(group: &Group) -> Vec<f64> {
    let bounds = [group.bounds.order0_bytes, group.bounds.order1_bytes].map(|b| b / group.bytes as f64);
    group.coders.iter().map(|t| t.ratio).chain(bounds).collect()
}

fn description(report: &Report) -> String {
    let all: Vec<_> = report.total.coders.iter().map(|t| format!("{} {}", t.coder, percent(t.ratio))).collect();
    format!(
        "A row for everything, for each element type and each kind of layer, a mark for each coder. Everything: {}.",
        all.join(", ")
    )
}
