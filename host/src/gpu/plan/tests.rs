//! Plans of planes that say anything: refused, or jobs that stay inside their buffers.

use super::*;
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
const BASES: Bases = Bases { payload: 1 << 32, scratch: 2 << 32, lists: 3 << 32 };
const OUTPUT: u64 = 4 << 32;
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

/// Bytes that these planes take by `docs/format.md`, written without the plan's help.
fn payload_len(layout: Layout, planes: &[TilePlane], elements: usize) -> usize {
    let of = |(p, plane): (usize, &TilePlane)| match plane.mode {
        0 if layout == Layout::F8E4 && p == 1 => elements.div_ceil(2),
        0 => elements,
        1 => 0,
        _ => 128 + 2 * plane.words as usize + 3 * plane.patches as usize,
    };
    planes.iter().enumerate().map(of).map(|n| n.next_multiple_of(16)).sum()
}

#[test]
fn what_planes_say_is_refused_or_stays_inside() {
    let mut rng = Numbers(11);
    let (mut planned, mut refused) = (0, 0);
    for case in 0..20_000 {
        let mut plan = Plan::default();
        let (mut end, mut tiles) = (0, Vec::new());
        for _ in 0..1 + rng.below(6) {
            let layout = Layout::from_number([1, 2, 3, 4, 8, 64, 128, 129, 130][rng.below(9) as usize]).unwrap();
            let record = layout.record_bytes();
            let columns = 1 + rng.below(300) as usize;
            let width = columns.min(MAX_TILE_BYTES / record) * record;
            let rows = (1 + rng.below(40) as usize).min(MAX_TILE_BYTES / width);
            let elements = rows * width / record;
            let planes: Vec<TilePlane> =
                (0..layout.planes()).map(|p| plane(&mut rng, p == 0 && layout.has_exponents())).collect();
            let sound = payload_len(layout, &planes, elements);
            let len = if rng.below(20) == 0 { rng.below(4096) as usize * 16 } else { sound };
            let (output, stride) = (OUTPUT + rng.below(1 << 20), width as u64 + rng.below(100));
            let tile = Tile { layout, rows, width, planes: &planes, payload: end, payload_len: len, crc: 0, output, stride };
            if plan.add(&tile, TABLES, case % 2 == 0).is_err() {
                // A batch with a bad tile is not launched.
                refused += 1;
                break;
            }
            assert_eq!(len, sound);
            tiles.push((end, len as u64, elements, (output, rows as u64, stride, width as u64), layout));
            end += len as u64;
        }
        if plan.tiles as usize != tiles.len() {
            continue;
        }
        planned += 1;
        let (scratch, lists) = (plan.scratch as u64, plan.list_bytes() as u64);
        let ready = plan.finish(BASES);

        let inside = |at: u64, len: u64, base: u64, size: u64| at >= base && at - base <= size && len <= size - (at - base);
        let plane_inside = |at: u64, len: u64| inside(at, len, BASES.payload, end) || inside(at, len, BASES.scratch, scratch);
        let output_inside = |job: &TileJob, tile: &(u64, u64, usize, (u64, u64, u64, u64), Layout)| {
            let (output, rows, stride, width) = tile.3;
            let own = (job.output, job.stride, u64::from(job.width)) == (output, stride, width);
            own && u64::from(job.elements) * tile.4.record_bytes() as u64 == rows * width
        };
        let mut seen = vec![false; ready.owners.len()];
        for job in &ready.jobs {
            let (tile, _) = ready.owners[job.status as usize];
            assert!(!std::mem::replace(&mut seen[job.status as usize], true), "a status of two jobs");
            let tile = &tiles[tile as usize];
            let stream = 128 + 2 * u64::from(job.words) + 3 * u64::from(job.patches);
            assert!(inside(job.stream, stream, BASES.payload + tile.0, tile.1) && job.stream % 16 == 0, "{job:?}");
            let scratch_inside = inside(job.output, u64::from(job.elements), BASES.scratch, scratch);
            assert!(scratch_inside && job.width == job.elements || output_inside(job, tile), "{job:?}");
            for (i, at) in job.planes.iter().enumerate().filter(|(_, at)| **at != 0) {
                assert!(plane_inside(*at, tile.4.plane_bytes(i + 1, tile.2) as u64) && at % 16 == 0, "{job:?}");
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
        for job in &ready.joins {
            let tile = tiles.iter().find(|tile| output_inside(job, tile)).expect("whose join is this?");
            let planes = Layout::from_number(job.words as u8).unwrap().planes();
            assert!(inside(job.stream, 8 * planes as u64, BASES.lists, lists), "{job:?}");
            let first = ((job.stream - BASES.lists) / 8) as usize;
            for (p, &at) in ready.lists[first..first + planes].iter().enumerate() {
                assert!(plane_inside(at, tile.4.plane_bytes(p, tile.2) as u64), "plane {p} of {job:?}");
            }
        }
        for (_, at, len) in &ready.fills {
            assert!(inside(*at, *len as u64, BASES.scratch, scratch));
        }
        for check in &ready.checks {
            assert!(inside(check.payload, u64::from(check.len), BASES.payload, end) && check.len % 16 == 0);
        }
    }
    assert!(planned > 2000 && refused > 2000, "{planned} planned, {refused} refused");
}
