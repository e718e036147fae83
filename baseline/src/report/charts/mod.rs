//! The charts, a file each, and what they draw with. Every chart is drawn for wide and for narrow pages, of which one is shown: pictures that
//! are scaled have text that is too small or too large.

pub(super) mod heat;
pub(super) mod planes;
pub(super) mod sizes;
pub(super) mod speed;

use std::fmt::Write;

/// Widths of a page's column on a desk, on a tablet and on a telephone, in pixels; `page.css` says which is shown.
pub(super) const WIDE: f64 = 920.0;
/// See [`WIDE`].
pub(super) const MEDIUM: f64 = 620.0;
/// See [`WIDE`].
pub(super) const NARROW: f64 = 320.0;
/// Colours and shapes that coders have; more share them.
pub(super) const STYLES: usize = 10;

/// A picture in the making.
pub(super) struct Svg {
    width: f64,
    height: f64,
    body: String,
}

/// Where a text is anchored.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

impl Svg {
    pub(super) fn new(width: f64, height: f64) -> Self {
        Self { width, height, body: String::new() }
    }

    pub(super) fn line(&mut self, from: (f64, f64), to: (f64, f64), class: &str) {
        let ((x1, y1), (x2, y2)) = (from, to);
        let _ = writeln!(self.body, "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" class=\"{class}\"/>");
    }

    pub(super) fn text(&mut self, x: f64, y: f64, anchor: Anchor, class: &str, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let text = escape(text);
        let _ = writeln!(self.body, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" class=\"{class}\">{text}</text>");
    }

    pub(super) fn path(&mut self, d: &str, class: &str, title: &str) {
        let _ = writeln!(self.body, "<path d=\"{d}\" class=\"{class}\"><title>{}</title></path>", escape(title));
    }

    /// The mark of a coder.
    pub(super) fn mark(&mut self, coder: usize, (x, y): (f64, f64), radius: f64, title: &str) {
        let d = shape(coder, x, y, radius);
        let style = coder % STYLES;
        self.path(&d, &format!("mark c{style}"), title);
    }

    pub(super) fn raw(&mut self, svg: &str) {
        self.body += svg;
    }

    /// The picture, with what those hear who cannot see it. `class` chooses pages: `wide`, `medium`,
    /// `narrow`, or all if it is empty.
    pub(super) fn finish(self, class: &str, title: &str, description: &str) -> String {
        let Self { width, height, body } = self;
        format!(
            "<svg class=\"chart {class}\" viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" aria-label=\"{title}\">\n\
             <title>{title}</title><desc>{description}</desc>\n{body}</svg>\n",
            title = escape(title),
            description = escape(description)
        )
    }
}

/// The outline of a coder's mark.
pub(super) fn shape(coder: usize, x: f64, y: f64, r: f64) -> String {
    let polygon = |points: &[(f64, f64)]| {
        let points: Vec<_> = points.iter().map(|(dx, dy)| format!("{:.1} {:.1}", x + dx * r, y + dy * r)).collect();
        format!("M{}Z", points.join("L"))
    };
    match coder % STYLES {
        0 => format!("M{:.1} {y:.1}a{r:.1} {r:.1} 0 1 0 {:.1} 0a{r:.1} {r:.1} 0 1 0 {:.1} 0Z", x - r, 2.0 * r, -2.0 * r),
        1 => polygon(&[(0.0, -1.25), (1.25, 0.0), (0.0, 1.25), (-1.25, 0.0)]),
        2 => polygon(&[(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)]),
        3 => polygon(&[(0.0, -1.15), (1.1, 0.85), (-1.1, 0.85)]),
        4 => polygon(&[(0.0, 1.15), (1.1, -0.85), (-1.1, -0.85)]),
        5 => polygon(&[(-1.15, 0.0), (0.85, -1.1), (0.85, 1.1)]),
        6 => polygon(&[(1.15, 0.0), (-0.85, -1.1), (-0.85, 1.1)]),
        7 => polygon(&[(-0.5, -1.1), (0.5, -1.1), (0.5, 1.1), (-0.5, 1.1)]),
        8 => polygon(&[(-1.1, -0.5), (1.1, -0.5), (1.1, 0.5), (-1.1, 0.5)]),
        _ => polygon(&[(0.0, -1.2), (1.1, -0.3), (0.7, 1.0), (-0.7, 1.0), (-1.1, -0.3)]),
    }
}

/// Text for a page.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// About what a text of small print takes.
pub(super) fn text_width(text: &str) -> f64 {
    6.4 * text.chars().count() as f64
}

/// Ends of an axis and the steps between, about `count` of them.
pub(super) fn steps(low: f64, high: f64, count: f64) -> (f64, f64, f64) {
    let rough = ((high - low) / count).max(1e-9);
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|f| f * power).into_iter().find(|s| *s >= rough * 0.999).unwrap_or(rough);
    ((low / step).floor() * step, (high / step).ceil() * step, step)
}

/// `66.5 %`.
pub(super) fn percent(ratio: f64) -> String {
    format!("{:.1} %", 100.0 * ratio)
}

/// A speed with three digits.
pub(super) fn rate(gb_s: f64) -> String {
    match gb_s {
        v if v >= 10.0 => format!("{v:.1}"),
        v if v >= 1.0 => format!("{v:.2}"),
        v => format!("{v:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_round_steps() {
        assert_eq!(steps(61.0, 99.0, 5.0), (60.0, 100.0, 10.0));
        assert_eq!(steps(0.0, 1.0, 4.0), (0.0, 1.0, 0.5));
        let (low, high, step) = steps(3.0, 3.0, 5.0);
        assert!(low <= 3.0 && high >= 3.0 && step > 0.0);
    }

    #[test]
    fn texts_are_escaped() {
        assert_eq!(escape("<b a=\"1\">&'\u{1}"), "&lt;b a=&quot;1&quot;&gt;&amp;&#39;\u{fffd}");
    }
}
