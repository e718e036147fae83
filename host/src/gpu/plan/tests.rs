//! Plans of planes that say anything: refused, or jobs that stay inside their buffers. Here planes and classes; `tools.rs`: all else.

mod memory;
mod tools;

use super::*;
use crate::container::contexts::{Contexts, leading};
use crate::container::grid::TileRect;
use memory::Memory;
use std::ops::Range;
use std::sync::Arc;
use wcodec_device::job::EXPANDED_BYTES;
use wcodec_device::layout::MAX_TILE_BYTES;

/// SplitMix64.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

/// Where the buffers are, far from each other and from 0.
const BASES: Bases = Bases { payload: 1 << 32, scratch: 2 << 32, lists: 3 << 32, classes: 5 << 32, parts: 6 << 32 };
const OUTPUT: u64 = 4 << 32;
const BASE: u64 = 7 << 32;
const TABLES: usize = 5;

/// What a plane may take of a payload: more than there is, too.
fn plane(rng: &mut Numbers, pairs: bool) -> TilePlane {
    let mode = match rng.below(200) {
        0 => rng.next() as u8,
        n if pairs => (n % 4) as u8,
        n => (n % 3) as u8,
    };
    let base = if rng.below(100) == 0 { rng.next() as u8 } else { rng.below(if mode == 3 { 2 } else { 256 }) as u8 };
    let tables = TABLES as u64 + u64::from(rng.below(50) == 0);
    let limit = if rng.below(8) == 0 { 65536 } else { 300 };
    TilePlane {
        mode,
        base,
        table: rng.below(tables) as u16,
        words: rng.below(limit) as u16,
        patches: rng.below(limit / 4) as u16,
    }
}

/// Contexts of a tensor that is larger than its tile, and where in it that is: tables that there are (reading refuses others), classes that
/// tell where they were.
fn contexts(rng: &mut Numbers, layout: Layout, rows: usize, width: usize) -> (Arc<Contexts>, TileRect) {
    let record = layout.record_bytes();
    let rect = TileRect { row: rng.below(50), rows, column: rng.below(50) * record as u64, width };
    let mut classes = |n: usize| (0..n + rng.below(9) as usize).map(|_| rng.below(16) as u8).collect::<Vec<_>>();
    let (rows, columns) = (classes(rect.row as usize + rows), classes((rect.column as usize + width) / record));
    let mut numbers =
        |least: u64| (0..least + rng.below(65 - least)).map(|_| rng.below(TABLES as u64) as u16).collect::<Vec<_>>();
    let (tables, deep) = (numbers(1), numbers(0));
    let deep = if crate::container::contexts::deep(layout).is_some() { deep } else { Vec::new() };
    let (units, bias) = (rng.next() as u8, rng.below(2 << 16) as i32 - (1 << 16));
    (Arc::new(Contexts { rows, columns, tables, deep, units, bias }), rect)
}

/// What a job of a plane with contexts names: classes of its rows and columns, tables, and what lies under it.
fn check_contexts_job(ready: &Ready, kernel: Kernel, job: &TileJob, contexts: &Contexts, rect: TileRect, record: usize) {
    let sets = &ready.sets;
    let classes = |at: u64, n: usize| &sets.classes[(at - BASES.classes) as usize..][..n];
    assert_eq!(job.columns as usize, rect.width / record);
    assert_eq!(classes(job.planes[1], rect.rows), &contexts.rows[rect.row as usize..][..rect.rows]);
    let first = rect.column as usize / record;
    assert_eq!(classes(job.planes[2], job.columns as usize), &contexts.columns[first..][..job.columns as usize]);
    assert!([job.planes[1], job.planes[2], job.output / 4].iter().all(|at| at.is_multiple_of(4)));
    let set = &sets.sets[job.set as usize];
    for (places, numbers) in [(&set.tables, &contexts.tables), (&set.deep, &contexts.deep)] {
        for (i, place) in places.iter().enumerate().filter(|_| !numbers.is_empty()) {
            let number = numbers[i.min(numbers.len() - 1)];
            assert_eq!(sets.tables[(place / EXPANDED_BYTES) as usize], u32::from(number));
            assert!(place.is_multiple_of(EXPANDED_BYTES));
        }
    }
    assert_eq!(set.last as usize + 1, contexts.tables.len());
    assert_eq!((set.units, set.bias), (u32::from(contexts.units), contexts.bias));
    if kernel == Kernel::Deep {
        assert_eq!(set.deep_last as usize + 1, contexts.deep.len());
        // The leading plane of the same tile, which an earlier launch decodes.
        let Owner { tile, part } = ready.owners[job.status as usize];
        let leading = ready.jobs.iter().find(|j| j.output == job.planes[0]).expect("nobody decodes the leading plane");
        assert_eq!((ready.owners[leading.status as usize], part), (Owner { tile, part: Part::Plane(0) }, Part::Plane(1)));
        assert_eq!((kernel_of(ready, leading), leading.elements), (Kernel::Contexts, job.elements));
    } else {
        assert_eq!(job.planes[0], 0);
    }
}

/// The kernel that takes a job.
fn kernel_of(ready: &Ready, job: &TileJob) -> Kernel {
    let i = ready.jobs.iter().position(|j| j.status == job.status).unwrap() as u32;
    let block = ready.blocks.iter().position(|b| (b.first..b.first + b.jobs).contains(&i)).unwrap();
    ready.launches.iter().find(|l| l.blocks.contains(&block)).unwrap().kernel
}

