//! The picture: divergence from the reference against bits a weight. SVG without script, style sheet or font of its own.

use super::labels::{Area, Taken};
use super::{Method, Point};
use crate::Peer;
use std::fmt::Write;
use wcodec::quantize::Format;

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 600.0;
/// Where curves are.
const PLOT: Area = [84.0, 56.0, WIDTH - 24.0, HEIGHT - 58.0];
/// Of a label's letters, at 13 pixels: height, and width on average.
const LETTER: (f64, f64) = (15.0, 6.9);
const GREY: &str = "#57606a";
/// What is less is drawn as this: a format that is as good as exact has no place on a logarithmic axis.
const LEAST: f64 = 1e-7;

/// Okabe and Ito's colours, which the colour-blind can tell apart, in the order in which methods are named.
fn style(method: Method) -> (&'static str, Mark) {
    match method {
        Method::Quantized(Format::Int4) => ("#56b4e9", Mark::Circle),
        Method::Quantized(_) => ("#0072b2", Mark::Circle),
        Method::Uniform => ("#e69f00", Mark::Circle),
        Method::Peer(Peer::Q4_0 | Peer::Q5_0 | Peer::Q6K | Peer::Q8_0) => ("#d55e00", Mark::Square),
        Method::Peer(_) => ("#009e73", Mark::Diamond),
        Method::Reference => (GREY, Mark::Circle),
    }
}

#[derive(Clone, Copy)]
enum Mark {
    Circle,
    Square,
    Diamond,
}

impl Mark {
    fn draw(self, (x, y): (f64, f64), colour: &str) -> String {
        match self {
            Self::Circle => format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"{colour}\"/>"),
            Self::Square => {
                format!("<rect x=\"{:.1}\" y=\"{:.1}\" width=\"9\" height=\"9\" fill=\"{colour}\"/>", x - 4.5, y - 4.5)
            }
            Self::Diamond => format!("<path d=\"M{x:.1} {:.1}l6 6l-6 6l-6 -6z\" fill=\"{colour}\"/>", y - 6.0),
        }
    }
}

/// From numbers to pixels.
struct Axes {
    bits: [f64; 2],
    /// Decimal logarithms.
    divergence: [f64; 2],
}

impl Axes {
    fn of(points: &[&Point]) -> Self {
        let bounds = |of: &dyn Fn(&Point) -> f64| {
            let all = points.iter().map(|p| of(p));
            [all.clone().fold(f64::INFINITY, f64::min), all.fold(f64::NEG_INFINITY, f64::max)]
        };
        let bits = bounds(&|p| p.bits_per_weight);
        let divergence = bounds(&|p| log(p.comparison.divergence));
        // From a 1, 2 or 5 to another.
        let (low, high) = (divergence[0].floor(), divergence[1].ceil());
        let down = TICKS.into_iter().map(|t| low + f64::log10(t)).filter(|&v| v <= divergence[0]).fold(low, f64::max);
        let up = TICKS.into_iter().map(|t| high - 1.0 + f64::log10(t)).filter(|&v| v >= divergence[1]).fold(high, f64::min);
        Self { bits: [(2.0 * bits[0]).floor() / 2.0, (2.0 * bits[1] + 0.2).ceil() / 2.0], divergence: [down, up.max(down + 0.3)] }
    }

    fn x(&self, bits: f64) -> f64 {
        PLOT[0] + (bits - self.bits[0]) / (self.bits[1] - self.bits[0]) * (PLOT[2] - PLOT[0])
    }

    fn y(&self, log: f64) -> f64 {
        PLOT[3] - (log - self.divergence[0]) / (self.divergence[1] - self.divergence[0]) * (PLOT[3] - PLOT[1])
    }

    fn place(&self, point: &Point) -> (f64, f64) {
        (self.x(point.bits_per_weight), self.y(log(point.comparison.divergence)))
    }
}

const TICKS: [f64; 3] = [1.0, 2.0, 5.0];

fn log(divergence: f64) -> f64 {
    divergence.max(LEAST).log10()
}

