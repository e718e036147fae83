//! Archives taken apart and put together again with checksums that fit, so that what lies behind the checksums is reached.

use std::ops::Range;

/// CRC-32C.
pub fn crc(bytes: &[u8]) -> u32 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

fn u32_at(b: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(b[at..at + 4].try_into().unwrap())
}

fn u64_at(b: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(b[at..at + 8].try_into().unwrap())
}

/// Where the parts of a sound archive lie.
#[derive(Debug)]
pub struct Map {
    pub records: Vec<Record>,
    pub directories: Range<usize>,
    pub index: Range<usize>,
    pub len: usize,
}

/// Where a record, its tiles and its directory lie.
#[derive(Debug)]
pub struct Record {
    /// Of the record itself.
    pub at: usize,
    pub segment: Range<usize>,
    pub directory: Range<usize>,
    /// Where the entries of tiles begin.
    pub first: usize,
    /// Bytes of a directory entry.
    pub stride: usize,
    /// Payloads.
    pub tiles: Vec<Range<usize>>,
    pub layout: u8,
}

impl Map {
    pub fn of(b: &[u8]) -> Self {
        let word = |at| u64_at(b, at) as usize;
        let (index, directory_off) = (word(80)..word(80) + word(88), word(96));
        let entries = u32_at(b, 108) as usize;
        let mut plane = index.start + 32 + 64 * entries;
        // A progressive archive has its segments last.
        let progressive = b[16] & 8 != 0;
        let (mut segment, mut directory) = (if progressive { index.end } else { 256 }, directory_off);
        let mut records = Vec::new();
        for i in 0..entries {
            let at = index.start + 32 + 64 * i;
            let layout = b[at + 58];
            let planes = match layout {
                _ if b[at + 62] & 8 != 0 => 1,
                128 | 130 => 2,
                129 => 4,
                144.. => blocks(layout).0,
                n => usize::from(n),
            };
            let per_tile = (0..planes).filter(|p| b[plane + 4 * p] == 255).count();
            plane += 4 * planes;
            // With filters a tile tells of its own, too.
            let stride = 8 + 8 * (per_tile + usize::from(b[at + 62] >> 2 & 1));
            // Parameters and classes come before the entries.
            let halves = |n: u64| n.div_ceil(2) as usize;
            let element = match layout {
                ..=64 => u64::from(layout),
                144.. => blocks(layout).1,
                _ => [2, 4, 1][usize::from(layout - 128)],
            };
            // Blocks with a step and a minimum, and differences, have contexts without classes.
            let without = matches!(layout, 147 | 151) || b[at + 62] & 2 != 0;
            let classes = if without { 0 } else { halves(u64_at(b, at)) + halves(u64_at(b, at + 8) / element) };
            let head = 16 * usize::from(b[at + 63]) + if b[at + 62] & 1 == 0 { 0 } else { classes };
            let first = directory + head;
            let across = u64_at(b, at + 8).div_ceil(u64::from(u32_at(b, at + 52)));
            let down = u64_at(b, at).div_ceil(u64::from(u32_at(b, at + 48)));
            let count = (across * down) as usize;
            let segment_end = segment + word(at + 16);
            let start = |tile| match tile {
                t if t == count => segment_end,
                t => segment + 16 * u32_at(b, first + t * stride) as usize,
            };
            let tiles = (0..count).map(|t| start(t)..start(t + 1)).collect();
            let r = Record {
                at,
                segment: segment..segment_end,
                directory: directory..first + count * stride,
                first,
                stride,
                tiles,
                layout,
            };
            (segment, directory) = (segment_end, r.directory.end);
            records.push(r);
        }
        Self { records, directories: directory_off..index.start, index, len: b.len() }
    }

    /// Makes all checksums fit what they cover, from the tiles up; positions are those of the sound archive.
    pub fn fix_all(&self, b: &mut [u8]) {
        for r in &self.records {
            for (t, range) in r.tiles.iter().enumerate() {
                let sum = crc(&b[range.clone()]);
                b[r.first + t * r.stride + 4..][..4].copy_from_slice(&sum.to_le_bytes());
            }
        }
        self.fix_directories(b);
    }

    /// Makes the checksums of directories, index and superblock fit.
    pub fn fix_directories(&self, b: &mut [u8]) {
        for r in &self.records {
            let sum = crc(&b[r.directory.clone()]);
            b[r.at + 40..r.at + 44].copy_from_slice(&sum.to_le_bytes());
        }
        self.fix_index(b);
    }

    /// Makes the checksums of index and superblock fit.
    pub fn fix_index(&self, b: &mut [u8]) {
        let sum = crc(&b[self.index.clone()]);
        b[104..108].copy_from_slice(&sum.to_le_bytes());
        fix_superblock(b);
    }

    /// Makes the checksums of the tiles fit the positions that the directory has now, where those lie inside the segment.
    pub fn fix_moved_tiles(&self, b: &mut [u8]) {
        for r in &self.records {
            let starts: Vec<usize> =
                (0..r.tiles.len()).map(|t| r.segment.start + 16 * u32_at(b, r.first + t * r.stride) as usize).collect();
            for t in 0..starts.len() {
                let end = *starts.get(t + 1).unwrap_or(&r.segment.end);
                if starts[t] <= end && end <= r.segment.end {
                    let sum = crc(&b[starts[t]..end]);
                    b[r.first + t * r.stride + 4..][..4].copy_from_slice(&sum.to_le_bytes());
                }
            }
        }
    }
}

/// Fields and bytes of the blocks that tests damage.
fn blocks(layout: u8) -> (usize, u64) {
    match layout {
        146 => (3, 18),
        147 => (5, 20),
        151 => (6, 24),
        152 => (3, 34),
        155 => (5, 110),
        156 => (6, 144),
        158 => (5, 210),
        159 => (7, 292),
        178 => (4, 54),
        183 => (2, 17),
        _ => unimplemented!("layout {layout}"),
    }
}

/// Makes the superblock's checksum fit and copies it to the end.
pub fn fix_superblock(b: &mut [u8]) {
    let sum = crc(&b[..252]);
    b[252..256].copy_from_slice(&sum.to_le_bytes());
    let end = b.len() - 256;
    b.copy_within(..256, end);
}