/// Bytes that these planes take by `docs/format.md`, written without the plan's help.
fn payload_len(layout: Layout, planes: &[TilePlane], elements: usize) -> usize {
    let of = |(p, plane): (usize, &TilePlane)| match plane.mode {
        0 if layout == Layout::F8E4 && p == 1 => elements.div_ceil(2),
        0 => match layout {
            Layout::Blocks(blocks) => blocks.fields()[p] as usize * elements,
            _ => elements,
        },
        1 => 0,
        _ => 128 + 2 * plane.words as usize + 3 * plane.patches as usize,
    };
    planes.iter().enumerate().map(of).map(|n| n.next_multiple_of(16)).sum()
}

/// Elements, layout, contexts.
type PlannedTile = (usize, Layout, Option<(Arc<Contexts>, TileRect)>);

#[test]
fn what_planes_say_is_refused_or_stays_inside() {
    let mut rng = Numbers(11);
    let (mut planned, mut refused, mut leading_jobs, mut deep_jobs) = (0, 0, 0, 0);
    for case in 0..20_000 {
        let mut plan = Plan::default();
        let mut memory = Memory { payloads: Vec::new(), base: 0, output: Vec::new() };
        let (mut end, mut free, mut tiles) = (0, OUTPUT, Vec::<PlannedTile>::new());
        for _ in 0..1 + rng.below(6) {
            let layout = Layout::from_number([1, 2, 3, 4, 8, 64, 128, 129, 130][rng.below(9) as usize]).unwrap();
            let record = layout.record_bytes();
            let columns = 1 + rng.below(300) as usize;
            let width = columns.min(MAX_TILE_BYTES / record) * record;
            let rows = (1 + rng.below(40) as usize).min(MAX_TILE_BYTES / width);
            let elements = rows * width / record;
            let mut planes: Vec<TilePlane> =
                (0..layout.planes()).map(|p| plane(&mut rng, p == 0 && layout.has_exponents())).collect();
            let own = (rng.below(3) > 0).then(|| contexts(&mut rng, layout, rows, width));
            if own.is_some() && rng.below(2) == 0 {
                // Where they may be; now and then one where it may not.
                planes[leading(layout)].mode = 4;
                if rng.below(2) == 0 && (layout.has_exponents() && layout != Layout::F8E4 || rng.below(9) == 0) {
                    planes[rng.below(2) as usize % layout.planes()].mode = 4;
                }
            }
            let sound = payload_len(layout, &planes, elements);
            let len = if rng.below(20) == 0 { rng.below(4096) as usize * 16 } else { sound };
            let (output, stride) = (free + rng.below(1 << 20), width as u64 + rng.below(100));
            free = output + rows as u64 * stride;
            let at = own.as_ref().map(|(contexts, rect)| TileContexts::Classes(contexts, *rect));
            let tile = Tile {
                layout,
                rows,
                width,
                planes: &planes,
                payload: end,
                payload_len: len,
                crc: 0,
                output,
                stride,
                contexts: at,
                filter: None,
                difference: None,
                trellis: None,
            };
            memory.payloads.push(end..end + len as u64);
            end += len as u64;
            if plan.add(&tile, TABLES, case % 2 == 0).is_err() {
                // Those before it are decoded all the same.
                refused += 1;
                break;
            }
            assert_eq!(len, sound);
            memory.output.extend((0..rows as u64).map(|row| output + row * stride..output + row * stride + width as u64));
            tiles.push((elements, layout, own));
        }
        planned += 1;
        let sizes = [plan.scratch, plan.list_bytes(), plan.part_bytes()].map(|n| n as u64);
        let ready = plan.finish(BASES);
        memory::check(&ready, &memory, sizes);
        let mut seen = vec![false; ready.owners.len()];
        for job in &ready.jobs {
            let Owner { tile, part } = ready.owners[job.status as usize];
            assert!(!std::mem::replace(&mut seen[job.status as usize], true), "a status of two jobs");
            let (elements, layout, own) = &tiles[tile as usize];
            // No stream is longer than its plane; fused ones are as long as the tile has elements.
            assert!(job.elements as usize == layout.plane_bytes(part.plane(), *elements) || job.elements as usize == *elements);
            let kernel = kernel_of(&ready, job);
            if matches!(kernel, Kernel::Contexts | Kernel::Deep) {
                let (contexts, rect) = own.as_ref().expect("a tile without contexts");
                check_contexts_job(&ready, kernel, job, contexts, *rect, layout.record_bytes());
                *(if kernel == Kernel::Deep { &mut deep_jobs } else { &mut leading_jobs }) += 1;
            }
        }
        assert!(seen.iter().all(|&s| s), "a status without a job");
        let launched: Vec<_> = ready.launches.iter().flat_map(|l| l.blocks.clone()).collect();
        assert!(launched.iter().copied().eq(0..ready.blocks.len()));
        let mut next = 0;
        for block in &ready.blocks {
            assert!(block.first == next && (1..=WARPS).contains(&block.jobs) && (block.table as usize) < TABLES, "{block:?}");
            next += block.jobs;
        }
        assert_eq!(next as usize, ready.jobs.len());
    }
    assert!(leading_jobs > 2000 && deep_jobs > 200, "{leading_jobs} leading, {deep_jobs} deep");
    assert!(planned > 2000 && refused > 2000, "{planned} planned, {refused} refused");
}
