//! Plans of tiles that went through every tool, of directories that say anything: refused, or jobs that stay inside their buffers.

use super::memory::{Memory, check};
use super::*;
use crate::container::base_contexts::BaseContexts;
use crate::container::block_contexts::{BlockContexts, CONTEXTS, STEP};
use crate::container::difference::Difference;
use crate::container::trellis::Trellis;
use crate::dtype::Dtype;
use wcodec_device::bitplanes::Form;
use wcodec_device::planes::Blocks;

/// Rows and bytes of a row of a tile of records.
fn size(rng: &mut Numbers, record: usize) -> (usize, usize) {
    let width = (1 + rng.below(300) as usize).min(MAX_TILE_BYTES / record) * record;
    ((1 + rng.below(70) as usize).min(MAX_TILE_BYTES / width), width)
}

/// Tables for contexts, 16-byte aligned with what comes before: those that there are.
fn push_tables(rng: &mut Numbers, params: &mut Vec<u8>, n: usize) {
    (0..n).for_each(|_| params.extend((rng.below(TABLES as u64) as u16).to_le_bytes()));
    params.resize(params.len().next_multiple_of(16), 0);
}

/// Now and then another byte somewhere.
fn damage(rng: &mut Numbers, bytes: &mut [u8], seldom: u64) {
    if !bytes.is_empty() && rng.below(seldom) == 0 {
        let at = rng.below(bytes.len() as u64) as usize;
        bytes[at] = rng.next() as u8;
    }
}

/// What the directory of a tile says, all that may be of use for planning it.
#[derive(Default)]
struct Said {
    filter: Option<(Filter, [u8; modes::ENTRY])>,
    base: Option<BaseContexts>,
    scales: Option<BlockContexts>,
    difference: Option<Difference>,
    trellis: Option<Trellis>,
    modes_len: usize,
}

impl Said {
    /// What tells contexts, as `batch.rs` finds it.
    fn contexts(&self) -> Option<TileContexts<'_>> {
        if let Some(base) = &self.base {
            return Some(TileContexts::Base(base));
        }
        if let Some((filter, entry)) = &self.filter {
            let modes = Modes::read_entry(filter, *entry);
            return modes.ok().flatten().filter(|(_, _, classes)| *classes).map(|_| TileContexts::Bands(filter));
        }
        self.scales.as_ref().map(TileContexts::Scales)
    }

    /// Whether plane `p` may have contexts.
    fn has_contexts(&self, p: usize) -> bool {
        match self.contexts() {
            Some(TileContexts::Base(contexts)) => !contexts.planes[p].is_empty(),
            Some(TileContexts::Scales(contexts)) => !contexts.planes[p].is_empty(),
            contexts => contexts.is_some(),
        }
    }
}

/// A filter and a tile's entry; `None` where reading the directory refuses the first.
fn filtered(rng: &mut Numbers) -> Option<(Layout, Said)> {
    let (record, bits) = rng_pick(rng, &[(1, 4), (1, 8), (2, 16), (4, 32)]);
    let classes = rng.below(17) as u8;
    let mut params = vec![rng.below(3) as u8, bits, classes];
    params.resize(16, 0);
    push_tables(rng, &mut params, 4 * record as usize * classes as usize);
    damage(rng, &mut params, 10);
    let layout = Layout::Columns(record);
    let filter = Filter::read(&params, layout, TABLES).ok()?;
    let units = rng.below(20) as u8;
    let mut entry = [1 + rng.below(2) as u8, rng.below(3) as u8, units, 0, u8::from(rng.below(3) > 0), 0, 0, 0];
    if rng.below(9) == 0 {
        entry = [0; modes::ENTRY];
    }
    damage(rng, &mut entry, 10);
    Some((layout, Said { modes_len: Modes::len(entry), filter: Some((filter, entry)), ..Said::default() }))
}

/// A difference, with contexts or without.
fn based(rng: &mut Numbers) -> Option<(Layout, Said)> {
    let (record, dtype) = rng_pick(rng, &[(1, Dtype::I8), (2, Dtype::BF16), (4, Dtype::F32), (8, Dtype::F64), (3, Dtype::U8)]);
    let layout = Layout::Columns(record);
    let mut params = vec![7; 16];
    params.push(1 + rng.below(2) as u8);
    params.resize(32, 0);
    damage(rng, &mut params[16..], 10);
    let difference = Difference::read(&params, dtype, record as usize).ok()?;
    let mut base = None;
    if rng.below(3) > 0 {
        let (contexts, mask) = (1 + rng.below(64) as u8, rng.below(1 << record) as u8);
        let mut params = vec![contexts, mask, 0, 0, rng.next() as u8, 0, 0, 0];
        push_tables(rng, &mut params, contexts as usize * mask.count_ones() as usize);
        damage(rng, &mut params, 10);
        base = Some(BaseContexts::read(&params, layout, TABLES).ok()?);
    }
    Some((layout, Said { base, difference: Some(difference), ..Said::default() }))
}

