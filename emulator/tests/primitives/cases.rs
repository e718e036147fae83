// The `device` crate's primitives as functions of three 64-bit numbers. Included twice: by the test, which runs them on the host, and by
// `probe/lib.rs`, which makes a kernel of each. What is compared is thus one source, compiled by two back ends.

/// Calls `$with!` with every primitive.
macro_rules! primitives {
    ($with:ident) => {
        $with! {
            // Entropy coding: one step of one lane.
            entry = |a, _b, _c| {
                let entry = Entry(a as u32);
                entry.symbol() as u64 | (entry.freq() as u64) << 8 | (entry.offset() as u64) << 32
            };
            new_entry = |a, b, c| Entry::new(a as u8, b as u32 & 4095, c as u32 & 4095).0 as u64;
            advance = |a, b, _c| rans::advance(a as u32, Entry(b as u32)) as u64;
            needs_word = |a, _b, _c| rans::needs_word(a as u32) as u64;
            refill = |a, b, _c| rans::refill(a as u32, b as u16) as u64;
            slot = |a, _b, _c| rans::slot(a as u32) as u64;
            symbol_code = |a, b, _c| {
                let code = rans::SymbolCode::new(a as u16, (b % 4095 + 1) as u16);
                code.reciprocal ^ (code.limit as u64) << 20 ^ (code.start as u64) << 7 ^ code.complement as u64
            };
            encode_step = |a, b, c| {
                let code = rans::SymbolCode::new(b as u16 & 4095, (c % 4095 + 1) as u16);
                let (state, word) = rans::encode_step(a as u32, &code);
                state as u64 | (word as u64) << 32
            };
            // Lanes go different ways and different numbers of times.
            walk = |a, b, c| {
                let (mut state, mut left, mut sum) = (a as u32 | rans::FLOOR, c as u32 % 41, 0u32);
                while left > 0 {
                    let entry = Entry((b >> (left % 32)) as u32 ^ state.rotate_left(9));
                    state = rans::advance(state, entry);
                    if rans::needs_word(state) {
                        state = rans::refill(state, (b >> (left % 48)) as u16);
                        sum = sum.wrapping_mul(31).wrapping_add(entry.symbol() as u32);
                    }
                    left -= 1;
                }
                state as u64 | (sum as u64) << 32
            };
            // Planes.
            rotate = |a, _b, _c| planes::rotate(a as u32) as u64;
            unrotate = |a, _b, _c| planes::unrotate(a as u32) as u64;
            join_bf16 = |a, b, _c| planes::join_bf16((a as u16).to_le_bytes(), (b as u16).to_le_bytes()) as u64;
            join_f8e4 = |a, b, _c| planes::join_f8e4((a as u32).to_le_bytes(), (b as u16).to_le_bytes()) as u64;
            unpair = |a, b, _c| u16::from_le_bytes(planes::unpair(a as u8, b as u8)) as u64;
            layout = |a, b, c| match Layout::from_number(a as u8) {
                None => u64::MAX,
                Some(layout) => {
                    let plane = b as usize % layout.planes().max(1);
                    let sizes = layout.record_bytes() as u64 | (layout.group_bytes() as u64) << 8 | (layout.planes() as u64) << 16;
                    let exponents = (layout.has_exponents() as u64) << 24 | (layout.number() as u64) << 25;
                    sizes | exponents | (layout.plane_bytes(plane, c as usize & 0xffff) as u64) << 40
                }
            };
            plane_mode = |a, _b, _c| match PlaneMode::from_u8(a as u8) {
                None => 999,
                Some(mode) => mode as u64 | (mode.is_coded() as u64) << 8,
            };
            // Where a byte of a tile goes.
            locate = |a, b, c| TileJob { output: a, stride: b, width: c as u32, ..TileJob::default() }.locate((c >> 32) as u32);
        }
    };
}
