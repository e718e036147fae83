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
        self.categories.clear();
        self.words.clear();
        for row in rows {
            for word in words(form, row) {
                let c = form.category(word);
                self.categories.push(c);
                self.words.push(word & form.known(c, planes));
            }
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
            let shift = form.position(0, plane);
            for (i, run) in self.words.chunks_mut(8).enumerate() {
                let byte = bits.byte(i) as u32;
                run.iter_mut().enumerate().for_each(|(l, word)| *word |= (byte >> l & 1) << shift);
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
        let coarse = planes < form.planes();
        let mut numbers = self.words.iter().zip(&self.categories);
        for row in rows {
            for (element, (&word, &c)) in row.chunks_exact_mut(form.bytes()).zip(&mut numbers) {
                let unknown = if coarse { form.unknown(c, planes) } else { 0 };
                let word = word | (1u32 << unknown) >> 1;
                element.copy_from_slice(&form.element(word).to_le_bytes()[..form.bytes()]);
            }
        }
    }
}
