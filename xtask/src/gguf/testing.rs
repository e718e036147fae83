//! A writer of small files for the tests.

/// The parts of a file.
pub(super) struct Builder {
    version: u32,
    values: Vec<Vec<u8>>,
    tensors: Vec<Vec<u8>>,
    data: Vec<u8>,
}

impl Default for Builder {
    fn default() -> Self {
        Self { version: 3, values: Vec::new(), tensors: Vec::new(), data: Vec::new() }
    }
}

impl Builder {
    /// Sets the version.
    pub(super) fn version(mut self, version: u32) -> Self {
        self.version = version;
        self
    }

    /// Adds a key with a value of a type, given its bytes.
    pub(super) fn value(mut self, key: &str, kind: u32, bytes: &[u8]) -> Self {
        self.values.push([&text(key)[..], &kind.to_le_bytes(), bytes].concat());
        self
    }

    /// Adds a key with a string.
    pub(super) fn string(self, key: &str, value: &str) -> Self {
        self.value(key, 8, &text(value))
    }

    /// Adds a key with a `u32`.
    pub(super) fn number(self, key: &str, value: u32) -> Self {
        self.value(key, 4, &value.to_le_bytes())
    }

    /// Adds a key with a `f32`.
    pub(super) fn real(self, key: &str, value: f32) -> Self {
        self.value(key, 6, &value.to_le_bytes())
    }

    /// Adds a key with an array of strings.
    pub(super) fn strings(self, key: &str, values: &[&str]) -> Self {
        let elements = values.iter().flat_map(|value| text(value)).collect::<Vec<u8>>();
        self.value(key, 9, &[&8u32.to_le_bytes()[..], &(values.len() as u64).to_le_bytes(), &elements].concat())
    }

    /// Adds a key with an array of `i32`.
    pub(super) fn numbers(self, key: &str, values: &[i32]) -> Self {
        let elements = values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
        self.value(key, 9, &[&5u32.to_le_bytes()[..], &(values.len() as u64).to_le_bytes(), &elements].concat())
    }

    /// Adds a tensor; the dimensions are in the file's order, innermost first.
    pub(super) fn tensor(mut self, name: &str, dimensions: &[u64], format: u32, bytes: &[u8]) -> Self {
        self.data.resize(self.data.len().next_multiple_of(32), 0);
        let mut row = [&text(name)[..], &(dimensions.len() as u32).to_le_bytes()].concat();
        row.extend(dimensions.iter().flat_map(|d| d.to_le_bytes()));
        row.extend(format.to_le_bytes());
        row.extend((self.data.len() as u64).to_le_bytes());
        self.tensors.push(row);
        self.data.extend_from_slice(bytes);
        self
    }

    /// Adds a tensor of `f32` elements.
    pub(super) fn floats(self, name: &str, dimensions: &[u64], values: &[f32]) -> Self {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.tensor(name, dimensions, 0, &bytes)
    }

    /// The file's bytes; the last tensor ends them.
    pub(super) fn build(self) -> Vec<u8> {
        let mut bytes = [&b"GGUF"[..], &self.version.to_le_bytes()].concat();
        bytes.extend((self.tensors.len() as u64).to_le_bytes());
        bytes.extend((self.values.len() as u64).to_le_bytes());
        bytes.extend(self.values.concat());
        bytes.extend(self.tensors.concat());
        bytes.resize(bytes.len().next_multiple_of(32), 0);
        bytes.extend(self.data);
        bytes
    }
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}