/// Numbers of a trellis, any.
fn on_trellis(rng: &mut Numbers) -> Option<(Layout, Said)> {
    let mut params = [0; 16];
    (params[0], params[1]) = (rng.next() as u8, rng.next() as u8);
    damage(rng, &mut params, 10);
    let trellis = Trellis::read(&params).ok()?;
    Some((Layout::Columns(1), Said { trellis: Some(trellis), ..Said::default() }))
}

/// Blocks, with contexts by their scales or without.
fn in_blocks(rng: &mut Numbers) -> Option<(Layout, Said)> {
    let all: Vec<Blocks> = Blocks::all().collect();
    let affine: Vec<Blocks> = all.iter().copied().filter(|b| matches!(b.name(), "Q4_1" | "Q5_1")).collect();
    let blocks = if rng.below(2) == 0 { rng_pick(rng, &affine) } else { rng_pick(rng, &all) };
    let layout = Layout::Blocks(blocks);
    let mut scales = None;
    if rng.below(2) == 0 {
        let mask = rng.below(1 << blocks.fields().len().min(8)) as u8 & !(1 << STEP);
        let mut params = vec![mask, rng.next() as u8];
        params.resize(16, 0);
        push_tables(rng, &mut params, CONTEXTS * mask.count_ones() as usize);
        damage(rng, &mut params, 10);
        scales = Some(BlockContexts::read(&params, layout, TABLES).ok()?);
    }
    Some((layout, Said { scales, ..Said::default() }))
}

/// One of these.
fn rng_pick<T: Copy>(rng: &mut Numbers, from: &[T]) -> T {
    from[rng.below(from.len() as u64) as usize]
}

/// A batch while it is made.
struct Made {
    plan: Plan,
    memory: Memory,
    /// Where the next payload begins, the next tile's output, and the base's bytes for it.
    payload: u64,
    output: u64,
    base: u64,
}

impl Made {
    fn payload(&mut self, len: usize) -> u64 {
        let at = self.payload;
        self.memory.payloads.push(at..at + len as u64);
        self.payload += len.next_multiple_of(TILE_ALIGN) as u64;
        at
    }

    /// A tile's place in the output; `stride` from row to row there.
    fn place(&mut self, rows: usize, width: usize, stride: u64) -> (u64, Vec<Range<u64>>) {
        let at = OUTPUT + self.output;
        self.output += rows as u64 * stride;
        (at, (0..rows as u64).map(|row| at + row * stride..at + row * stride + width as u64).collect())
    }

    /// Adds a tile; whether it was taken.
    fn add(&mut self, rng: &mut Numbers, (layout, said): &(Layout, Said), check: bool) -> bool {
        let record = layout.record_bytes();
        let (rows, width) = size(rng, record);
        let elements = rows * width / record;
        let mut planes: Vec<TilePlane> = (0..layout.planes()).map(|_| plane(rng, false)).collect();
        for (p, plane) in planes.iter_mut().enumerate() {
            // Where they may be; now and then where they may not.
            if said.has_contexts(p) && rng.below(2) == 0 || rng.below(200) == 0 {
                plane.mode = 4;
            }
        }
        let sound = said.modes_len + payload_len(*layout, &planes, elements);
        let len = if rng.below(20) == 0 { rng.below(4096) as usize * 16 } else { sound };
        let payload = self.payload(len);
        let stride = width as u64 + rng.below(100);
        let (output, wanted) = self.place(rows, width, stride);
        let from = said.difference.map(|d| {
            let stride = width as u64 + rng.below(100);
            let base = BASE + self.base;
            self.base += rows as u64 * stride;
            FromBase { method: d.method, unit: d.unit, base, stride }
        });
        if from.is_some() && rng.below(9) == 0 {
            let from = from.map(|from| FromBase { method: Method::Same, ..from });
            self.plan.same(&TileRect { row: 0, rows, column: 0, width }, *layout, output, stride, from);
            self.memory.output.extend(wanted);
            return true;
        }
        let tile = Tile {
            layout: *layout,
            rows,
            width,
            planes: &planes,
            payload,
            payload_len: len,
            crc: 0,
            output,
            stride,
            contexts: said.contexts(),
            filter: said.filter.as_ref().map(|(filter, entry)| (filter, *entry)),
            difference: from,
            trellis: said.trellis,
        };
        if self.plan.add(&tile, TABLES, check).is_err() {
            return false;
        }
        assert_eq!(len, sound);
        self.memory.output.extend(wanted);
        true
    }

