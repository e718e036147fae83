//! The page: one file, nothing from elsewhere.

use super::charts::{self, MEDIUM, NARROW, STYLES, WIDE, escape, heat, percent, planes, rate, sizes, speed};
use super::{Group, Report};
use std::fmt::Write;

const CSS: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

pub(crate) fn write(report: &Report) -> String {
    let mut out = String::new();
    let title = format!("{}: wcodec baseline", report.subject.model);
    let _ = write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{}</title>\n\
         <link rel=\"icon\" href=\"data:,\">\n<style>\n{CSS}</style>\n</head>\n<body>\n<main>\n",
        escape(&title)
    );
    header(&mut out, report);
    cards(&mut out, report);
    summary(&mut out, report);
    size_section(&mut out, report);
    speed_section(&mut out, report);
    heat_section(&mut out, report);
    plane_section(&mut out, report);
    method(&mut out, report);
    let _ = write!(
        out,
        "<footer>wcodec {}, decoding with {}; a machine of {} threads; the run took {:.0} s.</footer>\n</main>\n\
         <script>\n{SCRIPT}</script>\n</body>\n</html>\n",
        report.version,
        escape(report.backend),
        report.threads,
        report.seconds
    );
    out
}

fn header(out: &mut String, report: &Report) {
    let subject = &report.subject;
    let quant = subject.quant.unwrap_or("as stored");
    let lead = if subject.synthetic {
        "A synthetic checkpoint: the real model&#39;s shapes and names, random weights distributed as real ones are. What it says of ratios is a \
         model&#39;s guess, what it says of speed is measured."
    } else {
        "A real checkpoint, every tensor measured."
    };
    let _ = write!(
        out,
        "<header>\n<p class=\"eyebrow\">wcodec baseline</p>\n<h1>{}, {}</h1>\n<p class=\"lead\">{lead}</p>\n<ul class=\"tags\">",
        escape(&subject.model),
        escape(quant)
    );
    if subject.synthetic {
        out.push_str("<li class=\"warn\">synthetic weights</li>");
    }
    if let Some(size) = subject.size {
        let _ = write!(out, "<li>size: {size}</li>");
    }
    let total = &report.total;
    let _ = write!(
        out,
        "<li>{} weights</li><li>{}</li><li>{} tensors</li><li>{} layers</li></ul>\n</header>\n",
        si(total.weights as f64, ""),
        si(total.bytes as f64, "B"),
        total.tensors,
        report.layers.len()
    );
}

/// The numbers that matter, of the first coder (wcodec's default profile, if it was not left out).
fn cards(out: &mut String, report: &Report) {
    let total = &report.total;
    let Some(first) = total.coders.first() else { return };
    let entropy = total.bounds.order0_bytes / total.bytes.max(1) as f64;
    let name = escape(&first.coder);
    let bits = first.bits_per_weight.unwrap_or(0.0);
    let stored = 8.0 * total.bytes as f64 / total.weights.max(1) as f64;
    let cards = [
        (percent(first.ratio).replace(" %", ""), "% of its size", format!("{name}; order-0 entropy {}", percent(entropy))),
        (format!("{bits:.2}"), "bits a weight", format!("instead of {stored:.2}, scales included")),
        (rate(first.decode_gb_s), "GB/s", "decoding, one thread".to_owned()),
        (rate(first.encode_gb_s), "GB/s", "encoding, one thread".to_owned()),
    ];
    out.push_str("<div class=\"cards\">\n");
    for (number, unit, what) in cards {
        let _ = writeln!(out, "<div class=\"card\"><b>{number} <small>{unit}</small></b><span>{what}</span></div>");
    }
    out.push_str("</div>\n");
}

fn summary(out: &mut String, report: &Report) {
    out.push_str("<section>\n<h2>Coders</h2>\n");
    let total = &report.total;
    out.push_str("<div class=\"scroll\"><table><thead><tr><th scope=\"col\">Coder</th>");
    for head in ["Size", "Bits a weight", "Encodes, GB/s", "Decodes, GB/s", "Measured on"] {
        let _ = write!(out, "<th scope=\"col\">{head}</th>");
    }
    out.push_str("</tr></thead><tbody>\n");
    for coder in &total.coders {
        let class = if coder.coder.starts_with("wcodec") { " class=\"own\"" } else { "" };
        let bits = coder.bits_per_weight.map_or_else(|| "–".into(), |b| format!("{b:.3}"));
        let _ = writeln!(
            out,
            "<tr{class}><th scope=\"row\">{}</th><td>{}</td><td>{bits}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            escape(&coder.coder),
            percent(coder.ratio),
            rate(coder.encode_gb_s),
            rate(coder.decode_gb_s),
            percent(coder.measured)
        );
    }
    for (name, bytes) in [("Entropy, order 0", total.bounds.order0_bytes), ("Entropy, order 1", total.bounds.order1_bytes)] {
        let bits = 8.0 * bytes / total.weights.max(1) as f64;
        let ratio = percent(bytes / total.bytes.max(1) as f64);
        let _ = writeln!(
            out,
            "<tr class=\"bound\"><th scope=\"row\">{name}</th><td>{ratio}</td><td>{bits:.3}</td><td>–</td><td>–</td><td>100.0 %</td></tr>"
        );
    }
    out.push_str("</tbody></table></div>\n");
    if !report.absent.is_empty() {
        let all: Vec<_> = report.absent.iter().map(|(name, why)| format!("{} ({})", escape(name), escape(why))).collect();
        let _ = writeln!(out, "<p class=\"note\">Not measured: {}.</p>", all.join(", "));
    }
    out.push_str("</section>\n");
}

