//! What a planned batch does to memory: each access inside its buffer, nothing written twice, nothing read before it is written.

use super::*;
use wcodec_device::job::{CONTEXTS, MODE_BYTES};

/// Device memory that a batch is given: of the payload and the base it may read all, of the output it must write all that tiles have.
pub(super) struct Memory {
    /// Ranges of the payload buffer, one for each tile and plane of bits.
    pub payloads: Vec<Range<u64>>,
    /// Bytes of the base.
    pub base: u64,
    /// Rows of the tiles' output.
    pub output: Vec<Range<u64>>,
}

/// The order in which kernels run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Before,
    ReadModes,
    MapExponents,
    First,
    CountBits,
    Second,
    MapScales,
    Numbers,
    Fused,
    JoinPlanes,
    JoinBits,
    JoinBlocks,
    UndoFilters,
    UndoDifferences,
    UndoTrellis,
}

/// All that a batch reads and writes.
#[derive(Default)]
struct Accesses {
    reads: Vec<(Step, Range<u64>)>,
    writes: Vec<(Step, Range<u64>)>,
}

impl Accesses {
    fn read(&mut self, step: Step, at: u64, len: usize) {
        self.reads.extend((len > 0).then_some((step, at..at + len as u64)));
    }

    fn write(&mut self, step: Step, at: u64, len: usize) {
        self.writes.extend((len > 0).then_some((step, at..at + len as u64)));
    }

    fn write_rows(&mut self, step: Step, at: u64, rows: usize, width: usize, stride: u64) {
        (0..rows as u64).for_each(|row| self.write(step, at + row * stride, width));
    }

    fn read_rows(&mut self, step: Step, at: u64, rows: usize, width: usize, stride: u64) {
        (0..rows as u64).for_each(|row| self.read(step, at + row * stride, width));
    }

    /// The rows of a tile of `bytes`, as kernels find them by `locate`.
    fn write_tile(&mut self, step: Step, job: &TileJob, bytes: usize) {
        let width = job.width as usize;
        assert!(width > 0 && bytes.is_multiple_of(width), "rows of another width: {job:?}");
        self.write_rows(step, job.output, bytes / width, width, job.stride);
    }
}

/// Whether `range` lies inside one of the sorted `ranges`, which do not overlap.
fn inside(range: &Range<u64>, ranges: &[Range<u64>]) -> bool {
    let i = ranges.partition_point(|r| r.start <= range.start);
    i > 0 && range.end <= ranges[i - 1].end
}

/// Sorted ranges without what lies between those that touch; no two may overlap.
fn merged(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_by_key(|r| r.start);
    let mut out: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match out.last_mut() {
            Some(last) if range.start < last.end => panic!("{last:x?} and {range:x?} overlap"),
            Some(last) if range.start == last.end => last.end = range.end,
            _ => out.push(range),
        }
    }
    out
}

/// Layout that a fused kernel joins, and the plane that it decodes.
fn fused(kernel: Kernel) -> Option<(Layout, usize)> {
    Some(match kernel {
        Kernel::Columns2 => (Layout::Columns(2), 1),
        Kernel::Bf16Pairs | Kernel::Bf16Bytes => (Layout::Bf16, 0),
        Kernel::F32Pairs | Kernel::F32Bytes => (Layout::F32, 0),
        Kernel::F8e4Pairs | Kernel::F8e4Bytes => (Layout::F8E4, 0),
        _ => return None,
    })
}

