//! One tile: its planes, how each is best coded, its payload.

use super::contexts;
use super::effort::Effort;
use super::frequency::{Histogram, costs, entropy, half_histogram, histogram, total_costs};
use super::split::{Rows, best_base, pair, split};
use super::stream::{Codes, codes, encode_symbols};
use crate::container::base_contexts::TileContexts;
use crate::container::block_contexts::SCALES;
use crate::container::contexts::leading;
use crate::container::tables::Freqs;
use crate::cpu::{Backend, Body};
use wcodec_device::layout::{PlaneMode, TILE_ALIGN, TilePlane};
use wcodec_device::planes::Layout;
use wcodec_device::rans::{CHUNK, LANES, STATE_BYTES};

/// Bits of a patch: a position and a value.
pub(crate) const PATCH_BITS: f32 = 24.0;
/// Bits that a pair symbol without probability costs: both exponents patched.
pub(crate) const PAIR_PATCH_BITS: f32 = 2.0 * PATCH_BITS;

/// The file's tables as the encoder sees them: those for bytes, then those for pairs.
pub(crate) struct Tables {
    pub freqs: Vec<Freqs>,
    costs: Vec<[f32; 256]>,
    codes: Vec<Box<Codes>>,
    pairs_from: usize,
    /// From here on, those of contexts.
    contexts_from: usize,
    min_gain: f32,
    /// How symbols are counted before a table is chosen.
    count: fn(&[u8]) -> Histogram,
}

impl Tables {
    pub(crate) fn new(bytes: Vec<Freqs>, pairs: Vec<Freqs>, contexts: Vec<Freqs>, effort: Effort) -> Self {
        let pairs_from = bytes.len();
        // Half of them would mistake gains of a per mille for losses, and the reverse.
        let count = if effort.size_alone() { histogram } else { half_histogram };
        let contexts_from = pairs_from + pairs.len();
        let freqs = [bytes, pairs, contexts].concat();
        let patch_bits = |t: usize| if (pairs_from..contexts_from).contains(&t) { PAIR_PATCH_BITS } else { PATCH_BITS };
        let costs = freqs.iter().enumerate().map(|(t, f)| costs(f, patch_bits(t))).collect();
        Self {
            codes: freqs.iter().map(codes).collect(),
            costs,
            pairs_from,
            contexts_from,
            min_gain: min_gain(effort),
            count,
            freqs,
        }
    }

    /// The cheapest table of a kind for a histogram, and its bits.
    fn best(&self, mode: PlaneMode, histogram: &Histogram) -> Option<(usize, f32)> {
        let range = if mode == PlaneMode::Pairs { self.pairs_from..self.contexts_from } else { 0..self.pairs_from };
        let bits = total_costs(histogram, &self.costs[range.clone()]);
        range.zip(bits).min_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)))
    }
}

/// Buffers that a thread keeps from tile to tile.
#[derive(Default)]
pub(crate) struct Scratch {
    linear: Vec<u8>,
    planes: Vec<Vec<u8>>,
    pairs: Vec<u8>,
    patches: Vec<(u16, u8)>,
    words: Vec<u16>,
    /// Symbols without a probability, and where they were.
    rare: Vec<(u16, u8)>,
    /// The context of each element.
    contexts: Vec<u8>,
}

/// How a plane of samples or of a tile presents itself before a table is chosen.
pub(crate) enum Look {
    Raw,
    Constant(u8),
    Bytes(Box<Histogram>),
    /// Base, histogram of pairs (in `Scratch::pairs`), number of patches.
    Pairs(u8, Box<Histogram>),
}

/// Bytes sampled to see whether a plane is noise.
const GLANCE: usize = 2048;
/// Bytes drawn from noise agree with each other this often but for the twentieth; a plane whose bytes do so less often is kept raw:
/// entropy is at least that of order 2, so coding it would save 0.9 % at most. A glance at true noise strays by a hundredth.
const NOISE: f32 = 1.05 / 256.0;
/// One exponent in this many outside the window, and coding them one by one is worth a look.
const SPARSE: usize = 512;

/// What coding a plane must save for the decoder's time to be well spent: dequantized weights have planes that shrink by a few
/// per mille and would decode at half the speed.
const MIN_GAIN: f32 = 0.01;

/// [`MIN_GAIN`], or nothing where only size counts.
pub(crate) fn min_gain(effort: Effort) -> f32 {
    if effort.size_alone() { 0.0 } else { MIN_GAIN }
}

fn is_noise(plane: &[u8]) -> bool {
    if plane.len() < 2 * GLANCE {
        return false;
    }
    // Eight runs spread over the plane: cheaper to fetch than single bytes, and no stride for a pattern to agree with.
    let run = GLANCE / 8;
    let mut seen = [0u8; GLANCE];
    for (i, part) in seen.chunks_mut(run).enumerate() {
        let at = i * (plane.len() - run) / 7;
        part.copy_from_slice(&plane[at..at + run]);
    }
    let agreeing: u32 = histogram(&seen).iter().map(|n| n * n.saturating_sub(1)).sum();
    (agreeing as f32) < NOISE * (GLANCE * (GLANCE - 1)) as f32
}

