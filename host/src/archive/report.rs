//! What an archive is made of, for people to read.

use super::decode::EMPTY_PLANE;
use super::{Archive, Directory, Tensor};
use crate::container::contexts;
use crate::error::Result;
use serde::Serialize;
use std::collections::BTreeSet;
use wcodec_device::layout::PlaneMode;

/// How a plane is coded in a tensor's tiles.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PlaneReport {
    /// Tiles in which the plane is kept as it is.
    pub raw: u64,
    /// Tiles in which it is one byte repeated.
    pub constant: u64,
    /// Tiles in which it is coded byte by byte.
    pub bytes: u64,
    /// Tiles in which it is coded by pairs of exponents.
    pub pairs: u64,
    /// Tiles in which it is coded byte by byte, each with the table of its context.
    pub contexts: u64,
    /// Tiles of a blob that are deflated.
    pub deflated: u64,
    /// Patches in all tiles.
    pub patches: u64,
    /// Different frequency tables in use.
    pub tables: BTreeSet<u16>,
}

/// What a tensor is made of.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct TensorReport {
    /// Its name.
    pub name: String,
    /// Its element type, as the source spelt it.
    pub dtype: String,
    /// Its shape.
    pub shape: Vec<u64>,
    /// Decoded bytes.
    pub bytes: u64,
    /// Bytes in the archive: segment and tile directory.
    pub coded_bytes: u64,
    /// `coded_bytes / bytes` (0 for an empty tensor).
    pub ratio: f64,
    /// Coded bits for each element (0 for an empty tensor, or where the element's size is not known).
    pub bits_per_weight: f64,
    /// Tiles.
    pub tiles: u64,
    /// Rows and bytes a row of a tile.
    pub tile: (u64, u64),
    /// Tiles whose elements were predicted or transformed.
    pub filtered: u64,
    /// Its planes, in order.
    pub planes: Vec<PlaneReport>,
    /// How it follows from the base's tensor: `same`, `xor`, `subtract`; none without a base.
    pub base: Option<&'static str>,
    /// Whether its numbers' lowest bits are told by a trellis.
    pub trellis: bool,
    /// Whether its planes are those of a progressive archive: categories, signs, bits from the highest down. The other reports' planes are
    /// bytes of elements.
    pub progressive: bool,
}

impl Tensor<'_> {
    /// Reads the tensor's tile directory and sums it up.
    pub fn report(&self) -> Result<TensorReport> {
        let entry = self.entry;
        let directory = self.directory()?;
        let tiles = entry.tiles();
        let (mut planes, filtered) = self.plane_reports(&directory);
        let mut coded_bytes = entry.record.segment_len + entry.directory_len();
        for plane in self.refinements() {
            planes.extend(plane.plane_reports(&plane.directory()?).0);
            coded_bytes += plane.entry.record.segment_len + plane.entry.directory_len();
        }
        let bytes = self.byte_len();
        let elements = entry.dtype.elements(bytes).unwrap_or(0);
        let per = |n: f64, d: u64| if d == 0 { 0.0 } else { n / d as f64 };
        Ok(TensorReport {
            name: entry.name.to_string(),
            dtype: entry.dtype_name.clone(),
            shape: entry.shape.clone(),
            bytes,
            coded_bytes,
            ratio: per(coded_bytes as f64, bytes),
            bits_per_weight: per(8.0 * coded_bytes as f64, elements),
            tiles,
            tile: (entry.grid.tile_rows, entry.grid.tile_row_bytes),
            filtered,
            planes,
            base: directory.difference.map(|d| d.method.name()),
            trellis: entry.has_trellis(),
            progressive: entry.is_progressive(),
        })
    }

    /// How the planes of one record are coded, and how many of its tiles are filtered.
    fn plane_reports(&self, directory: &Directory<'_>) -> (Vec<PlaneReport>, u64) {
        let (entry, tiles) = (self.entry, self.entry.tiles());
        let mut planes = vec![PlaneReport::default(); entry.planes.len()];
        let mut filtered = 0;
        for tile in 0..tiles {
            filtered += (directory.filter.is_some() && directory.filter_entry(tile)[0] != 0) as u64;
            let mut coded = [EMPTY_PLANE; 64];
            directory.read_tile(tile, entry, &mut coded);
            for (p, (report, plane)) in planes.iter_mut().zip(coded).enumerate() {
                match PlaneMode::from_u8(plane.mode) {
                    Some(PlaneMode::Raw) => report.raw += 1,
                    Some(PlaneMode::Constant) => report.constant += 1,
                    Some(PlaneMode::Bytes) => report.bytes += 1,
                    Some(PlaneMode::Pairs) => report.pairs += 1,
                    Some(PlaneMode::Deflated) => report.deflated += 1,
                    Some(PlaneMode::Contexts) => {
                        report.contexts += 1;
                        if let Some(contexts) = &directory.base_contexts {
                            report.tables.extend(&contexts.planes[p]);
                        }
                        if let Some(contexts) = &directory.block_contexts {
                            report.tables.extend(&contexts.planes[p]);
                        }
                        if let Some(filter) = &directory.filter {
                            report.tables.extend(filter.tables_of(p));
                        }
                        if let Some(contexts) = &directory.contexts {
                            let deep = Some(p) == contexts::deep(entry.layout);
                            report.tables.extend(if deep { &contexts.deep } else { &contexts.tables });
                        }
                    }
                    Some(PlaneMode::PerTile) | None => {}
                }
                report.patches += plane.patches as u64;
                if matches!(PlaneMode::from_u8(plane.mode), Some(PlaneMode::Bytes | PlaneMode::Pairs)) {
                    report.tables.insert(plane.table);
                }
            }
        }
        (planes, filtered)
    }
}

impl Archive {
    /// Reports of all tensors.
    pub fn report(&self) -> Result<Vec<TensorReport>> {
        self.tensors().map(|t| t.report()).collect()
    }
}