/// Checks all that the kernels of `ready` do to memory, whose buffers have the sizes that the plan said.
pub(super) fn check(ready: &Ready, memory: &Memory, [scratch, lists, parts]: [u64; 3]) {
    let mut all = Accesses::default();
    let classes = |at: u64, n: usize| {
        let at = at.checked_sub(BASES.classes).expect("classes elsewhere") as usize;
        assert!(at + n <= ready.sets.classes.len(), "classes beyond the last");
    };
    // What is filled before anything runs.
    let fills: Vec<_> = ready.fills.iter().map(|(_, at, len)| *at..*at + *len as u64).collect();
    all.writes.extend(fills.into_iter().map(|range| (Step::Before, range)));
    let counted =
        |status: u32| ready.parts.iter().find(|part| part.job != BitsPart::ANY && ready.jobs[part.job as usize].status == status);
    for launch in &ready.launches {
        let step = match launch.stage {
            Stage::First => Step::First,
            Stage::Second => Step::Second,
            Stage::Numbers => Step::Numbers,
            Stage::Fused => Step::Fused,
        };
        let jobs =
            ready.blocks[launch.blocks.clone()].iter().flat_map(|b| &ready.jobs[b.first as usize..(b.first + b.jobs) as usize]);
        for job in jobs {
            let n = job.elements as usize;
            all.read(step, job.stream, STATE_BYTES + 2 * job.words as usize + 3 * job.patches as usize);
            assert!(job.stream.is_multiple_of(16), "{job:?}");
            let aligned = job.planes.iter().all(|at| at.is_multiple_of(16));
            assert!(aligned || matches!(launch.kernel, Kernel::Contexts | Kernel::Deep), "{job:?}");
            if let Some((layout, decoded)) = fused(launch.kernel) {
                let others = (0..layout.planes()).filter(|&p| p != decoded);
                others.zip(job.planes).for_each(|(p, at)| all.read(step, at, layout.plane_bytes(p, n)));
                all.write_tile(step, job, n * layout.record_bytes());
                continue;
            }
            match launch.kernel {
                // How long it is only categories say; room is for the longest.
                Kernel::Bytes if counted(job.status).is_some() => {
                    assert_eq!((n, job.width, job.stride), (0, 0, 0));
                    continue;
                }
                Kernel::Bytes => {}
                Kernel::Mapped => all.read(step, job.planes[0], n),
                Kernel::Deep | Kernel::Contexts => {
                    if launch.kernel == Kernel::Deep {
                        all.read(step, job.planes[0], n);
                    }
                    classes(job.planes[1], n / job.columns as usize);
                    classes(job.planes[2], job.columns as usize);
                }
                other => panic!("{other:?} decodes no streams"),
            }
            if launch.kernel != Kernel::Bytes {
                check_set(ready, job.set);
            }
            all.write_tile(step, job, n);
        }
    }
    check_steps(ready, &mut all, [lists, parts]);
    for check in &ready.checks {
        assert!(check.payload.is_multiple_of(16) && check.len.is_multiple_of(16));
        all.read(Step::Before, check.payload, check.len as usize);
    }
    settle(all, memory, scratch);
}

/// All tables of a set are among those that are expanded.
fn check_set(ready: &Ready, set: u32) {
    let set = &ready.sets.sets[set as usize];
    let expanded = |at: &u32| at.is_multiple_of(EXPANDED_BYTES) && (*at as usize) < ready.sets.expanded_bytes();
    assert!(set.tables.iter().chain(&set.deep).all(expanded));
    assert!((set.last as usize) < CONTEXTS && (set.deep_last as usize) < CONTEXTS);
    assert!(ready.sets.tables.iter().all(|&t| (t as usize) < TABLES));
}

