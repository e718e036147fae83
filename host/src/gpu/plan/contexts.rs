//! What streams with contexts need on the device, once each: for a tensor of a batch the tables of its contexts, for rows and columns of its
//! tiles their classes.

use super::{CLASSES, NOWHERE, Plan, Stage, Tile};
use crate::container::base_contexts::BaseContexts;
use crate::container::block_contexts::{BlockContexts, SCALES, STEP};
use crate::container::contexts::{Contexts, leading};
use crate::container::grid::TileRect;
use crate::cpu::tile::{check_contexts, check_plane};
use crate::filter::Filter;
use crate::gpu::context::Kernel;
use std::collections::BTreeMap;
use std::sync::Arc;
use wcodec_device::job::{CONTEXTS, ContextSet, EXPANDED_BYTES, TileJob};

/// Classes begin on this many bytes, so that four columns' are one load.
const CLASS_ALIGN: usize = 4;

/// What tells the contexts of a tile's symbols.
#[derive(Clone, Copy)]
pub(in crate::gpu) enum TileContexts<'a> {
    /// Classes of its rows and columns, and where in the tensor it is.
    Classes(&'a Arc<Contexts>, TileRect),
    /// The scales of its blocks.
    Scales(&'a BlockContexts),
    /// The classes of a filtered tile's blocks, and the bands of coefficients.
    Bands(&'a Filter),
    /// The base's exponents.
    Base(&'a BaseContexts),
}

/// Whether plane `p` of a tile may be coded with contexts.
pub(super) fn check(tile: &Tile<'_>, p: usize) -> Result<(), &'static str> {
    let classes = match &tile.contexts {
        Some(TileContexts::Scales(contexts)) => return check_plane(&contexts.planes, p),
        Some(TileContexts::Bands(_)) => return Ok(()),
        Some(TileContexts::Base(contexts)) => return check_plane(&contexts.planes, p),
        Some(TileContexts::Classes(contexts, _)) => Some(&***contexts),
        None => None,
    };
    check_contexts(tile.layout, tile.planes, classes, p)
}

impl Plan {
    /// When, and by which kernel and job, plane `p` of a tile is decoded, which may be coded with `contexts`; the tile's planes lie `at` these
    /// places, and the map of contexts, if it has one already, at `map`.
    pub(super) fn in_contexts(
        &mut self,
        tile: &Tile<'_>,
        contexts: &TileContexts<'_>,
        p: usize,
        at: &[u64; 64],
        map: u64,
        job: TileJob,
    ) -> (Stage, Kernel, TileJob) {
        match contexts {
            TileContexts::Classes(contexts, rect) => {
                let deep = (p != leading(tile.layout)).then(|| at[leading(tile.layout)]);
                let stage = if deep.is_some() { Stage::Second } else { Stage::First };
                let (kernel, job) = self.sets.job(contexts, *rect, tile.layout.record_bytes(), deep, job);
                (stage, kernel, job)
            }
            TileContexts::Bands(filter) => {
                let set = self.sets.mapped(filter.tables_of(p), 0);
                (Stage::First, Kernel::Mapped, TileJob { planes: [map, NOWHERE, NOWHERE], set, ..job })
            }
            TileContexts::Base(contexts) => {
                let set = self.sets.mapped(&contexts.planes[p], contexts.bias as i32);
                (Stage::First, Kernel::Mapped, TileJob { planes: [map, NOWHERE, NOWHERE], set, ..job })
            }
            TileContexts::Scales(contexts) if p < SCALES => {
                let set = self.sets.mapped(&contexts.planes[p], contexts.bias as i32);
                (Stage::Second, Kernel::Mapped, TileJob { planes: [at[STEP], NOWHERE, NOWHERE], set, ..job })
            }
            TileContexts::Scales(contexts) => {
                let set = self.sets.mapped(&contexts.planes[p], 0);
                let width = tile.layout.plane_bytes(p, 1) as u32;
                let map = self.map_scales(&[at[0], at[1], at[2], at[3]], width, job.elements / width);
                (Stage::Numbers, Kernel::Mapped, TileJob { planes: [map, NOWHERE, NOWHERE], set, ..job })
            }
        }
    }
}

/// The contexts of a batch's tensors.
#[derive(Default)]
pub(in crate::gpu) struct Sets {
    known: BTreeMap<*const Contexts, (u32, Arc<Contexts>)>,
    /// Sets of mapped contexts, by their tables and bias.
    mapped: BTreeMap<(Vec<u16>, i32), u32>,
    /// Where classes lie: by set, and the first row (or column, `true`).
    kept: BTreeMap<(u32, bool, u64), u64>,
    /// Where tables that are expanded lie, by their position in the pool.
    places: BTreeMap<u16, u32>,
    pub sets: Vec<ContextSet>,
    /// Tables to expand, by position in the pool.
    pub tables: Vec<u32>,
    /// Classes of rows and of columns, a byte each.
    pub classes: Vec<u8>,
}

impl Sets {
    /// The kernel and the job of a plane with contexts, `job` being that of any stream that goes to scratch memory. `deep`: where the
    /// leading plane lies, for the one under it.
    pub(super) fn job(
        &mut self,
        contexts: &Arc<Contexts>,
        rect: TileRect,
        record: usize,
        deep: Option<u64>,
        job: TileJob,
    ) -> (Kernel, TileJob) {
        let set = self.set(contexts);
        let columns = rect.width / record;
        let rows_at = self.keep((set, false, rect.row), &contexts.rows, rect.rows);
        let columns_at = self.keep((set, true, rect.column / record as u64), &contexts.columns, columns);
        let planes = [deep.unwrap_or(NOWHERE), rows_at, columns_at];
        let kernel = if deep.is_some() { Kernel::Deep } else { Kernel::Contexts };
        (kernel, TileJob { planes, columns: columns as u32, set, ..job })
    }

    /// The set of a tensor's contexts.
    fn set(&mut self, contexts: &Arc<Contexts>) -> u32 {
        if let Some((set, _)) = self.known.get(&Arc::as_ptr(contexts)) {
            return *set;
        }
        let set = self.sets.len() as u32;
        let places = ContextSet {
            tables: self.places(&contexts.tables),
            deep: self.places(&contexts.deep),
            last: contexts.tables.len() as u32 - 1,
            deep_last: (contexts.deep.len() as u32).saturating_sub(1),
            units: contexts.units as u32,
            bias: contexts.bias,
        };
        self.sets.push(places);
        // As long as the contexts are held, no others have their address.
        self.known.insert(Arc::as_ptr(contexts), (set, contexts.clone()));
        set
    }

    /// The set of contexts that are mapped: a context's table, and what is above it in the map.
    fn mapped(&mut self, tables: &[u16], bias: i32) -> u32 {
        let key = (tables.to_vec(), bias);
        if let Some(set) = self.mapped.get(&key) {
            return *set;
        }
        let set = self.sets.len() as u32;
        let last = tables.len() as u32 - 1;
        let set_of = ContextSet { tables: self.places(tables), deep: [0; CONTEXTS], last, deep_last: 0, units: 0, bias };
        self.sets.push(set_of);
        self.mapped.insert(key, set);
        set
    }

    /// Where `n` of the classes will lie, from that on which `key` ends with.
    fn keep(&mut self, key: (u32, bool, u64), classes: &[u8], n: usize) -> u64 {
        // A tile's rows are as many as the grid says, and so are those of all tiles that begin there.
        *self.kept.entry(key).or_insert_with(|| {
            let at = self.classes.len();
            self.classes.extend_from_slice(&classes[key.2 as usize..][..n]);
            self.classes.resize(self.classes.len().next_multiple_of(CLASS_ALIGN), 0);
            CLASSES | at as u64
        })
    }

    /// Where the tables of contexts will lie; the last one's for those that there are not.
    fn places(&mut self, numbers: &[u16]) -> [u32; CONTEXTS] {
        let mut places = [0; CONTEXTS];
        for (i, place) in places.iter_mut().enumerate() {
            let Some(number) = numbers.get(i).or(numbers.last()) else { break };
            *place = *self.places.entry(*number).or_insert_with(|| {
                self.tables.push(*number as u32);
                (self.tables.len() as u32 - 1) * EXPANDED_BYTES
            });
        }
        places
    }

    /// Bytes that the expanded tables take.
    pub(in crate::gpu) fn expanded_bytes(&self) -> usize {
        self.tables.len() * EXPANDED_BYTES as usize
    }

    pub(in crate::gpu) fn is_empty(&self) -> bool {
        self.sets.is_empty()
    }
}
