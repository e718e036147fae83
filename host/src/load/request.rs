//! What is wanted of an archive: which tensors, which slice of each, in which order.

use crate::archive::{Archive, Tensor};
use crate::directory::single::RESERVED;
use crate::error::{Error, Result};
use std::ops::Range;

/// A tensor, or a slice of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Want {
    /// Its number in the index.
    pub entry: u32,
    pub rows: Range<u64>,
    /// In bytes.
    pub columns: Range<u64>,
}

/// How a tensor is divided among the ranks of a tensor-parallel group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Split {
    /// Every rank has all of it.
    Whole,
    /// Each rank has a range of rows (output features: "column-parallel" layers such as `q_proj`, `up_proj`, embeddings by vocabulary).
    Rows,
    /// Each rank has a range of columns (input features: "row-parallel" layers such as `o_proj`, `down_proj`).
    Columns,
}

/// One rank's share: which tensors are divided, and how.
#[derive(Clone)]
pub struct Shard {
    rank: u64,
    world: u64,
    rules: Vec<(String, Split)>,
}

impl Shard {
    /// Rank `rank` of `world`. `rules` are patterns of tensor names (`*` stands for anything) and the split of the tensors that match;
    /// the first that matches counts, and tensors that none matches are whole.
    ///
    /// # Errors
    /// A rank that is not below `world`.
    pub fn new<P: Into<String>>(rank: u64, world: u64, rules: impl IntoIterator<Item = (P, Split)>) -> Result<Self> {
        if rank >= world {
            return Err(Error::argument(format!("rank {rank} of {world} does not exist")));
        }
        Ok(Self { rank, world, rules: rules.into_iter().map(|(p, s)| (p.into(), s)).collect() })
    }

    /// The rules of Llama and its kin: Mistral, Qwen, Gemma, as Hugging Face names their tensors.
    pub fn llama(rank: u64, world: u64) -> Result<Self> {
        let rows =
            ["*q_proj.*", "*k_proj.*", "*v_proj.*", "*gate_proj.*", "*up_proj.*", "*embed_tokens.weight", "lm_head.weight"];
        let columns = ["*o_proj.weight", "*down_proj.weight"];
        let rows = rows.map(|p| (p, Split::Rows));
        Self::new(rank, world, rows.into_iter().chain(columns.map(|p| (p, Split::Columns))))
    }

    fn split(&self, name: &str) -> Split {
        self.rules.iter().find(|(pattern, _)| matches(pattern, name)).map_or(Split::Whole, |(_, split)| *split)
    }

    /// This rank's part of a tensor.
    fn want(&self, asked: &Asked<'_>) -> Result<Want> {
        let tensor = &asked.tensor;
        let mut want = Want::whole(tensor);
        let fail = |why: String| tensor.place(Error::argument(why).with_tensor(asked.name));
        let share = |n: u64, what: &str| {
            if n.is_multiple_of(self.world) {
                Ok(self.rank * (n / self.world)..(self.rank + 1) * (n / self.world))
            } else {
                Err(fail(format!("{n} {what} cannot be divided among {} ranks", self.world)))
            }
        };
        let split = self.split(asked.name);
        if split != Split::Whole && asked.column_bits == 0 && !asked.shape.is_empty() {
            let why = format!("elements of {} are no whole bytes: it cannot be divided", tensor.dtype_name());
            return Err(fail(why));
        }
        match (split, asked.shape) {
            (Split::Whole, _) | (_, []) => {}
            // Several dimensions: the first is divided, and with it the rows.
            (Split::Rows, [first, .., _]) => {
                let inner = tensor.rows() / first.max(&1);
                let rows = share(*first, "rows")?;
                want.rows = rows.start * inner..rows.end * inner;
            }
            // A bias has one number for each row of its weight.
            (Split::Rows, [_]) | (Split::Columns, [_, .., _]) => {
                let columns = share(asked.columns, "columns")?;
                let bits = columns.start * asked.column_bits..columns.end * asked.column_bits;
                if !bits.start.is_multiple_of(8) || !bits.end.is_multiple_of(8) && columns.end != asked.columns {
                    return Err(fail(format!("columns {columns:?} of {} bits are no whole bytes", asked.column_bits)));
                }
                // Behind the last column there may be what fills its word up.
                if columns != (0..asked.columns) {
                    want.columns = bits.start / 8..bits.end.div_ceil(8);
                }
            }
            // The bias of a row-parallel layer is added once, after the ranks' sums.
            (Split::Columns, [_]) => {}
        }
        Ok(want)
    }
}

/// A tensor that is asked for: as it is stored, or as the model knows what is stored so.
pub(super) struct Asked<'a> {
    pub tensor: Tensor<'a>,
    /// Its name to whoever asks.
    pub name: &'a str,
    pub shape: &'a [u64],
    pub columns: u64,
    /// Bits of a column; 0 where columns are no whole bytes, nor anything else that is divided.
    pub column_bits: u64,
}

