//! Contexts of a difference: the exponent of the base's element says how large the difference may be in units of the last place.
//!
//! Parameters: contexts K, planes (bit p: plane p has contexts), 0, 0; bias (`u32`); the K tables (`u16` each) of each of these planes; zeros to a
//! multiple of 16.

use super::block_contexts::BlockContexts;
use super::contexts::{Contexts, MOST, table_numbers};
use super::grid::TileRect;
use crate::filter::Filter;
use wcodec_device::planes::Layout;

/// Most planes.
pub(crate) const PLANES: usize = 8;
/// Bytes before the tables in the parameters.
const HEAD: usize = 8;

/// How the symbols of differences find their tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct BaseContexts {
    /// Number of contexts, 1 to 64.
    pub contexts: u8,
    /// The exponent of context 0.
    pub bias: u8,
    /// Table of each context in each plane; none in planes without.
    pub planes: [Vec<u16>; PLANES],
}

impl BaseContexts {
    /// Reads what heads a directory.
    pub(crate) fn read(params: &[u8], layout: Layout, tables: usize) -> Result<Self, &'static str> {
        let (head, rest) = params.split_first_chunk::<HEAD>().ok_or("no parameters of contexts")?;
        let [contexts, mask, 0, 0, bias, 0, 0, 0] = *head else { return Err("unknown parameters of contexts") };
        let Layout::Columns(n @ 1..=8) = layout else { return Err("contexts of a difference whose layout has none") };
        if !(1..=MOST).contains(&(contexts as usize)) || mask == 0 || mask as u32 >> n != 0 {
            return Err("impossible numbers of contexts");
        }
        let numbers = table_numbers(rest, HEAD, contexts as usize * mask.count_ones() as usize, tables)?;
        let mut numbers = numbers.chunks(contexts as usize);
        let planes = std::array::from_fn(|p| match mask >> p & 1 {
            1 => numbers.next().unwrap_or_default().to_vec(),
            _ => Vec::new(),
        });
        Ok(Self { contexts, bias, planes })
    }

    /// What [`read`](Self::read) reads.
    pub(crate) fn write(&self) -> Vec<u8> {
        let mask = (0..PLANES).filter(|&p| !self.planes[p].is_empty()).fold(0, |mask, p| mask | 1 << p);
        let mut params = vec![self.contexts, mask, 0, 0, self.bias, 0, 0, 0];
        self.planes.iter().flatten().for_each(|n| params.extend(n.to_le_bytes()));
        params.resize(params.len().next_multiple_of(16), 0);
        params
    }

    /// The context of every element of a tile, given the base's bytes there.
    fn of_tile(&self, base: BaseRows<'_>, record: usize, out: &mut Vec<u8>) {
        let last = self.contexts - 1;
        out.clear();
        for row in (0..base.rows).map(|row| &base.bytes[row * base.pitch..][..base.width]) {
            out.extend(row.chunks_exact(record).map(|element| exponent(element).saturating_sub(self.bias).min(last)));
        }
    }
}

/// The eight bits below the sign of an element.
pub(crate) fn exponent(element: &[u8]) -> u8 {
    match *element {
        [.., low, high] => high << 1 | low >> 7,
        [byte] => byte << 1,
        [] => 0,
    }
}

/// The base's bytes where a tile is: `rows` of `width` bytes, `pitch` from one to the next.
#[derive(Clone, Copy)]
pub(crate) struct BaseRows<'a> {
    pub bytes: &'a [u8],
    pub pitch: usize,
    pub rows: usize,
    pub width: usize,
}

