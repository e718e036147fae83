//! Numbers to categories and planes of bits.

use super::Form;

/// A tile's parts: categories, one a byte; signs; planes of refinement from the highest bit down. Bits are packed, the first lowest.
pub(crate) type Parts = Vec<Vec<u8>>;

/// Splits numbers (whole elements) into `parts`, which are made to fit.
pub(crate) fn pack(form: Form, elements: &[u8], parts: &mut Parts) {
    parts.resize_with(2 + form.planes(), Vec::new);
    let Some((categories, planes)) = parts.split_first_mut() else { unreachable!("resized") };
    let mut words = Vec::new();
    self::words(form, elements, &mut words);
    categories.clear();
    categories.extend(words.iter().map(|&w| form.category(w)));
    for (plane, packed) in planes.iter_mut().enumerate() {
        packed.clear();
        if let Form::Float { .. } = form {
            let shift = form.position(0, plane);
            packed.extend(words.chunks(8).map(|run| run.iter().rev().fold(0, |byte, w| byte << 1 | (w >> shift) as u8 & 1)));
            continue;
        }
        let having = words.iter().zip(&*categories).filter(|&(_, &c)| form.has(c, plane));
        for (i, (&word, &c)) in having.enumerate() {
            let bit = (word >> form.position(c, plane)) as u8 & 1;
            if i % 8 == 0 {
                packed.push(0);
            }
            if let Some(last) = packed.last_mut() {
                *last |= bit << (i % 8);
            }
        }
    }
}

/// Appends the words of elements.
pub(super) fn words(form: Form, elements: &[u8], out: &mut Vec<u32>) {
    match form.bytes() {
        1 => out.extend(elements.iter().map(|&e| form.word(e as u32))),
        2 => out.extend(elements.as_chunks::<2>().0.iter().map(|&e| form.word(u16::from_le_bytes(e) as u32))),
        _ => out.extend(elements.as_chunks::<4>().0.iter().map(|&e| form.word(u32::from_le_bytes(e)))),
    }
}