impl<'a> Asked<'a> {
    /// A tensor as it is stored.
    pub(super) fn stored(tensor: Tensor<'a>) -> Self {
        let bits = tensor.dtype().bits().unwrap_or(0) as u64;
        let column_bits = if bits.is_multiple_of(8) { bits } else { 0 };
        Self { tensor, name: tensor.name(), shape: tensor.shape(), columns: tensor.columns(), column_bits }
    }

    /// All of it, or a rank's part.
    pub(super) fn want(&self, shard: Option<&Shard>) -> Result<Want> {
        match shard {
            Some(shard) => shard.want(self),
            None => Ok(Want::whole(&self.tensor)),
        }
    }
}

/// Whether `name` is what `pattern` says, in which `*` stands for anything.
fn matches(pattern: &str, name: &str) -> bool {
    let mut pieces = pattern.split('*');
    let first = pieces.next().unwrap_or("");
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let mut last = None;
    for piece in pieces {
        if let Some(piece) = last.replace(piece) {
            let Some(at) = rest.find(piece) else { return false };
            rest = &rest[at + piece.len()..];
        }
    }
    last.map_or(rest.is_empty(), |last| rest.ends_with(last))
}

impl Want {
    fn whole(tensor: &Tensor<'_>) -> Self {
        let grid = &tensor.entry.grid;
        Self { entry: tensor.entry_number(), rows: 0..grid.rows, columns: 0..grid.row_bytes }
    }

    /// Bytes of the slice.
    pub(crate) fn bytes(&self) -> u64 {
        (self.rows.end - self.rows.start) * (self.columns.end - self.columns.start)
    }

    /// The slice's shape: the tensor's own if it is whole.
    pub(crate) fn shape(&self, tensor: &Tensor<'_>) -> Vec<u64> {
        let mut shape = tensor.shape().to_vec();
        if *self == Self::whole(tensor) {
            return shape;
        }
        if let Some((last, before)) = shape.split_last_mut() {
            *last = (self.columns.end - self.columns.start) / tensor.column_bytes();
            // Rows are all dimensions but the last: a slice of them divides the first.
            if let Some((first, inner)) = before.split_first_mut() {
                *first = (self.rows.end - self.rows.start) / inner.iter().product::<u64>().max(1);
            }
        }
        shape
    }
}

/// All that is wanted, in the order in which a model needs it: embeddings, layers from first to last, the rest; within each as in the file,
/// where reads are sequential.
pub(crate) fn wants(archive: &Archive, names: Option<&[String]>, shard: Option<&Shard>) -> Result<Vec<Want>> {
    let want = |tensor: Tensor<'_>| Ok((place(tensor.name()), Asked::stored(tensor).want(shard)?));
    let mut wants = match names {
        Some(names) => names.iter().map(|n| want(archive.tensor(n)?)).collect::<Result<Vec<_>>>()?,
        // What an archive of a directory holds beside its model's tensors is only loaded by name.
        None => archive.tensors().filter(|t| !t.name().starts_with(RESERVED)).map(want).collect::<Result<Vec<_>>>()?,
    };
    wants.sort_by_key(|(place, want)| (*place, want.entry));
    wants.dedup();
    Ok(wants.into_iter().map(|(_, want)| want).collect())
}

/// Where in a model's first pass a tensor is needed: 0 for embeddings, then each layer, then what follows them.
pub(super) fn place(name: &str) -> u64 {
    let mut parts = name.split('.').peekable();
    while let Some(part) = parts.next() {
        if matches!(part, "layers" | "h" | "layer" | "blk" | "blocks" | "block")
            && let Some(number) = parts.peek().and_then(|n| n.parse::<u32>().ok())
        {
            return 1 + number as u64;
        }
    }
    let early = ["embed", "wte", "wpe", "token_embd"];
    if early.iter().any(|e| name.contains(e)) { 0 } else { u64::MAX }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, name, yes) in [
            ("*", "", true),
            ("a", "a", true),
            ("a", "ab", false),
            ("a*", "ab", true),
            ("*b", "ab", true),
            ("*b", "ba", false),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "ac", false),
            ("*q_proj.*", "model.layers.0.self_attn.q_proj.weight", true),
            ("ab*ba", "aba", false),
        ] {
            assert_eq!(matches(pattern, name), yes, "{pattern} {name}");
        }
    }

    #[test]
    fn the_first_layer_comes_before_the_tenth() {
        let names = ["model.norm.weight", "model.layers.10.a", "model.embed_tokens.weight", "model.layers.2.a", "lm_head.weight"];
        let mut sorted = names;
        sorted.sort_by_key(|n| place(n));
        assert_eq!(sorted[..3], ["model.embed_tokens.weight", "model.layers.2.a", "model.layers.10.a"]);
        assert_eq!(place("transformer.h.3.attn"), 4);
        assert_eq!(place("blk.0.attn_q.weight"), 1);
    }
}
