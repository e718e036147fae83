//! The CUDA driver API on top of the executor: what a program gets that opens `libcuda.so` and finds this library.
//!
//! | module                      | what it is                                                                    |
//! |-----------------------------|-------------------------------------------------------------------------------|
//! | `ffi`                       | the entry points: C in, checked Rust out; no panic and no bad handle gets past |
//! | `state`, `handle`           | what the process shares; handles are numbers looked up, never addresses        |
//! | `context`, `stream`, `event`| device work in queues; tickets are points in them, and all ordering is tickets |
//! | `work`                      | copies, fills, frees, launches                                                 |
//! | `host_memory`               | pinned memory                                                                  |
//! | `module`, `launch`, `device`| PTX modules, launch checks, limits                                             |
//! | `fault`, `counters`         | what went wrong, what was counted                                              |
//! | `settings`, `inject`        | the knobs below                                                                |
//!
//! # Knobs
//! Environment variables, read once; `wcodec_emulator_set(name, value)` changes one while the process runs, by its name in
//! lower case without the prefix (`"lazy"`, `"1"`).
//!
//! | `WCODEC_EMULATOR_…`  | default      | meaning                                                                          |
//! |----------------------|--------------|----------------------------------------------------------------------------------|
//! | `SANITIZE`           | 1            | find uninitialised reads, races and missed barriers; poison copies under way     |
//! | `THREADS`            | host threads | threads that run a launch, and the number of multiprocessors reported            |
//! | `COUNT`              | 0            | count events of every launch                                                     |
//! | `COUNTERS`           | none         | count, and write JSON to this path whenever something synchronises               |
//! | `LAZY`               | 0            | do queued work only when somebody waits, asks, or queued a callback after it     |
//! | `DELAY_US`           | 100          | microseconds before an asynchronous copy accesses pinned memory                  |
//! | `DEVICES`            | 1            | devices that there are, 16 at most; none reaches another's memory                |
//! | `MEMORY`             | 16 GiB       | bytes of device memory of contexts made from now on; taken from the host lazily  |
//! | `CAPABILITY`         | 12.0         | compute capability; PTX for a newer one is refused                               |
//! | `INSTRUCTION_LIMIT`  | 2³²          | instructions of a warp before it counts as hung; 0 for no limit                  |
//! | `FAIL`               | none         | faults to inject, see below                                                      |
//!
//! # Injected faults
//! `FAIL` is a comma-separated list of `point` (always), `point:N` (the Nth time, from 1), `point:N+` (from then on) and
//! `point>BYTES` (larger requests). Setting it starts the counts anew.
//!
//! | point         | what happens                                                                                |
//! |---------------|---------------------------------------------------------------------------------------------|
//! | `init`        | `cuInit` returns `NO_DEVICE`                                                                |
//! | `driver-old`  | `cuDriverGetVersion` reports 11000                                                          |
//! | `alloc`       | a device allocation returns `OUT_OF_MEMORY`                                                 |
//! | `host-alloc`  | a pinned allocation or registration returns `OUT_OF_MEMORY`                                 |
//! | `module`      | a module load returns `INVALID_PTX`                                                         |
//! | `submit`      | a launch call returns `LAUNCH_OUT_OF_RESOURCES`; the context stays usable                   |
//! | `launch`      | a launch is queued and fails when its turn comes: `LAUNCH_FAILED` sticks                    |
//! | `copy`        | a copy is queued and fails when its turn comes: `ECC_UNCORRECTABLE` sticks                  |
//! | `device-lost` | from this launch on every call returns `DEVICE_UNAVAILABLE`, until `FAIL` is set anew       |
//!
//! # Where missing synchronisation shows
//! Copies and launches return at once and are done by the stream's own thread. A copy from pinned memory reads it late; a copy
//! into it first fills it with `0xa5`. Pageable memory follows CUDA's rules: copies from it take the bytes before the call
//! returns, copies into it return when done. Memory that is freed or unregistered while queued work refers to it makes the
//! context fail with `ILLEGAL_ADDRESS`: a real driver may wait instead, or not.
//!
//! # Failures
//! Out of bounds, freed and read-only memory: `ILLEGAL_ADDRESS`. Misaligned: `MISALIGNED_ADDRESS`. `trap`:
//! `ILLEGAL_INSTRUCTION`. Instruction limit: `LAUNCH_TIMEOUT`. All else the sanitizer finds: `LAUNCH_FAILED`. They stick: every
//! later call in the context returns the code. The text goes to standard error and to `wcodec_emulator_last_fault`.
//!
//! # Not there
//! Graphs and stream capture, managed memory, virtual memory management, arrays and textures, cooperative and cluster launches,
//! linking, cubins. Their entry points return `NOT_SUPPORTED`.

mod context;
mod counters;
mod device;
mod event;
mod fault;
#[allow(unsafe_code)]
#[allow(non_snake_case)]
mod ffi;
mod handle;
#[allow(unsafe_code)]
mod host_memory;
mod inject;
mod launch;
mod module;
mod settings;
mod state;
mod status;
mod stream;
mod sync;
mod work;
