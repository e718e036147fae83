//! The `quantization_config` of compressed-tensors, which says how a checkpoint's modules are quantized.

use super::rules::is_embedding;
use super::scheme::Format;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A module: its name without `.weight`, and the format and group of its weights if they are quantized.
pub(crate) struct Module {
    pub name: String,
    pub format: Option<(Format, usize)>,
}

impl Module {
    /// The class that the engines know it by.
    fn class(&self) -> &'static str {
        if is_embedding(&self.name) { "Embedding" } else { "Linear" }
    }
}

/// The configuration for these modules, which are all that a class of targets might include.
pub(crate) fn quantization_config(modules: &[Module]) -> Value {
    let mut schemes: BTreeMap<(Format, Option<usize>), Vec<&Module>> = BTreeMap::new();
    for module in modules {
        if let Some((format, group)) = module.format {
            let group = (format == Format::Int4).then_some(group);
            schemes.entry((format, group)).or_default().push(module);
        }
    }
    // A class is named in the scheme that most of its modules have; the others of it are named one by one, which takes precedence.
    let class_of = |class: &str| {
        let count = |members: &[&Module]| members.iter().filter(|m| m.class() == class).count();
        schemes.iter().filter(|(_, members)| count(members) > 0).max_by_key(|(_, members)| count(members)).map(|(key, _)| *key)
    };
    let (linear, embedding) = (class_of("Linear"), class_of("Embedding"));
    let mut groups = serde_json::Map::new();
    for (number, (key, members)) in schemes.iter().enumerate() {
        let whole = |class: &str| if class == "Linear" { linear == Some(*key) } else { embedding == Some(*key) };
        let mut targets: Vec<&str> = ["Linear", "Embedding"].into_iter().filter(|class| whole(class)).collect();
        targets.extend(members.iter().filter(|m| !whole(m.class())).map(|m| m.name.as_str()));
        groups.insert(format!("group_{number}"), group(*key, &targets));
    }
    let mut ignore: Vec<&str> = Vec::new();
    for module in modules.iter().filter(|m| m.format.is_none()) {
        let targeted = if module.class() == "Linear" { linear } else { embedding };
        if targeted.is_some() {
            ignore.push(&module.name);
        }
    }
    // A head that is the embedding has no tensor of its own.
    if linear.is_some() && !modules.iter().any(|m| m.name == "lm_head" || m.name.ends_with(".lm_head")) {
        ignore.push("lm_head");
    }
    let mut formats: Vec<&str> = schemes.keys().map(|(format, _)| stored_as(*format)).collect();
    formats.dedup();
    json!({
        "quant_method": "compressed-tensors",
        "quantization_status": "compressed",
        "format": if let [one] = formats[..] { one } else { "mixed-precision" },
        "config_groups": groups,
        "ignore": ignore,
        "kv_cache_scheme": null,
    })
}

/// The name of how integers are stored.
fn stored_as(format: Format) -> &'static str {
    match format {
        Format::Int8 => "int-quantized",
        Format::Int4 => "pack-quantized",
    }
}

fn group((format, group): (Format, Option<usize>), targets: &[&str]) -> Value {
    json!({
        "targets": targets,
        "format": stored_as(format),
        "input_activations": null,
        "output_activations": null,
        "weights": {
            "num_bits": format.bits(),
            "type": "int",
            "symmetric": true,
            "strategy": if group.is_some() { "group" } else { "channel" },
            "group_size": group,
            "dynamic": false,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(name: &str, format: Option<(Format, usize)>) -> Module {
        Module { name: name.into(), format }
    }

    #[test]
    fn one_scheme_names_classes() {
        let int8 = Some((Format::Int8, 576));
        let modules = [module("model.embed_tokens", int8), module("model.layers.0.mlp.up_proj", int8), module("skipped", None)];
        let config = quantization_config(&modules);
        assert_eq!(config["format"], "int-quantized");
        assert_eq!(config["ignore"], json!(["skipped", "lm_head"]));
        let group = &config["config_groups"]["group_0"];
        assert_eq!(group["targets"], json!(["Linear", "Embedding"]));
        assert_eq!(group["weights"]["strategy"], "channel");
        assert_eq!(config["config_groups"].as_object().unwrap().len(), 1);
    }

    #[test]
    fn exceptions_are_named() {
        let modules = [
            module("model.embed_tokens", Some((Format::Int8, 576))),
            module("a", Some((Format::Int4, 128))),
            module("b", Some((Format::Int4, 128))),
            module("c", Some((Format::Int4, 64))),
            module("lm_head", Some((Format::Int8, 576))),
        ];
        let config = quantization_config(&modules);
        let groups = &config["config_groups"];
        assert_eq!(config["format"], "mixed-precision");
        assert_eq!(groups["group_0"]["targets"], json!(["Embedding", "lm_head"]));
        assert_eq!(groups["group_1"]["targets"], json!(["c"]));
        assert_eq!(groups["group_2"]["targets"], json!(["Linear"]));
        assert_eq!(groups["group_2"]["weights"]["group_size"], 128);
        assert_eq!(config["ignore"], json!([]));
    }
}
