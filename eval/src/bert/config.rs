//! `config.json` of a BERT, and which tensors follow from it.

use crate::Result;
use serde::Deserialize;

/// The hyperparameters of a BERT, by Hugging Face's names.
#[derive(Clone, Debug, Deserialize)]
pub struct BertConfig {
    /// The width of a token's vector.
    pub hidden_size: usize,
    /// The width of the feed-forward part.
    pub intermediate_size: usize,
    /// The number of layers.
    pub num_hidden_layers: usize,
    /// The number of heads.
    pub num_attention_heads: usize,
    /// The number of tokens.
    pub vocab_size: usize,
    /// The longest text, in tokens.
    pub max_position_embeddings: usize,
    /// The number of kinds of text, of which a sentence alone is the first.
    pub type_vocab_size: usize,
    /// What keeps a norm from dividing by zero.
    pub layer_norm_eps: f64,
    model_type: String,
    #[serde(default)]
    hidden_act: Option<String>,
    #[serde(default)]
    position_embedding_type: Option<String>,
}

impl BertConfig {
    /// Reads a configuration.
    ///
    /// # Errors
    /// Another architecture, or a variant that would be computed wrongly.
    pub fn from_json(text: &[u8]) -> Result<Self> {
        let config: Self = serde_json::from_slice(text)?;
        if config.model_type != "bert" {
            return Err(format!("the model is a {:?}, not a bert", config.model_type).into());
        }
        let (hidden, heads) = (config.hidden_size, config.num_attention_heads);
        if [hidden, config.intermediate_size, config.vocab_size, config.max_position_embeddings].contains(&0) {
            let sizes = "hidden_size, intermediate_size, vocab_size and max_position_embeddings";
            return Err(format!("{sizes} cannot be 0").into());
        }
        if heads == 0 || !hidden.is_multiple_of(heads) || config.type_vocab_size == 0 {
            return Err(format!("{hidden} elements do not divide among {heads} heads, or there is no kind of text").into());
        }
        for (what, found, known) in
            [("activation", &config.hidden_act, "gelu"), ("kind of positions", &config.position_embedding_type, "absolute")]
        {
            if let Some(other) = found.as_ref().filter(|found| *found != known) {
                return Err(format!("the {what} {other:?} is not handled, only {known:?}").into());
            }
        }
        Ok(config)
    }

    /// The tensors that the model reads, with their shapes.
    pub fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let (hidden, inner) = (self.hidden_size, self.intermediate_size);
        let embedding = |part: &str, rows| (format!("embeddings.{part}_embeddings.weight"), vec![rows, hidden]);
        let mut tensors = vec![
            embedding("word", self.vocab_size),
            embedding("position", self.max_position_embeddings),
            embedding("token_type", self.type_vocab_size),
        ];
        // A matrix has a bias for each of its rows, a norm's weights are one to an element.
        let mut with_bias = |name: String, shape: Vec<usize>| {
            tensors.push((format!("{name}.bias"), vec![shape[0]]));
            tensors.push((format!("{name}.weight"), shape));
        };
        with_bias("embeddings.LayerNorm".to_owned(), vec![hidden]);
        for layer in 0..self.num_hidden_layers {
            let mut part = |part: &str, shape: &[usize]| with_bias(format!("encoder.layer.{layer}.{part}"), shape.to_vec());
            for matrix in ["attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"] {
                part(matrix, &[hidden, hidden]);
            }
            part("attention.output.LayerNorm", &[hidden]);
            part("intermediate.dense", &[inner, hidden]);
            part("output.dense", &[hidden, inner]);
            part("output.LayerNorm", &[hidden]);
        }
        tensors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_be_computed_wrongly_is_refused() {
        let config = crate::bert::SyntheticBert::SMALL.config();
        assert_eq!(BertConfig::from_json(config.as_bytes()).expect("reads").tensors().len(), 5 + 2 * 16);
        for (from, to) in [
            ("\"bert\"", "\"roberta\""),
            ("\"gelu\"", "\"relu\""),
            ("\"absolute\"", "\"relative_key\""),
            ("heads\": 4", "heads\": 3"),
        ] {
            let other = config.replace(from, to);
            assert!(other != config && BertConfig::from_json(other.as_bytes()).is_err(), "{to}");
        }
        for key in ["hidden_size", "intermediate_size", "vocab_size", "max_position_embeddings"] {
            let mut other: serde_json::Value = serde_json::from_str(&config).expect("JSON");
            other[key] = 0.into();
            assert!(BertConfig::from_json(other.to_string().as_bytes()).is_err(), "{key}");
        }
    }
}
