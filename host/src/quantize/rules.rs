//! What becomes of each tensor.

use super::scheme::Format;
use crate::dtype::Dtype;
use crate::error::{Error, Result};

/// What is done with a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// It stays as it is, bit for bit.
    Keep,
    /// It becomes integers and scales.
    Quantize(Format),
}

/// A tensor with fewer weights is not worth scales of its own.
const LEAST: u64 = 1 << 12;

/// Rules: one for all, and exceptions by name.
///
/// Without an exception, matrices of BF16, FP16 or FP32 named `….weight` are quantized. What is no matrix (norms, biases, convolutions) or has fewer than 4096
/// weights is kept. Embeddings and `lm_head` become INT8 whatever the format of the others: they decide on single tokens, and integers that need no
/// more than a few bits take no more in the archive.
#[derive(Clone, Debug)]
pub struct Rules {
    format: Format,
    exceptions: Vec<(glob::Pattern, Rule)>,
}

impl Rules {
    /// Rules for a format, without exceptions.
    pub fn new(format: Format) -> Self {
        Self { format, exceptions: Vec::new() }
    }

    /// The format of what is neither excepted nor an embedding.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Adds an exception for tensors whose names a pattern (`*` for anything, `?` for one character, `[…]`) matches. Of several the last counts.
    ///
    /// # Errors
    /// A pattern that is none.
    pub fn except(mut self, pattern: &str, rule: Rule) -> Result<Self> {
        let parsed = glob::Pattern::new(pattern).map_err(|e| Error::argument(format!("the pattern '{pattern}': {e}")))?;
        self.exceptions.push((parsed, rule));
        Ok(self)
    }

    /// The rule for a tensor.
    ///
    /// # Errors
    /// An exception asks for what cannot be: integers of what is no matrix of floats, or has no groups.
    pub fn of(&self, name: &str, dtype: Dtype, shape: &[u64]) -> Result<Rule> {
        let exception = self.exceptions.iter().rev().find(|(pattern, _)| pattern.matches(name)).map(|&(_, rule)| rule);
        let possible = matches!(dtype, Dtype::BF16 | Dtype::F16 | Dtype::F32) && name.ends_with(".weight");
        let (rows, columns) = match *shape {
            [rows, columns] if possible && rows > 0 && columns > 0 => (rows, columns),
            _ => {
                return match exception {
                    Some(Rule::Quantize(_)) => {
                        let why = "it cannot be quantized: only matrices of BF16, FP16 or FP32 named '….weight' can";
                        Err(Error::argument(why).with_tensor(name))
                    }
                    _ => Ok(Rule::Keep),
                };
            }
        };
        let has_groups = |format: Format| format.group(columns as usize).is_some();
        match exception {
            Some(Rule::Quantize(format)) if !has_groups(format) => {
                let why = format!("its rows of {columns} weights do not divide into groups of 128, 64 or 32");
                Err(Error::argument(why).with_tensor(name))
            }
            Some(rule) => Ok(rule),
            None if rows.saturating_mul(columns) < LEAST => Ok(Rule::Keep),
            None if is_embedding(name) || is_head(name) || !has_groups(self.format) => Ok(Rule::Quantize(Format::Int8)),
            None => Ok(Rule::Quantize(self.format)),
        }
    }
}

/// Whether a tensor's rows are looked up: by the names that models give to such.
pub(crate) fn is_embedding(name: &str) -> bool {
    let module = name.strip_suffix(".weight").unwrap_or(name);
    let last = module.rsplit('.').next().unwrap_or(module);
    last.contains("embed") || matches!(last, "wte" | "wpe")
}

fn is_head(name: &str) -> bool {
    name == "lm_head.weight" || name.ends_with(".lm_head.weight")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_and_their_exceptions() {
        let rules = Rules::new(Format::Int4);
        let of = |rules: &Rules, name: &str, shape: &[u64]| rules.of(name, Dtype::BF16, shape);
        let int = Rule::Quantize;
        let cases: [(&str, &[u64], Rule); 8] = [
            ("model.layers.0.mlp.up_proj.weight", &[1536, 576], int(Format::Int4)),
            ("model.embed_tokens.weight", &[49152, 576], int(Format::Int8)),
            ("embeddings.word_embeddings.weight", &[30522, 384], int(Format::Int8)),
            ("lm_head.weight", &[49152, 576], int(Format::Int8)),
            ("model.norm.weight", &[576], Rule::Keep),
            ("conv.weight", &[64, 64, 3], Rule::Keep),
            ("small.weight", &[2, 384], Rule::Keep),
            ("odd.weight", &[1000, 77], int(Format::Int8)),
        ];
        for (name, shape, rule) in cases {
            assert_eq!(of(&rules, name, shape).unwrap(), rule, "{name}");
        }
        assert_eq!(rules.of("a.weight", Dtype::I8, &[100, 100]).unwrap(), Rule::Keep);
        let rules = rules.except("*.0.*", Rule::Keep).unwrap().except("*up_proj*", int(Format::Int8)).unwrap();
        assert_eq!(of(&rules, "model.layers.0.mlp.up_proj.weight", &[1536, 576]).unwrap(), int(Format::Int8));
        assert_eq!(of(&rules, "model.layers.0.mlp.gate_proj.weight", &[1536, 576]).unwrap(), Rule::Keep);
        let rules = rules.except("*norm*", int(Format::Int8)).unwrap();
        assert!(of(&rules, "model.norm.weight", &[576]).unwrap_err().to_string().contains("model.norm.weight"));
        let rules = rules.except("odd*", int(Format::Int4)).unwrap();
        assert!(of(&rules, "odd.weight", &[1000, 77]).unwrap_err().to_string().contains("77"));
        assert!(Rules::new(Format::Int8).except("[", Rule::Keep).is_err());
    }
}