/// Draws the points but for the reference: those of a method that makes any size as a line, the others with their names. Empty if there are none.
pub fn svg(title: &str, points: &[Point]) -> String {
    let points: Vec<&Point> = points.iter().filter(|p| p.method != Method::Reference).collect();
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{HEIGHT}\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
         font-family=\"Helvetica, Arial, 'DejaVu Sans', sans-serif\" font-size=\"13\" fill=\"#24292f\">\n\
         <title>Loss against size</title>\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n\
         <text x=\"20\" y=\"30\" font-size=\"17\" font-weight=\"bold\">{}</text>\n",
        escape(title)
    );
    if !points.is_empty() {
        draw(&mut out, &points);
    }
    out += "</svg>\n";
    out
}

fn draw(out: &mut String, points: &[&Point]) {
    let axes = Axes::of(points);
    grid(out, &axes);
    let mut methods: Vec<Method> = Vec::new();
    for point in points {
        if !methods.iter().any(|m| m.name() == point.method.name()) {
            methods.push(point.method);
        }
    }
    let mut taken = Taken::default();
    taken.area(legend(out, &methods));
    for &method in methods.iter().filter(|m| m.is_line()) {
        let mut line: Vec<&&Point> = points.iter().filter(|p| p.method == method).collect();
        line.sort_by(|a, b| a.bits_per_weight.total_cmp(&b.bits_per_weight));
        let places: Vec<(f64, f64)> = line.iter().map(|p| axes.place(p)).collect();
        let path: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
        let colour = style(method).0;
        let _ = writeln!(out, "<path d=\"M{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>", path.join("L"));
        taken.line(&places);
    }
    for point in points {
        let (x, y) = axes.place(point);
        let (colour, mark) = style(point.method);
        let _ = writeln!(out, "{}", mark.draw((x, y), colour));
        taken.area([x - 5.0, y - 5.0, x + 5.0, y + 5.0]);
    }
    for point in points.iter().filter(|p| !p.method.is_line()) {
        let (x, y) = axes.place(point);
        let size = (LETTER.1 * point.name.chars().count() as f64, LETTER.0);
        let [left, top, right, bottom] = taken.place((x, y), size, PLOT);
        // Where it is not beside its mark, a line leads there.
        let (to_x, to_y) = (x.clamp(left, right), y.clamp(top, bottom));
        if (to_x - x).hypot(to_y - y) > 14.0 {
            let _ = writeln!(out, "<path d=\"M{x:.1} {y:.1}L{to_x:.1} {to_y:.1}\" stroke=\"{GREY}\" stroke-width=\"0.7\"/>");
        }
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            (left + right) / 2.0,
            bottom - 3.5,
            escape(&point.name)
        );
    }
}

fn grid(out: &mut String, axes: &Axes) {
    let [left, top, right, bottom] = PLOT;
    let mut bits = axes.bits[0];
    while bits <= axes.bits[1] + 1e-9 {
        let x = axes.x(bits);
        let whole = bits.fract() == 0.0;
        let colour = if whole { "#d0d7de" } else { "#eaeef2" };
        let _ = writeln!(out, "<path d=\"M{x:.1} {top}V{bottom}\" stroke=\"{colour}\"/>");
        if whole {
            let _ =
                writeln!(out, "<text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\" fill=\"{GREY}\">{bits}</text>", bottom + 19.0);
        }
        bits += 0.5;
    }
    // Of more than three decades only the powers of ten have their numbers written.
    let many = axes.divergence[1] - axes.divergence[0] > 3.0;
    for decade in axes.divergence[0].floor() as i32..=axes.divergence[1].ceil() as i32 {
        for tick in 1..10 {
            let value = f64::from(decade) + f64::from(tick).log10();
            if value < axes.divergence[0] - 1e-9 || value > axes.divergence[1] + 1e-9 {
                continue;
            }
            let y = axes.y(value);
            let colour = if tick == 1 { "#d0d7de" } else { "#eaeef2" };
            let _ = writeln!(out, "<path d=\"M{left} {y:.1}H{right}\" stroke=\"{colour}\"/>");
            if tick == 1 || !many && TICKS.contains(&f64::from(tick)) {
                let digits = (-decade).max(0) as usize;
                let number = format!("{:.digits$}", f64::from(tick) * 10f64.powi(decade));
                let _ = writeln!(
                    out,
                    "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"{GREY}\">{number}</text>",
                    left - 8.0,
                    y + 4.5
                );
            }
        }
    }
    let (middle_x, middle_y) = ((left + right) / 2.0, (top + bottom) / 2.0);
    let _ = writeln!(
        out,
        "<text x=\"{middle_x}\" y=\"{}\" text-anchor=\"middle\">bits a weight, everything included</text>\n\
         <text transform=\"translate(20 {middle_y}) rotate(-90)\" text-anchor=\"middle\">divergence from the reference, nats a token</text>",
        bottom + 42.0
    );
}

