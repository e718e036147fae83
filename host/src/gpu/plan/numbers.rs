//! Tiles of bitplanes: categories and planes of bits become jobs.

use super::{Kernel, NOWHERE, Owner, PARTS, Part, Plan, Ready, Stage, Tile, stream_len};
use crate::cpu::tile::TileFault;
use wcodec_device::bitplanes::Form;
use wcodec_device::job::{BitsPart, NumbersJob, SIDE_PLANES, TileJob};
use wcodec_device::layout::{PlaneMode, TILE_ALIGN, TilePlane};

/// What a tile has of a plane of bits.
pub(in crate::gpu) struct Bits {
    pub plane: TilePlane,
    /// Its payload's place in the payload buffer (16-byte aligned), and length.
    pub payload: u64,
    pub payload_len: usize,
}

impl Bits {
    /// A plane that takes nothing of the payload.
    pub(in crate::gpu) const NOTHING: Self = {
        let plane = TilePlane { mode: PlaneMode::Constant as u8, base: 0, table: 0, words: 0, patches: 0 };
        Self { plane, payload: 0, payload_len: 0 }
    };
}

impl Plan {
    /// Adds a tile of numbers of `form`, whose categories are what `tile` says, as if its elements were bytes; `planes` are its signs, then those
    /// of refinement. `tables` is the number of frequency tables.
    ///
    /// # Errors
    /// As for [`add`](Self::add); the number of the plane, counted from the signs, if it is not the categories: these and the planes before it are
    /// decoded all the same, as what is wrong with them is to be told first.
    pub(in crate::gpu) fn add_numbers(
        &mut self,
        tile: &Tile<'_>,
        form: Form,
        planes: &[Bits],
        tables: usize,
        check: bool,
    ) -> Result<(), (Option<usize>, TileFault)> {
        let number = self.tiles;
        self.tiles += 1;
        let elements = (tile.rows * tile.width / form.bytes()) as u32;
        if check {
            self.check(tile);
        }
        let owner = |part| Owner { tile: number, part };
        let categories = Bits { plane: tile.planes[0], payload: tile.payload, payload_len: tile.payload_len };
        let part = self.bits(owner(Part::Plane(0)), &categories, Some(elements), elements, Stage::First, tables);
        let part = part.map_err(|fault| (None, fault))?;
        let most = elements.div_ceil(8);
        let (exact, stage) = match form {
            Form::Float { .. } => (Some(most), Stage::First),
            // Categories tell.
            Form::Integer { .. } => (None, Stage::Second),
        };
        let mut parts = Vec::with_capacity(planes.len());
        let mut wrong = None;
        for (p, bits) in planes.iter().enumerate() {
            match self.bits(owner(Part::Bits(p as u8)), bits, exact, most, stage, tables) {
                Ok(part) => parts.push(part),
                Err(fault) => {
                    wrong = Some((Some(p), fault));
                    parts.push(BitsPart { bytes: self.constant(0, most as usize), len: BitsPart::ANY, job: BitsPart::ANY });
                    break;
                }
            }
        }
        let (at, planes) = (PARTS | self.part_bytes() as u64, parts.len() as u32 - 1);
        self.parts.extend(parts);
        let status = self.status(owner(Part::Counts));
        self.steps.numbers.push(NumbersJob {
            categories: part.bytes,
            parts: at,
            output: tile.output,
            stride: tile.stride,
            width: tile.width as u32,
            elements,
            planes,
            bits: form.bits(),
            mantissa: match form {
                Form::Float { mantissa, .. } => mantissa,
                Form::Integer { .. } => NumbersJob::INTEGER,
            },
            status,
            reserved: [0; 2],
        });
        wrong.map_or(Ok(()), Err)
    }

    /// Where a plane of `exact` bytes, or of `most` that a kernel counts, lies or is decoded to.
    fn bits(
        &mut self,
        owner: Owner,
        bits: &Bits,
        exact: Option<u32>,
        most: u32,
        stage: Stage,
        tables: usize,
    ) -> Result<BitsPart, TileFault> {
        const ANY: u32 = BitsPart::ANY;
        let Bits { plane, payload, payload_len } = bits;
        let length = |len: usize| if len.next_multiple_of(TILE_ALIGN) == *payload_len { Ok(()) } else { Err(TileFault::Length) };
        match PlaneMode::from_u8(plane.mode) {
            Some(PlaneMode::Raw) => {
                if let Some(n) = exact {
                    length(n as usize)?;
                }
                let len = if exact.is_some() { ANY } else { u32::try_from(*payload_len).map_err(|_| TileFault::Length)? };
                Ok(BitsPart { bytes: *payload, len, job: ANY })
            }
            Some(PlaneMode::Constant) => {
                length(0)?;
                Ok(BitsPart { bytes: self.constant(plane.base, most as usize), len: ANY, job: ANY })
            }
            Some(PlaneMode::Bytes) => {
                if plane.table as usize >= tables {
                    return Err(TileFault::Table(0, plane.table));
                }
                length(stream_len(plane))?;
                let output = self.reserve(most as usize);
                let n = exact.unwrap_or(0);
                let planes = [NOWHERE; SIDE_PLANES];
                let job = TileJob { output, stride: n as u64, width: n, elements: n, planes, ..TileJob::default() };
                let status = self.owners.len() as u32;
                self.stream(owner, (stage, Kernel::Bytes), plane, *payload, job);
                // By its status the job is found once jobs are in order.
                Ok(BitsPart { bytes: output, len: ANY, job: if exact.is_some() { ANY } else { status } })
            }
            _ => Err(TileFault::Plane(0, "planes of bits cannot be coded so")),
        }
    }
}

impl Ready {
    /// The job of a tile of numbers.
    pub(in crate::gpu) fn numbers_of(&self, tile: u32) -> Option<&NumbersJob> {
        self.steps.numbers.iter().find(|job| self.owners[job.status as usize].tile == tile)
    }

    /// Which plane of bits is the first that is not as long as these categories say, as `count_bits` finds it: counted from the signs. `None` where
    /// a category is one that there is not.
    pub(in crate::gpu) fn miscounted(&self, job: &NumbersJob, categories: &[u8]) -> Option<usize> {
        let form = job.form();
        if categories.iter().any(|&c| c > form.last_category()) {
            return None;
        }
        // Parts lie one after the other, those of the first tile first.
        let first = (job.parts - self.steps.numbers[0].parts) as usize / size_of::<BitsPart>();
        let parts = &self.parts[first..=first + job.planes as usize];
        parts.iter().enumerate().position(|(p, part)| {
            let bytes = categories.iter().filter(|&&c| form.has(c, p)).count().div_ceil(8);
            let wrong_len = part.len != BitsPart::ANY && part.len as usize != bytes.next_multiple_of(TILE_ALIGN);
            wrong_len || part.job != BitsPart::ANY && bytes == 0
        })
    }
}