/// What tells the contexts of a tile's elements.
#[derive(Clone)]
pub(crate) enum TileContexts<'a> {
    /// Classes of its rows and columns.
    Classes(&'a Contexts, TileRect),
    /// The base.
    Base(&'a BaseContexts, BaseRows<'a>),
    /// The classes of a filtered tile's blocks: each record's number among the filter's tables of a plane.
    Blocks(&'a Filter, Vec<u8>),
    /// The scales of its blocks.
    Scales(&'a BlockContexts),
}

impl<'a> TileContexts<'a> {
    /// The tables of plane `p`, by context, and the context of each of its symbols; `None` where it cannot have any. `leading` is the leading
    /// plane, if that has contexts; `scales` are the planes of scales that blocks have, as far as plane `p` depends on them.
    pub(crate) fn of_plane(
        &self,
        p: usize,
        layout: Layout,
        leading: Option<&[u8]>,
        scales: &[Vec<u8>],
        elements: usize,
        out: &mut Vec<u8>,
    ) -> Option<&'a [u16]> {
        let tables: &'a [u16] = match *self {
            Self::Classes(c, _) if p == super::contexts::leading(layout) => &c.tables,
            Self::Classes(c, _) if Some(p) == super::contexts::deep(layout) && leading.is_some() => &c.deep,
            Self::Classes(..) => &[],
            Self::Base(c, _) => c.planes.get(p)?,
            Self::Blocks(filter, _) => filter.tables_of(p),
            Self::Scales(c) => c.planes.get(p)?,
        };
        if tables.is_empty() {
            return None;
        }
        match self {
            Self::Classes(c, rect) => {
                c.of_tile(*rect, layout.record_bytes(), out);
                if let (Some(exponents), true) = (leading, p != super::contexts::leading(layout)) {
                    c.deepen(out, exponents);
                }
            }
            Self::Base(c, rows) => c.of_tile(*rows, layout.record_bytes(), out),
            Self::Blocks(_, of) => out.clone_from(of),
            Self::Scales(c) => c.of_plane(p, layout.plane_bytes(p, 1), scales, elements, out),
        }
        Some(tables)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> BaseContexts {
        let mut planes: [Vec<u16>; PLANES] = Default::default();
        (planes[0], planes[2]) = (vec![3, 1, 2], vec![0, 9, 0]);
        BaseContexts { contexts: 3, bias: 120, planes }
    }

    #[test]
    fn what_is_written_is_read() {
        let params = sample().write();
        assert_eq!(BaseContexts::read(&params, Layout::Columns(4), 10), Ok(sample()));
        assert!(BaseContexts::read(&params, Layout::Columns(4), 9).is_err(), "a table that is not there");
        assert!(BaseContexts::read(&params, Layout::Columns(2), 10).is_err(), "a plane that is not there");
        assert!(BaseContexts::read(&params, Layout::F32, 10).is_err());
        for n in 0..params.len() {
            assert!(BaseContexts::read(&params[..n], Layout::Columns(4), 10).is_err(), "{n}");
        }
        for at in [2, 3, 5, 6, 7, 30] {
            let mut other = params.clone();
            other[at] = 1;
            assert!(BaseContexts::read(&other, Layout::Columns(4), 10).is_err(), "{at}");
        }
    }

    #[test]
    fn contexts_of_a_tile() {
        let base: Vec<u8> = [1.0f32, -4.0, 1e-9, 3e38].iter().flat_map(|x| x.to_le_bytes()).collect();
        let rows = BaseRows { bytes: &base, pitch: 8, rows: 2, width: 4 };
        let mut out = Vec::new();
        let contexts = BaseContexts { contexts: 64, bias: 120, ..sample() };
        let tables = TileContexts::Base(&contexts, rows).of_plane(2, Layout::Columns(4), None, &[], 0, &mut out);
        assert_eq!((tables, &out[..]), (Some(&[0, 9, 0][..]), &[7, 0][..]));
        assert_eq!(TileContexts::Base(&contexts, rows).of_plane(1, Layout::Columns(4), None, &[], 0, &mut out), None);
        assert_eq!([exponent(&[0x80, 0x3f]), exponent(&[0, 0xc0]), exponent(&[0x81])], [127, 128, 2]);
    }
}