fn size_section(out: &mut String, report: &Report) {
    out.push_str("<section>\n<h2>Size by element type and layer kind</h2>\n");
    out.push_str("<p class=\"note\">Each mark is a coder&#39;s size, each tick an entropy of byte planes. Beyond 110 % marks are at the edge.</p>\n");
    legend(out, report, true);
    let pictures =
        [(WIDE, "wide"), (MEDIUM, "medium"), (NARROW, "narrow")].map(|(width, class)| sizes::draw(report, width, class));
    let _ = write!(out, "<figure data-chart=\"sizes\">\n{}</figure>\n", pictures.concat());
    out.push_str("<details><summary>Numbers</summary><div class=\"scroll\"><table><thead><tr><th scope=\"col\">Tensors</th><th scope=\"col\">Bytes</th>");
    for coder in &report.total.coders {
        let _ = write!(out, "<th scope=\"col\">{}</th>", escape(&coder.coder));
    }
    out.push_str("<th scope=\"col\">Order 0</th><th scope=\"col\">Order 1</th></tr></thead><tbody>\n");
    for group in std::iter::once(&report.total).chain(&report.dtypes).chain(&report.kinds) {
        size_row(out, group);
    }
    out.push_str("</tbody></table></div></details>\n</section>\n");
}

fn size_row(out: &mut String, group: &Group) {
    let _ = write!(out, "<tr><th scope=\"row\">{}</th><td>{}</td>", escape(&group.label), si(group.bytes as f64, "B"));
    let bounds = [group.bounds.order0_bytes, group.bounds.order1_bytes].map(|b| b / group.bytes.max(1) as f64);
    for ratio in group.coders.iter().map(|c| c.ratio).chain(bounds) {
        let _ = write!(out, "<td>{}</td>", percent(ratio));
    }
    out.push_str("</tr>\n");
}

fn speed_section(out: &mut String, report: &Report) {
    out.push_str("<section>\n<h2>Speed against size</h2>\n");
    out.push_str(
        "<p class=\"note\">Right is faster (a logarithmic scale), down is smaller. The line is the Pareto front: no coder is both smaller and \
         faster than those on it. Dashed: entropy of order 0.</p>\n",
    );
    legend(out, report, false);
    out.push_str("<div class=\"pair\">\n");
    for (name, heading, direction) in
        [("decode", "Decoding", speed::Direction::Decode), ("encode", "Encoding", speed::Direction::Encode)]
    {
        let wide = speed::draw(report, WIDE / 2.0 - 12.0, "wide medium", direction);
        let narrow = speed::draw(report, NARROW, "narrow", direction);
        let _ = write!(out, "<figure data-chart=\"speed-{name}\"><h3>{heading}</h3>\n{wide}{narrow}</figure>\n");
    }
    out.push_str("</div>\n<p class=\"note\">The numbers are those of the table of coders.</p>\n</section>\n");
}