/// [`best_base`], compiled for the CPU.
struct Window<'a>(&'a [u8], Layout, &'a mut u8);

impl Body for Window<'_> {
    #[inline(always)]
    fn run(self) {
        *self.2 = best_base(self.0, self.1);
    }
}

/// [`pair`], compiled for the CPU.
struct Pair<'a>(&'a [u8], u8, &'a mut Vec<u8>, &'a mut Vec<(u16, u8)>);

impl Body for Pair<'_> {
    #[inline(always)]
    fn run(self) {
        pair(self.0, self.1, self.2, self.3);
    }
}

/// Looks at a plane; `count` makes the histograms.
fn look(
    layout: Layout,
    p: usize,
    plane: &[u8],
    pairs: &mut Vec<u8>,
    patches: &mut Vec<(u16, u8)>,
    count: fn(&[u8]) -> Histogram,
) -> Look {
    let exponents = p == 0 && layout.has_exponents();
    if !exponents && is_noise(plane) {
        return Look::Raw;
    }
    let Some(&first) = plane.first() else { return Look::Raw };
    // Most planes differ early on; those that do not are worth the full look.
    if plane.iter().all(|&b| b == first) {
        return Look::Constant(first);
    }
    if exponents {
        let mut base = 0;
        Backend::best().run(Window(plane, layout, &mut base));
        Backend::best().run(Pair(plane, base, pairs, patches));
        let paired = Box::new(count(pairs));
        if patches.len() * SPARSE <= plane.len() {
            return Look::Pairs(base, paired);
        }
        let single = Box::new(count(plane));
        return if entropy(&paired) + PATCH_BITS * patches.len() as f32 <= entropy(&single) {
            Look::Pairs(base, paired)
        } else {
            Look::Bytes(single)
        };
    }
    Look::Bytes(Box::new(count(plane)))
}

/// Shows every plane of a piece of a tensor to `see`.
pub(crate) fn survey(layout: Layout, bytes: &[u8], scratch: &mut Scratch, mut see: impl FnMut(Look)) {
    let Scratch { linear, planes, pairs, patches, .. } = scratch;
    split(layout, Rows::whole(bytes), linear, planes);
    for (p, plane) in planes[..layout.planes()].iter().enumerate() {
        see(look(layout, p, plane, pairs, patches, histogram));
    }
}

/// Encodes a tile: appends its payload to `out`, a multiple of 16 bytes, and returns its planes.
pub(crate) fn encode_tile(
    layout: Layout,
    contexts: Option<&TileContexts<'_>>,
    tables: &Tables,
    tile: Rows<'_>,
    scratch: &mut Scratch,
    out: &mut Vec<u8>,
) -> Vec<TilePlane> {
    let Scratch { linear, planes, pairs, patches, words, rare, contexts: of } = scratch;
    split(layout, tile, linear, planes);
    let planes = &mut planes[..layout.planes()];
    // As they will be decoded: symbols without a probability are replaced on the way.
    let scales = match contexts {
        Some(TileContexts::Scales(_)) => planes[..SCALES].to_vec(),
        _ => Vec::new(),
    };
    let elements = tile.rows * tile.width / layout.record_bytes();
    let mut leading_in_contexts = false;
    // In the order of planes, which is that of the payload: a deep plane comes after the leading one where there is one.
    (0..planes.len())
        .map(|p| {
            let chosen = contexts.and_then(|contexts| {
                let leading = leading_in_contexts.then(|| &planes[leading(layout)][..]);
                let numbers = contexts.of_plane(p, layout, leading, &scales, elements, of)?;
                encode_contexts(layout, p, &planes[p], of, numbers, tables, pairs, patches, words, rare, out)
            });
            if let Some(plane) = chosen {
                leading_in_contexts |= p == leading(layout);
                return plane;
            }
            encode_plane(layout, p, &mut planes[p], tables, pairs, patches, words, rare, out)
        })
        .collect()
}

/// Codes a plane with contexts, if that is the smallest way to.
fn encode_contexts(
    layout: Layout,
    p: usize,
    plane: &[u8],
    contexts: &[u8],
    numbers: &[u16],
    tables: &Tables,
    pairs: &mut Vec<u8>,
    patches: &mut Vec<(u16, u8)>,
    words: &mut Vec<u16>,
    rare: &mut Vec<(u16, u8)>,
    out: &mut Vec<u8>,
) -> Option<TilePlane> {
    let costs: Vec<&[f32; 256]> = numbers.iter().map(|&n| &tables.costs[n as usize]).collect();
    let bits: f64 = plane.iter().zip(contexts).map(|(&s, &c)| costs[c as usize][s as usize] as f64).sum();
    let others = match look(layout, p, plane, pairs, patches, tables.count) {
        Look::Constant(_) => return None,
        Look::Raw => 8.0 * plane.len() as f32 - 8.0 * STATE_BYTES as f32,
        Look::Bytes(h) => tables.best(PlaneMode::Bytes, &h)?.1,
        // Each stands for two elements, of which a quarter are carried, not a half.
        Look::Pairs(_, h) => tables.best(PlaneMode::Pairs, &h)?.1 + PATCH_BITS * patches.len() as f32,
    };
    if bits as f32 >= others {
        return None;
    }
    let codes: Vec<&Codes> = numbers.iter().map(|&n| &*tables.codes[n as usize]).collect();
    let start = out.len();
    let count = contexts::stream::encode_symbols(plane, contexts, &codes, rare, words, out);
    let (Some(words), Ok(patched)) = (count, u16::try_from(rare.len())) else {
        out.truncate(start);
        return None;
    };
    put_patches(rare, out);
    if out.len() - start >= plane.len().next_multiple_of(TILE_ALIGN) {
        out.truncate(start);
        return None;
    }
    Some(TilePlane { mode: PlaneMode::Contexts as u8, base: 0, table: 0, words, patches: patched })
}