/// What is done besides streams.
fn check_steps(ready: &Ready, all: &mut Accesses, [lists, parts]: [u64; 2]) {
    let steps = &ready.steps;
    assert_eq!((lists, parts), (size_of_val(&ready.lists[..]) as u64, size_of_val(&ready.parts[..]) as u64));
    let list = |at: u64, n: usize| {
        let first = at.checked_sub(BASES.lists).expect("a list elsewhere") / 8;
        &ready.lists[first as usize..][..n]
    };
    for job in &steps.filters {
        let (rows, width) = (job.rows as usize, job.columns as usize * job.bits as usize / 8);
        let (height, _, across) = job.grid();
        let aligned = [job.modes, job.blocks, job.contexts, job.residuals].iter().all(|at| at.is_multiple_of(16));
        assert!(aligned && rows * width <= MAX_TILE_BYTES, "{job:?}");
        all.read(Step::ReadModes, job.modes, job.modes_len as usize);
        let blocks = MODE_BYTES * (job.rows.div_ceil(height) * across) as usize;
        all.write(Step::ReadModes, job.blocks, blocks);
        if job.contexts != 0 {
            all.write(Step::ReadModes, job.contexts, rows * width / (job.bits as usize).div_ceil(8));
        }
        all.read(Step::UndoFilters, job.blocks, blocks);
        all.read(Step::UndoFilters, job.residuals, rows * width);
        all.write_rows(Step::UndoFilters, job.output, rows, width, job.stride);
    }
    for job in &steps.differences {
        let (rows, width) = (job.rows as usize, job.width as usize);
        if job.map != 0 {
            assert!(job.map.is_multiple_of(16), "{job:?}");
            all.write(Step::MapExponents, job.map, rows * width / job.record as usize);
        }
        all.read_rows(Step::UndoDifferences, job.base, rows, width, job.base_stride);
        if job.method != Method::Same as u32 {
            assert!(job.differences.is_multiple_of(16) && width.is_multiple_of(job.unit as usize), "{job:?}");
            all.read(Step::UndoDifferences, job.differences, rows * width);
        }
        all.write_rows(Step::UndoDifferences, job.output, rows, width, job.stride);
    }
    for job in &steps.trellises {
        let (rows, width) = (job.rows as usize, job.width as usize);
        assert!(job.stored.is_multiple_of(16) && job.width <= job.pitch && rows > 0 && job.taps < 1 << 16, "{job:?}");
        all.read_rows(Step::UndoTrellis, job.stored, rows, width, job.pitch as u64);
        all.write_rows(Step::UndoTrellis, job.output, rows, width, job.stride);
    }
    for job in &steps.numbers {
        let (n, form) = (job.elements as usize, job.form());
        assert!(job.categories.is_multiple_of(16) && job.planes as usize <= form.planes(), "{job:?}");
        all.read(Step::CountBits, job.categories, n);
        let first = job.parts.checked_sub(BASES.parts).expect("parts elsewhere") as usize / size_of::<BitsPart>();
        for part in &ready.parts[first..=first + job.planes as usize] {
            let most = n.div_ceil(8);
            if part.job != BitsPart::ANY {
                // What `count_bits` tells the stream's job is no more than that.
                assert_eq!(part.bytes, ready.jobs[part.job as usize].output);
                all.write(Step::Second, part.bytes, most);
            }
            // Raw planes of integers are read if they are as long as categories say, up to 16 bytes.
            let len = if part.len == BitsPart::ANY { most } else { part.len as usize };
            all.read(Step::JoinBits, part.bytes, len);
        }
        let width = job.width as usize;
        assert_eq!(n * form.bytes() % width, 0);
        all.write_rows(Step::JoinBits, job.output, n * form.bytes() / width, width, job.stride);
    }
    for job in &steps.scales {
        list(job.stream, 4).iter().for_each(|&at| all.read(Step::MapScales, at, job.elements as usize));
        assert!(job.output.is_multiple_of(16) && job.words.is_multiple_of(4), "{job:?}");
        all.write(Step::MapScales, job.output, (job.elements * job.words) as usize);
    }
    for job in &steps.joins {
        let layout = Layout::from_number(job.words as u8).expect("a layout");
        for (p, &at) in list(job.stream, layout.planes()).iter().enumerate() {
            all.read(Step::JoinPlanes, at, layout.plane_bytes(p, job.elements as usize));
        }
        all.write_tile(Step::JoinPlanes, job, job.elements as usize * layout.record_bytes());
    }
    for job in &steps.blocks {
        let fields: Vec<usize> = job.planes[0].to_le_bytes().iter().map(|&f| f as usize).take_while(|&f| f > 0).collect();
        for (&field, &at) in fields.iter().zip(list(job.stream, fields.len())) {
            all.read(Step::JoinBlocks, at, field * job.elements as usize);
        }
        all.write_tile(Step::JoinBlocks, job, job.elements as usize * fields.iter().sum::<usize>());
    }
}

/// Every access is where it may be, every read after what it reads was written, and the tiles' output is written, all of it.
fn settle(all: Accesses, memory: &Memory, scratch: u64) {
    let payloads = merged(
        memory.payloads.iter().filter(|r| !r.is_empty()).map(|r| BASES.payload + r.start..BASES.payload + r.end).collect(),
    );
    let of_base = |range: &Range<u64>| range.start >= BASE && range.end <= BASE + memory.base;
    let of_scratch = |range: &Range<u64>| range.start >= BASES.scratch && range.end <= BASES.scratch + scratch;
    let output = merged(memory.output.clone());
    for (step, range) in &all.writes {
        assert!(of_scratch(range) || inside(range, &output), "{step:?} writes {range:x?}");
    }
    // Nothing is written twice, whenever that is.
    let written = merged(all.writes.iter().map(|(_, range)| range.clone()).collect());
    assert!(output.iter().all(|range| inside(range, &written)), "some of the output is not written");
    let mut steps: Vec<Step> = all.reads.iter().map(|(step, _)| *step).collect();
    steps.sort_unstable();
    steps.dedup();
    for step in steps {
        let there = merged(all.writes.iter().filter(|(at, _)| *at < step).map(|(_, range)| range.clone()).collect());
        for (_, range) in all.reads.iter().filter(|(at, _)| *at == step) {
            let found = inside(range, &payloads) || of_base(range) || of_scratch(range) && inside(range, &there);
            assert!(found, "{step:?} reads {range:x?}");
        }
    }
}
