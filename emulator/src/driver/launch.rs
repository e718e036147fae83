//! What a launch must satisfy before it is queued.

use super::device::{MAX_BLOCK, MAX_GRID, MAX_THREADS_PER_BLOCK, SHARED_PER_BLOCK, SHARED_PER_BLOCK_OPTIN};
use super::status::{Checked, Status};

/// Grid, block and dynamic shared memory of a launch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub dynamic_shared: u32,
}

/// What a kernel needs and allows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub static_shared: u32,
    /// Bytes allowed by `CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES`.
    pub max_dynamic_shared: u32,
    pub max_threads: u32,
}

impl Limits {
    /// Of a kernel with this much static shared memory, before anybody asked for more.
    pub(crate) fn new(static_shared: u32, max_threads: u32) -> Limits {
        Limits { static_shared, max_dynamic_shared: SHARED_PER_BLOCK.saturating_sub(static_shared), max_threads }
    }

    /// Checks a request for `bytes` of dynamic shared memory.
    pub(crate) fn allows_dynamic_shared(static_shared: u32, bytes: i32) -> Checked<u32> {
        let bytes = u32::try_from(bytes).map_err(|_| Status::INVALID_VALUE)?;
        let total = bytes.checked_add(static_shared).ok_or(Status::INVALID_VALUE)?;
        if total <= SHARED_PER_BLOCK_OPTIN { Ok(bytes) } else { Err(Status::INVALID_VALUE) }
    }

    /// Checks `shape` as the driver does when a launch is made.
    pub(crate) fn check(&self, shape: &Shape) -> Checked {
        let fits = |size: [u32; 3], limit: [u32; 3]| size.iter().zip(limit).all(|(&size, limit)| (1..=limit).contains(&size));
        if !fits(shape.grid, MAX_GRID) || !fits(shape.block, MAX_BLOCK) {
            return Err(Status::INVALID_VALUE);
        }
        let threads: u32 = shape.block.iter().product();
        if threads > MAX_THREADS_PER_BLOCK || shape.dynamic_shared > self.max_dynamic_shared {
            return Err(Status::INVALID_VALUE);
        }
        if threads > self.max_threads { Err(Status::LAUNCH_OUT_OF_RESOURCES) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn launches_out_of_bounds_are_refused() {
        let limits = Limits::new(1 << 10, 256);
        let check = |grid, block, dynamic_shared| limits.check(&Shape { grid, block, dynamic_shared });
        assert_eq!(check([1, 1, 1], [256, 1, 1], 47 << 10), Ok(()));
        assert_eq!(check([i32::MAX as u32, 65535, 65535], [1, 1, 64], 0), Ok(()));
        assert_eq!(check([1, 1, 1], [257, 1, 1], 0), Err(Status::LAUNCH_OUT_OF_RESOURCES));
        let refused = [
            ([0, 1, 1], [1, 1, 1], 0),
            ([1 << 31, 1, 1], [1, 1, 1], 0),
            ([1, 65536, 1], [1, 1, 1], 0),
            ([1, 1, 1], [1, 1, 65], 0),
            ([1, 1, 1], [1, 0, 1], 0),
            ([1, 1, 1], [1024, 1024, 64], 0),
            ([1, 1, 1], [1, 1, 1], (47 << 10) + 1),
        ];
        for (grid, block, shared) in refused {
            assert_eq!(check(grid, block, shared), Err(Status::INVALID_VALUE), "{grid:?} {block:?} {shared}");
        }
    }

    #[test]
    fn shared_memory_can_be_raised_to_the_opt_in_limit() {
        assert_eq!(Limits::allows_dynamic_shared(1024, 98 << 10), Ok(98 << 10));
        assert_eq!(Limits::allows_dynamic_shared(1024, (98 << 10) + 1), Err(Status::INVALID_VALUE));
        assert_eq!(Limits::allows_dynamic_shared(0, -1), Err(Status::INVALID_VALUE));
    }
}
