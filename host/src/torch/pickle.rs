//! An interpreter for the pickles of state dicts. It calls nothing: of all that a pickle may name it knows the few words that tensors are made of,
//! as data, and refuses every other by its name.

use crate::error::{Error, Result};
use std::collections::HashMap;

/// Dimensions of a tensor, at most.
const DIMENSIONS: usize = 64;

/// Operations at most, some sixty a tensor: each takes no more memory than a node.
const OPERATIONS: usize = 8 << 20;

/// Number of a node.
pub(super) type Id = usize;

/// What a pickle is made of. Nodes refer to each other by number: what a hostile pickle nests or ties into circles costs no stack.
#[derive(Debug)]
pub(super) enum Node {
    None,
    Int(i64),
    /// Booleans, floats, bytes: read, and never needed.
    Plain,
    Text(String),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Global(Global),
    /// What a persistent id stands for: a storage of this element type and key.
    Storage {
        dtype: &'static str,
        key: Id,
    },
    Tensor {
        storage: Id,
        dtype: &'static str,
        offset: u64,
        /// Tuples of numbers that are not negative.
        shape: Id,
        strides: Id,
    },
}

/// What may be named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Global {
    OrderedDict,
    RebuildTensor,
    RebuildTyped,
    RebuildParameter,
    Storage(&'static str),
    Dtype(&'static str),
}

/// The safetensors names of PyTorch's types, by those of their storages and their own.
const TYPES: [(&str, &str, &str); 13] = [
    ("FloatStorage", "float32", "F32"),
    ("HalfStorage", "float16", "F16"),
    ("BFloat16Storage", "bfloat16", "BF16"),
    ("DoubleStorage", "float64", "F64"),
    ("LongStorage", "int64", "I64"),
    ("IntStorage", "int32", "I32"),
    ("ShortStorage", "int16", "I16"),
    ("CharStorage", "int8", "I8"),
    ("ByteStorage", "uint8", "U8"),
    ("BoolStorage", "bool", "BOOL"),
    ("ComplexFloatStorage", "complex64", "C64"),
    ("", "float8_e4m3fn", "F8_E4M3"),
    ("", "float8_e5m2", "F8_E5M2"),
];
/// Types that have no storage of their own.
const MORE: [(&str, &str); 3] = [("uint16", "U16"), ("uint32", "U32"), ("uint64", "U64")];

impl Global {
    fn named(module: &str, name: &str) -> Result<Self> {
        let known = match (module, name) {
            ("collections", "OrderedDict") => Some(Self::OrderedDict),
            ("torch._utils", "_rebuild_tensor_v2") => Some(Self::RebuildTensor),
            ("torch._utils", "_rebuild_tensor_v3") => Some(Self::RebuildTyped),
            ("torch._utils", "_rebuild_parameter") => Some(Self::RebuildParameter),
            ("torch.storage", "UntypedStorage") => Some(Self::Storage("U8")),
            ("torch", name) => {
                let storage = TYPES.iter().find(|t| !t.0.is_empty() && t.0 == name).map(|t| Self::Storage(t.2));
                let own = TYPES.iter().find(|t| t.1 == name).map(|t| Self::Dtype(t.2));
                let more = MORE.iter().find(|t| t.0 == name).map(|t| Self::Dtype(t.1));
                storage.or(own).or(more)
            }
            _ => None,
        };
        known.ok_or_else(|| {
            let why = format!(
                "the pickle names '{module}.{name}', which is no part of a tensor and could be code: it is refused, and nothing was run"
            );
            Error::bad_source(why)
        })
    }
}

/// What a pickle came to.
pub(super) struct Unpickled {
    nodes: Vec<Node>,
    root: Id,
}

impl Unpickled {
    pub(super) fn root(&self) -> Id {
        self.root
    }

    pub(super) fn get(&self, id: Id) -> &Node {
        &self.nodes[id]
    }

    /// The numbers of a tensor's tuple.
    pub(super) fn numbers(&self, tuple: Id) -> Vec<u64> {
        numbers(&self.nodes, tuple).unwrap_or_default()
    }
}

/// Runs a pickle, every byte of which is distrusted.
pub(super) fn run(pickle: &[u8]) -> Result<Unpickled> {
    let mut machine = Machine {
        rest: pickle,
        len: pickle.len(),
        nodes: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
    };
    let root = machine.run().map_err(|e| e.inside("data.pkl"))?;
    Ok(Unpickled { nodes: machine.nodes, root })
}

/// The numbers of a tuple that holds nothing else, and no more of them than a tensor has dimensions.
fn numbers(nodes: &[Node], tuple: Id) -> Option<Vec<u64>> {
    let Node::Tuple(items) = &nodes[tuple] else { return None };
    if items.len() > DIMENSIONS {
        return None;
    }
    items.iter().map(|id| positive(nodes, *id)).collect()
}

fn positive(nodes: &[Node], id: Id) -> Option<u64> {
    match nodes[id] {
        Node::Int(n) => u64::try_from(n).ok(),
        _ => None,
    }
}

struct Machine<'a> {
    rest: &'a [u8],
    len: usize,
    nodes: Vec<Node>,
    stack: Vec<Id>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
}

