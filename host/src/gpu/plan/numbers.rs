//! Tiles of bitplanes: categories and planes of bits become jobs.

use super::{Kernel, NOWHERE, PARTS, Plan, Stage, Tile, stream_len};
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

/// What there is in the place of a plane's number.
pub(super) const NO_PLANE: u8 = u8::MAX;

impl Plan {
    /// Adds a tile of numbers of `form`, whose categories are what `tile` says, as if its elements were bytes; `planes` are its signs, then those
    /// of refinement. `tables` is the number of frequency tables.
    ///
    /// # Errors
    /// As for [`add`](Self::add); the number of the plane, counted from the signs, if it is not the categories.
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
        let own = |fault| (None, fault);
        if check {
            self.check(tile);
        }
        let categories = Bits { plane: tile.planes[0], payload: tile.payload, payload_len: tile.payload_len };
        let part = self.bits(number, &categories, Some(elements), elements, Stage::First, tables).map_err(own)?;
        let most = elements.div_ceil(8);
        let (exact, stage) = match form {
            Form::Float { .. } => (Some(most), Stage::First),
            // Categories tell.
            Form::Integer { .. } => (None, Stage::Second),
        };
        let mut parts = Vec::with_capacity(planes.len());
        for (p, bits) in planes.iter().enumerate() {
            parts.push(self.bits(number, bits, exact, most, stage, tables).map_err(|fault| (Some(p), fault))?);
        }
        let at = PARTS | (self.parts.len() * size_of::<BitsPart>()) as u64;
        self.parts.extend(parts);
        let status = self.owners.len() as u32;
        self.owners.push((number, NO_PLANE));
        self.steps.numbers.push(NumbersJob {
            categories: part.bytes,
            parts: at,
            output: tile.output,
            stride: tile.stride,
            width: tile.width as u32,
            elements,
            planes: planes.len() as u32 - 1,
            bits: form.bits(),
            mantissa: match form {
                Form::Float { mantissa, .. } => mantissa,
                Form::Integer { .. } => NumbersJob::INTEGER,
            },
            status,
            reserved: [0; 2],
        });
        Ok(())
    }

    /// Where a plane of `exact` bytes, or of `most` that a kernel counts, lies or is decoded to.
    fn bits(
        &mut self,
        tile: u32,
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
                self.stream(tile, 0, (stage, Kernel::Bytes), plane, *payload, job);
                // By its status the job is found once jobs are in order.
                Ok(BitsPart { bytes: output, len: ANY, job: if exact.is_some() { ANY } else { status } })
            }
            _ => Err(TileFault::Plane(0, "planes of bits cannot be coded so")),
        }
    }
}
