//! A line for each tensor and coder (RFC 4180, but for line ends).

use super::Report;
use std::fmt::Write;

const HEAD: &str = "tensor,layer,kind,dtype,shape,weights,bytes,order0_bytes,order1_bytes,coder,measured_bytes,coded_bytes,ratio,\
                    bits_per_weight,encode_gb_s,decode_gb_s\n";

pub(crate) fn write(report: &Report) -> String {
    let mut out = HEAD.to_owned();
    for row in &report.tensors {
        let layer = row.layer.map(|n| n.to_string()).unwrap_or_default();
        let shape = row.shape.iter().map(u64::to_string).collect::<Vec<_>>().join("x");
        for (n, (outcome, total)) in row.outcomes.iter().zip(&report.total.coders).enumerate() {
            let coded = row.coded(n);
            let ratio = if row.bytes > 0 { coded / row.bytes as f64 } else { 1.0 };
            let bits = if row.weights > 0 { format!("{:.4}", 8.0 * coded / row.weights as f64) } else { String::new() };
            let rate = |seconds: f64| if seconds > 0.0 { outcome.bytes as f64 / 1e9 / seconds } else { 0.0 };
            let _ = writeln!(
                out,
                "{},{layer},{},{},{shape},{},{},{:.0},{:.0},{},{},{},{ratio:.5},{bits},{:.4},{:.4}",
                field(&row.name),
                row.kind,
                row.dtype,
                row.weights,
                row.bytes,
                row.bounds.order0_bytes,
                row.bounds.order1_bytes,
                field(&total.coder),
                outcome.bytes,
                outcome.coded,
                rate(outcome.encode_s),
                rate(outcome.decode_s),
            );
        }
    }
    out
}

/// A field, in quotes where it must be. A name that a spreadsheet would take for a formula is told apart by an apostrophe.
fn field(text: &str) -> String {
    let text = if text.starts_with(['=', '+', '-', '@']) { format!("'{text}") } else { text.to_owned() };
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

#[cfg(test)]
mod tests {
    use super::field;

    #[test]
    fn fields_are_quoted_where_they_must_be() {
        assert_eq!(field("model.norm.weight"), "model.norm.weight");
        assert_eq!(field("a,\"b\""), "\"a,\"\"b\"\"\"");
        assert_eq!(field("=1+1"), "'=1+1");
    }
}