impl Machine<'_> {
    fn bad(&self, why: &str) -> Error {
        Error::bad_source(format!("the pickle is damaged: {why} (byte {})", self.len - self.rest.len()))
    }

    fn take(&mut self, n: u64) -> Result<&[u8]> {
        let cut = usize::try_from(n).ok().and_then(|n| self.rest.split_at_checked(n));
        let Some((now, rest)) = cut else { return Err(self.bad("it is cut short")) };
        self.rest = rest;
        Ok(now)
    }

    fn number(&mut self, bytes: u64) -> Result<u64> {
        Ok(self.take(bytes)?.iter().rev().fold(0, |n, b| n << 8 | *b as u64))
    }

    fn line(&mut self) -> Result<String> {
        let end = self.rest.iter().position(|b| *b == b'\n').ok_or_else(|| self.bad("it is cut short"))?;
        let line = String::from_utf8_lossy(self.take(end as u64)?).into_owned();
        self.take(1)?;
        Ok(line)
    }

    fn text(&mut self, len: u64) -> Result<()> {
        let text = String::from_utf8(self.take(len)?.to_vec()).map_err(|_| self.bad("text that is not UTF-8"))?;
        self.push(Node::Text(text));
        Ok(())
    }

    fn push(&mut self, node: Node) {
        self.stack.push(self.nodes.len());
        self.nodes.push(node);
    }

    /// The top of the stack, above the last mark.
    fn pop(&mut self) -> Result<Id> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err(self.bad("it takes what is not there"));
        }
        self.stack.pop().ok_or_else(|| self.bad("it takes what is not there"))
    }

    fn top(&self) -> Result<Id> {
        self.stack.last().copied().ok_or_else(|| self.bad("it looks at what is not there"))
    }

    /// All above the last mark, which goes.
    fn pop_to_mark(&mut self) -> Result<Vec<Id>> {
        let mark = self.marks.pop().ok_or_else(|| self.bad("a mark is missing"))?;
        Ok(self.stack.split_off(mark.min(self.stack.len())))
    }

    fn tuple(&mut self, n: usize) -> Result<()> {
        let mut items = (0..n).map(|_| self.pop()).collect::<Result<Vec<_>>>()?;
        items.reverse();
        self.push(Node::Tuple(items));
        Ok(())
    }

    fn set(&mut self, pairs: &[Id]) -> Result<()> {
        let at = self.top()?;
        let Node::Dict(dict) = &mut self.nodes[at] else { return Err(self.bad("items for what is no dictionary")) };
        dict.extend(pairs.chunks_exact(2).map(|p| (p[0], p[1])));
        Ok(())
    }

    fn append(&mut self, items: Vec<Id>) -> Result<()> {
        let at = self.top()?;
        let Node::List(list) = &mut self.nodes[at] else { return Err(self.bad("items for what is no list")) };
        list.extend(items);
        Ok(())
    }

    fn remember(&mut self, at: u64) -> Result<()> {
        let top = self.top()?;
        self.memo.insert(at, top);
        Ok(())
    }

    fn recall(&mut self, at: u64) -> Result<()> {
        let id = *self.memo.get(&at).ok_or_else(|| self.bad("a memo that is not there"))?;
        self.stack.push(id);
        Ok(())
    }

    fn run(&mut self) -> Result<Id> {
        for _ in 0..OPERATIONS {
            let code = self.number(1)? as u8;
            match code {
                0x80 => drop(self.take(1)?),
                0x95 => drop(self.take(8)?),
                b'.' => return self.pop(),
                b'(' => self.marks.push(self.stack.len()),
                b'0' => drop(self.pop()?),
                b'1' => drop(self.pop_to_mark()?),
                b'2' => self.stack.push(self.top()?),
                b'N' => self.push(Node::None),
                0x88 | 0x89 => self.push(Node::Plain),
                b'J' => {
                    let n = self.number(4)? as u32 as i32;
                    self.push(Node::Int(n.into()));
                }
                b'K' | b'M' => {
                    let n = self.number(if code == b'K' { 1 } else { 2 })?;
                    self.push(Node::Int(n as i64));
                }
                0x8a => self.long()?,
                b'G' => {
                    self.take(8)?;
                    self.push(Node::Plain);
                }
                b'C' | b'B' | 0x8e | b'U' | b'T' => {
                    let len = self.number(match code {
                        b'C' | b'U' => 1,
                        0x8e => 8,
                        _ => 4,
                    })?;
                    self.take(len)?;
                    self.push(Node::Plain);
                }
                b'X' | 0x8c | 0x8d => {
                    let len = self.number(match code {
                        b'X' => 4,
                        0x8c => 1,
                        _ => 8,
                    })?;
                    self.text(len)?;
                }
                b'}' => self.push(Node::Dict(Vec::new())),
                b']' => self.push(Node::List(Vec::new())),
                b')' => self.push(Node::Tuple(Vec::new())),
                b't' | b'l' => {
                    let items = self.pop_to_mark()?;
                    self.push(if code == b't' { Node::Tuple(items) } else { Node::List(items) });
                }
                b'd' => {
                    let items = self.pop_to_mark()?;
                    self.push(Node::Dict(items.chunks_exact(2).map(|p| (p[0], p[1])).collect()));
                }
                0x85..=0x87 => self.tuple((code - 0x84) as usize)?,
                b'a' => {
                    let item = self.pop()?;
                    self.append(vec![item])?;
                }
                b'e' => {
                    let items = self.pop_to_mark()?;
                    self.append(items)?;
                }
                b's' => {
                    let (value, key) = (self.pop()?, self.pop()?);
                    self.set(&[key, value])?;
                }
                b'u' => {
                    let items = self.pop_to_mark()?;
                    self.set(&items)?;
                }
                b'q' | b'r' => {
                    let at = self.number(if code == b'q' { 1 } else { 4 })?;
                    self.remember(at)?;
                }
                0x94 => self.remember(self.memo.len() as u64)?,
                b'h' | b'j' => {
                    let at = self.number(if code == b'h' { 1 } else { 4 })?;
                    self.recall(at)?;
                }
                b'c' => {
                    let (module, name) = (self.line()?, self.line()?);
                    self.push(Node::Global(Global::named(&module, &name)?));
                }
                0x93 => {
                    let (name, module) = (self.pop()?, self.pop()?);
                    let (Node::Text(module), Node::Text(name)) = (&self.nodes[module], &self.nodes[name]) else {
                        return Err(self.bad("a global that has no name"));
                    };
                    let global = Global::named(module, name)?;
                    self.push(Node::Global(global));
                }
                b'Q' => self.storage()?,
                b'R' => self.reduce()?,
                // Attributes: `_metadata` of a state dict. They are no tensors.
                b'b' => drop(self.pop()?),
                _ => {
                    let why = format!(
                        "the pickle does what no state dict does (operation {code:#04x}): it is refused, and nothing was run"
                    );
                    return Err(Error::bad_source(why));
                }
            }
        }
        Err(Error::bad_source(format!("the pickle has more than {OPERATIONS} operations: save its tensors in several files")))
    }

    fn long(&mut self) -> Result<()> {
        let len = self.number(1)?;
        let bytes = self.take(len)?;
        let negative = bytes.last().is_some_and(|b| b & 0x80 != 0);
        let mut wide = [if negative { 0xff } else { 0 }; 8];
        if bytes.len() > 8 {
            self.push(Node::Plain);
            return Ok(());
        }
        wide[..bytes.len()].copy_from_slice(bytes);
        self.push(Node::Int(i64::from_le_bytes(wide)));
        Ok(())
    }

    /// `('storage', type, key, location, elements)`.
    fn storage(&mut self) -> Result<()> {
        let id = self.pop()?;
        if let Node::Tuple(items) = &self.nodes[id]
            && let [tag, kind, key, ..] = items[..]
            && let (Node::Text(tag), Node::Global(Global::Storage(dtype)), Node::Text(_)) =
                (&self.nodes[tag], &self.nodes[kind], &self.nodes[key])
            && tag == "storage"
        {
            let node = Node::Storage { dtype, key };
            self.push(node);
            return Ok(());
        }
        Err(self.bad("a reference to what is no storage"))
    }

    /// Calls what may be named: that is, makes the node that it stands for.
    fn reduce(&mut self) -> Result<()> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let (Node::Global(global), Node::Tuple(items)) = (&self.nodes[function], &self.nodes[arguments]) else {
            return Err(self.bad("a call of what is no function"));
        };
        match (global, &items[..]) {
            (Global::OrderedDict, []) => self.push(Node::Dict(Vec::new())),
            (Global::RebuildParameter, [data, ..]) => self.stack.push(*data),
            (Global::RebuildTensor | Global::RebuildTyped, [storage, offset, shape, strides, rest @ ..]) => {
                // What may follow: whether gradients are wanted, hooks, (the dtype,) metadata.
                let metadata = rest.get(if matches!(global, Global::RebuildTensor) { 2 } else { 3 }).map(|id| &self.nodes[*id]);
                match metadata {
                    None | Some(Node::None) => {}
                    Some(Node::Dict(items)) if items.is_empty() => {}
                    Some(_) => {
                        return Err(self.bad("a conjugate or negative view: save it with .resolve_conj().resolve_neg()"));
                    }
                }
                let dtype = match (&self.nodes[*storage], global) {
                    (Node::Storage { dtype, .. }, Global::RebuildTensor) => Some(*dtype),
                    (Node::Storage { .. }, _) => match rest.get(2).map(|id| &self.nodes[*id]) {
                        Some(Node::Global(Global::Dtype(dtype))) => Some(*dtype),
                        _ => None,
                    },
                    _ => None,
                };
                let whole = [shape, strides].iter().all(|tuple| numbers(&self.nodes, **tuple).is_some());
                let (Some(dtype), Some(offset), true) = (dtype, positive(&self.nodes, *offset), whole) else {
                    return Err(self.bad("a tensor that is none"));
                };
                let node = Node::Tensor { storage: *storage, dtype, offset, shape: *shape, strides: *strides };
                self.push(node);
            }
            _ => return Err(self.bad("a call with arguments that do not fit")),
        }
        Ok(())
    }
}