/// Which colour and mark is which method's, in the upper right corner, where no curve leads: the area that it takes.
fn legend(out: &mut String, methods: &[Method]) -> Area {
    let longest = methods.iter().map(|m| m.name().chars().count()).max().unwrap_or(0);
    let (width, height) = (LETTER.1 * longest as f64 + 52.0, 20.0 * methods.len() as f64 + 10.0);
    let [left, top] = [PLOT[2] - width - 8.0, PLOT[1] + 8.0];
    let _ = writeln!(
        out,
        "<rect x=\"{left:.1}\" y=\"{top}\" width=\"{width:.1}\" height=\"{height}\" fill=\"#ffffff\" stroke=\"#d0d7de\"/>"
    );
    for (i, &method) in methods.iter().enumerate() {
        let y = top + 15.0 + 20.0 * i as f64;
        let (colour, mark) = style(method);
        if method.is_line() {
            let _ = writeln!(out, "<path d=\"M{:.1} {y}h28\" stroke=\"{colour}\" stroke-width=\"2\"/>", left + 8.0);
        }
        let _ = writeln!(
            out,
            "{}<text x=\"{:.1}\" y=\"{}\">{}</text>",
            mark.draw((left + 22.0, y), colour),
            left + 44.0,
            y + 4.5,
            escape(method.name())
        );
    }
    [left, top, left + width, top + height]
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::super::csv::tests::point;
    use super::*;

    #[test]
    fn axes_reach_all_points() {
        let points = [
            point("a", Method::Uniform, 2.61, 0.73),
            point("b", Method::Peer(Peer::Q8_0), 8.5, 0.00031),
            point("exact", Method::Peer(Peer::Int8), 8.0, 0.0),
        ];
        let axes = Axes::of(&points[..2].iter().collect::<Vec<_>>());
        assert_eq!(axes.bits, [2.5, 9.0]);
        assert!((axes.divergence[0] - 0.0002f64.log10()).abs() < 1e-9 && axes.divergence[1].abs() < 1e-9);
        let axes = Axes::of(&points.iter().collect::<Vec<_>>());
        assert_eq!(axes.divergence[0], -7.0);
        for point in &points {
            let (x, y) = axes.place(point);
            assert!((PLOT[0]..=PLOT[2]).contains(&x) && (PLOT[1]..=PLOT[3]).contains(&y), "{} {x} {y}", point.name);
        }
    }

    #[test]
    fn lines_for_methods_and_names_for_peers() {
        let mut points = vec![point("reference", Method::Reference, 16.0, 0.0)];
        points.extend([3.0, 4.0, 5.0].map(|b| point("p", Method::Quantized(Format::Int8), b, 4f64.powf(-b))));
        points.extend(Peer::ALL.map(|peer| point(peer.name(), Method::Peer(peer), 4.5, 0.01)));
        let picture = svg("a < b", &points);
        assert!(picture.contains("a &lt; b") && picture.ends_with("</svg>\n"));
        assert_eq!(picture.matches("stroke-width=\"2\"").count(), 2, "a line and its key");
        // Points and their key.
        assert_eq!(picture.matches("<circle").count(), 4);
        assert!(Peer::ALL.iter().all(|peer| picture.contains(&format!(">{}</text>", peer.name()))));
        assert!(svg("nothing", &points[..1]).contains("</svg>"));
    }
}