fn heat_section(out: &mut String, report: &Report) {
    if report.cells.is_empty() {
        return;
    }
    let coder = escape(&report.total.coders[0].coder);
    let _ = writeln!(
        out,
        "<section>\n<h2>Bits per weight by layer</h2>\n<p class=\"note\">As {coder} stores them, scales included; column – is outside of \
         layers. Colours span what matrices have.</p>"
    );
    let pictures =
        [(WIDE, "wide"), (MEDIUM, "medium"), (NARROW, "narrow")].map(|(width, class)| heat::draw(report, width, class, 0));
    let _ = write!(out, "<figure data-chart=\"heat\">\n{}</figure>\n", pictures.concat());
    out.push_str("<details><summary>Numbers</summary><div class=\"scroll\"><table><thead><tr><th scope=\"col\">Kind</th><th scope=\"col\">Layer</th>");
    for coder in &report.total.coders {
        let _ = write!(out, "<th scope=\"col\">{}</th>", escape(&coder.coder));
    }
    out.push_str("</tr></thead><tbody>\n");
    for cell in &report.cells {
        let layer = cell.layer.map_or_else(|| "–".to_owned(), |l| l.to_string());
        let _ = write!(out, "<tr><th scope=\"row\">{}</th><td>{layer}</td>", cell.kind);
        cell.bits_per_weight.iter().for_each(|b| {
            let _ = write!(out, "<td>{b:.3}</td>");
        });
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table></div></details>\n</section>\n");
}

fn plane_section(out: &mut String, report: &Report) {
    if report.planes.is_empty() {
        return;
    }
    out.push_str("<section>\n<h2>Histograms of byte planes</h2>\n");
    out.push_str("<p class=\"note\">How often each value of a byte is there, over all tensors of a type, the high bytes first; entropies are tensor by tensor. Types that are next to nothing of the checkpoint are in the table only.</p>\n");
    out.push_str("<div class=\"planes\">\n");
    for dtype in report.dtypes.iter().filter(|d| report.is_seen(d)) {
        for plane in report.planes.iter().rev().filter(|p| p.dtype == dtype.label) {
            let _ = write!(
                out,
                "<figure data-chart=\"plane\"><h3>{}</h3><p>{:.3} bits by order 0, {:.3} by order 1; peak {}</p>\n{}</figure>\n",
                escape(&planes::title(plane)),
                plane.order0_bits,
                plane.order1_bits,
                percent(planes::peak(plane)),
                planes::draw(plane)
            );
        }
    }
    out.push_str(
        "</div>\n<details><summary>Numbers</summary><div class=\"scroll\"><table><thead><tr><th scope=\"col\">Plane</th>",
    );
    for head in ["Bytes", "Different values", "Order 0, bits", "Order 1, bits"] {
        let _ = write!(out, "<th scope=\"col\">{head}</th>");
    }
    out.push_str("</tr></thead><tbody>\n");
    for plane in &report.planes {
        let _ = writeln!(
            out,
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{:.4}</td><td>{:.4}</td></tr>",
            escape(&planes::title(plane)),
            si(plane.counts.iter().sum::<u64>() as f64, "B"),
            plane.counts.iter().filter(|&&n| n > 0).count(),
            plane.order0_bits,
            plane.order1_bits
        );
    }
    out.push_str("</tbody></table></div></details>\n</section>\n");
}

fn method(out: &mut String, report: &Report) {
    out.push_str("<section>\n<h2>How it was measured</h2>\n<ul class=\"method\">\n");
    let synthetic = "Weights are Student&#39;s t with log-normal spreads of rows, columns and layers, fitted for each kind of tensor to SmolLM2-135M \
                     (biases: MiniLM-L6). Structure that larger models have beyond that, outlier columns above all, is not there.";
    let items = [
        "Every stored tensor is encoded and decoded by itself, in memory, on one thread, and what comes back is compared. A GB is 1e9 \
         uncompressed bytes. Times of small tensors are medians.",
        "Coders that are too slow for whole tensors get the middle of each; sizes are scaled up. The table says on how much they were measured.",
        "wcodec&#39;s sizes count its tables and checksums with each tensor, not the header that a checkpoint has once: for vectors of a few hundred numbers that is most of their size. The other coders keep no \
         record of names, shapes or checksums of tensors.",
        "Entropies are of planes (a byte of each element) by themselves, with a histogram for each tensor: order 0 knows how often a value is \
         there, order 1 which came before it. They are corrected for small samples and pay nothing for histograms; planes of less than 65,536 bytes have no order 1 of their own. A coder that knows more, \
         such as which row a weight is in, can be smaller.",
        "Matrices of layers are quantized; embeddings, the head, routers, norms and biases stay BF16, and so do rows that a format&#39;s groups \
         do not divide.",
    ];
    let all = items.into_iter().chain(report.subject.synthetic.then_some(synthetic));
    all.for_each(|item| {
        let _ = writeln!(out, "<li>{item}</li>");
    });
    out.push_str("</ul>\n</section>\n");
}

/// Coders' marks and, if asked for, entropies' ticks.
fn legend(out: &mut String, report: &Report, bounds: bool) {
    out.push_str("<ul class=\"legend\">");
    for (n, coder) in report.total.coders.iter().enumerate() {
        let (d, style) = (charts::shape(n, 8.0, 8.0, 5.0), n % STYLES);
        let name = escape(&coder.coder);
        let _ = write!(
            out,
            "<li><svg viewBox=\"0 0 16 16\" aria-hidden=\"true\"><path d=\"{d}\" class=\"c{style}\"/></svg>{name}</li>"
        );
    }
    for (n, name) in ["entropy, order 0", "entropy, order 1"].into_iter().enumerate().filter(|_| bounds) {
        let _ = write!(
            out,
            "<li><svg viewBox=\"0 0 16 16\" aria-hidden=\"true\"><path d=\"M8 1V15\" class=\"bound{n}\"/></svg>{name}</li>"
        );
    }
    out.push_str("</ul>\n");
}

/// `8.03 G`, with a unit.
fn si(value: f64, unit: &str) -> String {
    let mut value = value;
    let mut prefix = "";
    for next in ["k", "M", "G", "T"] {
        if value < 999.5 {
            break;
        }
        value /= 1000.0;
        prefix = next;
    }
    let digits = if prefix.is_empty() { 0 } else { 1 };
    format!("{value:.digits$} {prefix}{unit}").trim_end().to_owned()
}