/// Appends patches, and zeros to the next plane.
fn put_patches(patches: &[(u16, u8)], out: &mut Vec<u8>) {
    out.extend(patches.iter().flat_map(|&(at, _)| at.to_le_bytes()));
    out.extend(patches.iter().map(|&(_, value)| value));
    out.resize(out.len().next_multiple_of(TILE_ALIGN), 0);
}

fn encode_plane(
    layout: Layout,
    p: usize,
    plane: &mut [u8],
    tables: &Tables,
    pairs: &mut Vec<u8>,
    patches: &mut Vec<(u16, u8)>,
    words: &mut Vec<u16>,
    rare: &mut Vec<(u16, u8)>,
    out: &mut Vec<u8>,
) -> TilePlane {
    let record = |mode: PlaneMode, base| TilePlane { mode: mode as u8, base, table: 0, words: 0, patches: 0 };
    let (mode, base, histogram) = match look(layout, p, plane, pairs, patches, tables.count) {
        Look::Constant(value) => return record(PlaneMode::Constant, value),
        Look::Raw => return raw(plane, record(PlaneMode::Raw, 0), out),
        Look::Bytes(h) => {
            patches.clear();
            (PlaneMode::Bytes, 0, h)
        }
        Look::Pairs(base, h) => (PlaneMode::Pairs, base, h),
    };
    let elements = plane.len();
    let symbols: &mut [u8] = if mode == PlaneMode::Pairs { pairs } else { &mut *plane };
    // Two symbols of each lane's last run cost 16 bits in the states and nothing in the stream.
    let carried = if symbols.len() >= CHUNK { 2 * LANES } else { 0 };
    let fixed = 8.0 * (STATE_BYTES as f32) + PATCH_BITS * patches.len() as f32;
    let Some((table, _)) = tables.best(mode, &histogram).filter(|&(_, bits)| {
        let coded = bits * (1.0 - carried as f32 / symbols.len() as f32) + fixed;
        coded < 8.0 * elements as f32 * (1.0 - tables.min_gain)
    }) else {
        return raw(plane, record(PlaneMode::Raw, 0), out);
    };
    let start = out.len();
    let count = encode_symbols(Backend::best(), symbols, &tables.codes[table], rare, words, out);
    patch(mode, base, elements, rare, patches);
    let (Some(count), Ok(patched)) = (count, u16::try_from(patches.len())) else {
        return undo(plane, mode, patches, start, out);
    };
    put_patches(patches, out);
    if out.len() - start >= plane.len().next_multiple_of(TILE_ALIGN) {
        return undo(plane, mode, patches, start, out);
    }
    TilePlane { mode: mode as u8, base, table: table as u16, words: count, patches: patched }
}

fn raw(plane: &[u8], record: TilePlane, out: &mut Vec<u8>) -> TilePlane {
    out.extend_from_slice(plane);
    out.resize(out.len().next_multiple_of(TILE_ALIGN), 0);
    record
}

/// The estimate was wrong: keeps the plane raw after all, its patched bytes put back.
fn undo(plane: &mut [u8], mode: PlaneMode, patches: &[(u16, u8)], start: usize, out: &mut Vec<u8>) -> TilePlane {
    out.truncate(start);
    if mode == PlaneMode::Bytes {
        patches.iter().for_each(|&(at, value)| plane[at as usize] = value);
    }
    raw(plane, TilePlane { mode: PlaneMode::Raw as u8, base: 0, table: 0, words: 0, patches: 0 }, out)
}

/// Patches what symbols without a probability stood for.
fn patch(mode: PlaneMode, base: u8, elements: usize, rare: &[(u16, u8)], patches: &mut Vec<(u16, u8)>) {
    if rare.is_empty() {
        return;
    }
    let known = patches.len();
    for &(i, symbol) in rare {
        if mode == PlaneMode::Bytes {
            patches.push((i, symbol));
            continue;
        }
        for (at, rank) in [(2 * i as usize, symbol & 15), (2 * i as usize + 1, symbol >> 4)] {
            // A patch that is there already holds the true value.
            if at < elements && patches[..known].binary_search_by_key(&(at as u16), |p| p.0).is_err() {
                patches.push((at as u16, base + rank));
            }
        }
    }
    patches.sort_unstable();
}
