//! The table: a line for each model (RFC 4180, but for line ends).

use super::Point;
use std::fmt::Write;

/// Intervals are half the width of those of 95 %.
const HEAD: &str = "name,method,bytes,bits_per_weight,ratio_to_flat_int8,perplexity,perplexity_increase_percent,\
                    perplexity_interval_percent,top1_accuracy_percent,accuracy_difference_pp,accuracy_interval_pp,\
                    same_token_percent,divergence_nats\n";

/// Points as CSV, after a line that names the columns.
pub fn csv(points: &[Point]) -> String {
    let mut out = HEAD.to_owned();
    for p in points {
        let [increase, increase_off] = p.comparison.perplexity_increase.map(|v| 100.0 * v);
        let [gain, gain_off] = p.comparison.accuracy_gain.map(|v| 100.0 * v);
        let _ = writeln!(
            out,
            "{},{},{},{:.4},{:.4},{:.4},{increase:.4},{increase_off:.4},{:.4},{gain:.4},{gain_off:.4},{:.3},{:.7}",
            field(&p.name),
            field(p.method.name()),
            p.bytes,
            p.bits_per_weight,
            p.ratio,
            p.evaluation.perplexity,
            100.0 * p.evaluation.accuracy,
            100.0 * p.comparison.agreement,
            p.comparison.divergence,
        );
    }
    out
}

/// A field, in quotes where it must be.
fn field(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::curve::Method;
    use crate::{Comparison, Evaluation, Peer};

    pub(crate) fn point(name: &str, method: Method, bits_per_weight: f64, divergence: f64) -> Point {
        Point {
            name: name.into(),
            method,
            bytes: (bits_per_weight * 1e6) as u64,
            bits_per_weight,
            ratio: bits_per_weight / 8.0,
            evaluation: Evaluation { tokens: 100, perplexity: 20.5, accuracy: 0.25 },
            comparison: Comparison {
                agreement: 0.9,
                accuracy_gain: [-0.01, 0.002],
                perplexity_increase: [0.05, 0.004],
                divergence,
            },
        }
    }

    #[test]
    fn columns_are_what_their_names_say() {
        let peer = Method::Peer(Peer::Int4WithInt8);
        let text = csv(&[point("reference", Method::Reference, 16.0, 0.0), point(Peer::Int4WithInt8.name(), peer, 4.0, 0.0625)]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        let names: Vec<&str> = lines[0].split(',').collect();
        assert_eq!(names.len(), 13);
        let values: Vec<&str> = lines[1].split(',').collect();
        let of = |name: &str| values[names.iter().position(|n| *n == name).expect("a column")];
        assert_eq!((of("name"), of("method"), of("bytes")), ("reference", "reference", "16000000"));
        assert_eq!((of("bits_per_weight"), of("ratio_to_flat_int8"), of("perplexity")), ("16.0000", "2.0000", "20.5000"));
        assert_eq!((of("perplexity_increase_percent"), of("perplexity_interval_percent")), ("5.0000", "0.4000"));
        assert_eq!((of("top1_accuracy_percent"), of("accuracy_difference_pp")), ("25.0000", "-1.0000"));
        assert_eq!((of("accuracy_interval_pp"), of("same_token_percent")), ("0.2000", "90.000"));
        assert!(lines[2].starts_with("\"INT4 g128, embedding INT8\",round to nearest,4000000,4.0000,"));
        assert!(lines[2].ends_with(",0.0625000"));
    }
}