    /// Adds a tile of numbers; whether all of it was taken.
    fn add_numbers(&mut self, rng: &mut Numbers, form: Form, check: bool) -> bool {
        let (rows, width) = size(rng, form.bytes());
        let elements = rows * width / form.bytes();
        let mut bits = |rng: &mut Numbers, most: usize| {
            let plane = plane(rng, false);
            let sound = match plane.mode {
                0 => most,
                1 => 0,
                _ => STATE_BYTES + 2 * plane.words as usize + 3 * plane.patches as usize,
            };
            let len = if rng.below(60) == 0 { rng.below(64) as usize * 16 } else { sound.next_multiple_of(TILE_ALIGN) };
            Bits { plane, payload: self.payload(len), payload_len: len }
        };
        let categories = bits(rng, elements);
        let planes: Vec<Bits> = (0..=rng.below(1 + form.planes() as u64))
            .map(|_| {
                // Planes of integers may have any length up to that.
                let most = if let Form::Integer { .. } = form {
                    rng.below(2 + elements as u64 / 8) as usize
                } else {
                    elements.div_ceil(8)
                };
                bits(rng, most)
            })
            .collect();
        let stride = width as u64 + rng.below(100);
        let (output, wanted) = self.place(rows, width, stride);
        let tile = Tile {
            layout: Layout::Columns(1),
            rows,
            width,
            planes: &[categories.plane],
            payload: categories.payload,
            payload_len: categories.payload_len,
            crc: 0,
            output,
            stride,
            contexts: None,
            filter: None,
            difference: None,
            trellis: None,
        };
        let added = self.plan.add_numbers(&tile, form, &planes, TABLES, check);
        // What a plane is refused for is told once those before it are decoded.
        if !matches!(added, Err((None, _))) {
            self.memory.output.extend(wanted);
        }
        added.is_ok()
    }
}

/// Batches of tiles that `add` makes: those that are taken, up to the first that is not, stay inside their buffers. `count` counts what there must be
/// enough of in what is planned.
fn batches(seed: u64, count: fn(&Ready) -> usize, mut add: impl FnMut(&mut Numbers, &mut Made, bool) -> Option<bool>) {
    let mut rng = Numbers(seed);
    let (mut whole, mut refused, mut hostile, mut tiles, mut counted) = (0, 0, 0, 0, 0);
    for case in 0..6_000 {
        let memory = Memory { payloads: Vec::new(), base: 0, output: Vec::new() };
        let mut made = Made { plan: Plan::default(), memory, payload: 0, output: 0, base: 0 };
        let mut sound = true;
        for _ in 0..1 + rng.below(6) {
            match add(&mut rng, &mut made, case % 2 == 0) {
                Some(true) => tiles += 1,
                Some(false) => sound = false,
                None => hostile += 1,
            }
            if !sound {
                break;
            }
        }
        *(if sound { &mut whole } else { &mut refused }) += 1;
        let Made { plan, mut memory, base, .. } = made;
        memory.base = base;
        let sizes = [plan.scratch, plan.list_bytes(), plan.part_bytes()].map(|n| n as u64);
        let ready = plan.finish(BASES);
        check(&ready, &memory, sizes);
        counted += count(&ready);
    }
    println!(
        "{tiles} tiles, {whole} batches whole, {refused} with a tile that is refused, {hostile} directories refused, {counted}"
    );
    assert!(tiles > 3000 && whole > 500 && refused > 500 && counted > 1000, "{tiles} {whole} {refused} {counted}");
}

/// Streams with contexts in a map.
fn mapped(ready: &Ready) -> usize {
    let launches = ready.launches.iter().filter(|launch| launch.kernel == Kernel::Mapped);
    launches.flat_map(|launch| &ready.blocks[launch.blocks.clone()]).map(|block| block.jobs as usize).sum()
}

#[test]
fn filters() {
    batches(21, mapped, |rng, made, check| filtered(rng).map(|said| made.add(rng, &said, check)));
}

#[test]
fn bases() {
    batches(22, mapped, |rng, made, check| based(rng).map(|said| made.add(rng, &said, check)));
}

#[test]
fn trellises() {
    let jobs = |ready: &Ready| ready.steps.trellises.len();
    batches(26, jobs, |rng, made, check| on_trellis(rng).map(|said| made.add(rng, &said, check)));
}

#[test]
fn blocks() {
    batches(23, mapped, |rng, made, check| in_blocks(rng).map(|said| made.add(rng, &said, check)));
}

#[test]
fn bitplanes() {
    const FORMS: [Form; 7] = [
        Form::Float { bits: 16, mantissa: 7 },
        Form::Float { bits: 16, mantissa: 10 },
        Form::Float { bits: 32, mantissa: 23 },
        Form::Float { bits: 8, mantissa: 3 },
        Form::Float { bits: 8, mantissa: 2 },
        Form::Integer { bits: 8 },
        Form::Integer { bits: 16 },
    ];
    // Planes whose lengths categories tell.
    let counted =
        |ready: &Ready| ready.parts.iter().filter(|part| (part.len, part.job) != (BitsPart::ANY, BitsPart::ANY)).count();
    batches(24, counted, |rng, made, check| {
        let form = rng_pick(rng, &FORMS);
        Some(made.add_numbers(rng, form, check))
    });
}

/// Tiles of all tools beside each other.
#[test]
fn all_in_one_batch() {
    batches(25, mapped, |rng, made, check| match rng.below(5) {
        0 => filtered(rng).map(|said| made.add(rng, &said, check)),
        1 => based(rng).map(|said| made.add(rng, &said, check)),
        2 => in_blocks(rng).map(|said| made.add(rng, &said, check)),
        3 => on_trellis(rng).map(|said| made.add(rng, &said, check)),
        _ => Some(made.add_numbers(rng, Form::Integer { bits: 8 }, check)),
    });
}
