//! Categories and planes of bits to numbers, and numbers made finer in place.

use super::Form;
use super::pack::words;

/// The bits of a plane.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bits<'a> {
    /// All bytes are this one.
    Constant(u8),
    Packed(&'a [u8]),
}

impl Bits<'_> {
    fn byte(self, i: usize) -> u8 {
        match self {
            Self::Constant(byte) => byte,
            Self::Packed(bytes) => bytes[i],
        }
    }
}

/// A tile's numbers while planes are added to them. Buffers are kept from tile to tile.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    words: Vec<u32>,
    categories: Vec<u8>,
}

impl Numbers {
    /// Begins with these categories.
    ///
    /// # Errors
    /// A category that the form does not have.
    pub(crate) fn begin(&mut self, form: Form, categories: &[u8]) -> Result<(), &'static str> {
        if categories.iter().fold(0, |most, &c| most.max(c)) > form.last_category() {
            return Err("a category that there is not");
        }
        self.categories.clear();
        self.categories.extend_from_slice(categories);
        self.words.clear();
        self.words.extend(categories.iter().map(|&c| form.of_category(c)));
        Ok(())
    }

    /// Begins with elements of which `planes` planes of refinement are known, in rows of whole elements.
    pub(crate) fn resume<'a>(&mut self, form: Form, planes: usize, rows: impl Iterator<Item = &'a [u8]>) {
        self.words.clear();
        rows.for_each(|row| words(form, row, &mut self.words));
        self.categories.clear();
        self.categories.extend(self.words.iter().map(|&word| form.category(word)));
        if let Form::Float { .. } = form {
            let known = form.known(0, planes);
            self.words.iter_mut().for_each(|word| *word &= known);
        } else {
            let numbers = self.words.iter_mut().zip(&self.categories);
            numbers.for_each(|(word, &c)| *word &= form.known(c, planes));
        }
    }

    /// Bytes of plane `plane` (0: the signs, then refinement).
    pub(crate) fn plane_bytes(&self, form: Form, plane: usize) -> usize {
        let bits = match form {
            Form::Float { .. } => self.categories.len(),
            Form::Integer { .. } => self.categories.iter().filter(|&&c| form.has(c, plane)).count(),
        };
        bits.div_ceil(8)
    }

    /// Adds plane `plane`, of exactly [`plane_bytes`](Self::plane_bytes) bytes.
    pub(crate) fn add(&mut self, form: Form, plane: usize, bits: Bits<'_>) {
        if matches!(bits, Bits::Constant(0)) {
            return;
        }
        if let Form::Float { .. } = form {
            let one = 1 << form.position(0, plane);
            let (runs, rest) = self.words.as_chunks_mut::<8>();
            let whole = runs.len();
            for (i, run) in runs.iter_mut().enumerate() {
                spread(bits.byte(i), one, run);
            }
            if !rest.is_empty() {
                spread(bits.byte(whole), one, rest);
            }
            return;
        }
        let mut at = 0;
        for (word, &c) in self.words.iter_mut().zip(&self.categories) {
            if form.has(c, plane) {
                *word |= ((bits.byte(at / 8) >> (at % 8) & 1) as u32) << form.position(c, plane);
                at += 1;
            }
        }
    }

    /// Writes the elements to rows, in which `planes` planes of refinement are known: the middle of its interval stands for each that
    /// is not known yet.
    pub(crate) fn finish<'a>(&self, form: Form, planes: usize, rows: impl Iterator<Item = &'a mut [u8]>) {
        match form.bytes() {
            1 => self.store::<1>(form, planes, rows),
            2 => self.store::<2>(form, planes, rows),
            _ => self.store::<4>(form, planes, rows),
        }
    }

    fn store<'a, const N: usize>(&self, form: Form, planes: usize, rows: impl Iterator<Item = &'a mut [u8]>) {
        let middle = |unknown: u32| (1u32 << unknown) >> 1;
        let mut at = 0;
        for row in rows {
            let row = row.as_chunks_mut::<N>().0;
            let numbers = self.words[at..].iter().zip(&self.categories[at..]);
            at += row.len();
            if let Form::Float { mantissa, .. } = form {
                let (middle, last) = (middle(mantissa.saturating_sub(planes as u32)), form.last_category());
                for (element, (&word, &c)) in row.iter_mut().zip(numbers) {
                    let word = word | if c == 0 || c == last { 0 } else { middle };
                    *element = low(word);
                }
            } else {
                for (element, (&word, &c)) in row.iter_mut().zip(numbers) {
                    *element = low(form.element(word | middle(form.unknown(c, planes))));
                }
            }
        }
    }
}

/// Adds `one` to those words whose bits of `byte`, the lowest first, are set.
#[inline(always)]
fn spread(byte: u8, one: u32, words: &mut [u32]) {
    const BITS: [u32; 8] = [1, 2, 4, 8, 16, 32, 64, 128];
    for (word, bit) in words.iter_mut().zip(BITS) {
        *word |= if byte as u32 & bit != 0 { one } else { 0 };
    }
}

/// A number's lower bytes.
#[inline(always)]
fn low<const N: usize>(word: u32) -> [u8; N] {
    let bytes = word.to_le_bytes();
    std::array::from_fn(|i| bytes[i])
}
