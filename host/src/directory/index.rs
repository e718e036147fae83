//! `*.safetensors.index.json`: which shard holds which tensor. Pure: text in, and whether it agrees with the shards.

use super::path;
use crate::error::{Error, Result};
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use std::collections::BTreeMap;
use std::fmt;

/// An index, parsed.
#[derive(Debug, serde::Deserialize)]
pub(super) struct Index {
    /// What is said of the whole.
    #[serde(default)]
    pub metadata: Option<serde_json::Value>,
    /// The shard of each tensor.
    pub weight_map: WeightMap,
}

/// The shard of each tensor, by the tensor's name.
#[derive(Debug, Default)]
pub(super) struct WeightMap(pub BTreeMap<String, String>);

impl<'de> serde::Deserialize<'de> for WeightMap {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = WeightMap;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "an object of file names by tensor")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<WeightMap, A::Error> {
                let mut all = BTreeMap::new();
                while let Some((tensor, shard)) = map.next_entry::<String, String>()? {
                    if let Some(before) = all.insert(tensor.clone(), shard) {
                        let why =
                            format!("tensor '{}' is listed twice, first in '{}'", tensor.escape_debug(), before.escape_debug());
                        return Err(A::Error::custom(why));
                    }
                }
                Ok(WeightMap(all))
            }
        }
        d.deserialize_map(V)
    }
}

impl Index {
    /// Parses an index, and checks that its shards are files beside it.
    pub(super) fn parse(text: &[u8]) -> Result<Self> {
        let index: Self =
            serde_json::from_slice(text).map_err(|e| Error::bad_source(format!("this is no index of shards: {e}")))?;
        for shard in index.weight_map.0.values() {
            path::check(shard).map_err(|why| Error::bad_source(format!("the index names a shard badly: {why}")))?;
            if path::archive_of(shard).is_none() {
                let why = format!("the index names '{}', which is not called .safetensors", shard.escape_debug());
                return Err(Error::bad_source(why));
            }
        }
        Ok(index)
    }

    /// Shards with the number of tensors that each should have.
    pub(super) fn shards(&self) -> BTreeMap<&str, usize> {
        let mut shards = BTreeMap::new();
        for shard in self.weight_map.0.values() {
            *shards.entry(shard.as_str()).or_default() += 1;
        }
        shards
    }

    /// Whether the shards hold exactly what the index says; `shards` are those that it names, and the names of their tensors.
    pub(super) fn check(&self, shards: &BTreeMap<&str, &[String]>) -> Result<()> {
        for (shard, tensors) in shards {
            for tensor in *tensors {
                match self.weight_map.0.get(tensor) {
                    Some(listed) if listed == shard => {}
                    Some(listed) => {
                        let why = format!("it is in '{shard}', but the index says that it is in '{listed}'");
                        return Err(Error::bad_source(why).with_tensor(tensor));
                    }
                    None => {
                        let why = format!("it is in '{shard}', but the index does not list it");
                        return Err(Error::bad_source(why).with_tensor(tensor));
                    }
                }
            }
        }
        // Each tensor that was met is where it is listed, and none is twice in a shard.
        let counts = self.shards();
        for (shard, tensors) in shards {
            if counts.get(shard).copied().unwrap_or(0) != tensors.len() {
                let absent = self.weight_map.0.iter().find(|(tensor, listed)| listed == shard && !tensors.contains(tensor));
                let why = format!("the index says that it is in '{shard}', which does not have it");
                let e = Error::bad_source(why);
                return Err(absent.map_or(Error::bad_source("the index and the shards disagree"), |(t, _)| e.with_tensor(t)));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str, why: &str) {
        let said = Index::parse(text.as_bytes()).unwrap_err().to_string();
        assert!(said.contains(why), "{text}: {said}");
    }

    #[test]
    fn malformed() {
        refused("", "no index of shards");
        refused("[1]", "no index of shards");
        refused("{}", "weight_map");
        refused(r#"{"weight_map": {"a": 1}}"#, "no index of shards");
        refused(r#"{"weight_map": {"a": "x.safetensors", "a": "y.safetensors"}}"#, "listed twice");
        refused(r#"{"weight_map": {"a": "../x.safetensors"}}"#, "no file inside");
        refused(r#"{"weight_map": {"a": "/etc/x.safetensors"}}"#, "no file inside");
        refused(r#"{"weight_map": {"a": "./x.safetensors"}}"#, "no file inside");
        refused(r#"{"weight_map": {"a": "x.bin"}}"#, "not called .safetensors");
    }

    #[test]
    fn agreement() {
        let text = r#"{"metadata": {"total_size": 7}, "weight_map": {"a": "x.safetensors", "b": "x.safetensors", "c": "y.safetensors"}}"#;
        let index = Index::parse(text.as_bytes()).unwrap();
        let names = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        let check = |x: &[&str], y: &[&str]| {
            let (x, y) = (names(x), names(y));
            index.check(&BTreeMap::from([("x.safetensors", &x[..]), ("y.safetensors", &y[..])])).map_err(|e| e.to_string())
        };
        assert_eq!(check(&["a", "b"], &["c"]), Ok(()));
        assert!(
            check(&["a"], &["c"])
                .unwrap_err()
                .contains("tensor 'b': the index says that it is in 'x.safetensors', which does not")
        );
        assert!(
            check(&["a", "b", "d"], &["c"]).unwrap_err().contains("tensor 'd': it is in 'x.safetensors', but the index does not")
        );
        assert!(check(&["a"], &["b", "c"]).unwrap_err().contains("tensor 'b': it is in 'y.safetensors', but the index says"));
        assert!(check(&["a", "b"], &["b", "c"]).unwrap_err().contains("tensor 'b'"));
    }
}
