// The loader of .wcodec archives. Generated from capi/src by cbindgen: `WCODEC_WRITE_HEADER=1 cargo test -p wcodec-capi header`.

#ifndef WCODEC_H
#define WCODEC_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

// What a function came to.
typedef enum {
  // Done.
  WCODEC_OK = 0,
  // There are no more tensors.
  WCODEC_END = 1,
  // An argument is null, not UTF-8, or does not fit.
  WCODEC_INVALID_ARGUMENT = -1,
  // A file could not be read.
  WCODEC_IO = -2,
  // The archive is damaged, or none.
  WCODEC_CORRUPT = -3,
  // The archive needs a newer version.
  WCODEC_UNSUPPORTED = -4,
  // No tensor of that name.
  WCODEC_NOT_FOUND = -5,
  // A GPU or its driver is missing or failed.
  WCODEC_DEVICE = -6,
  // The load was cancelled.
  WCODEC_CANCELLED = -7,
  // Anything else.
  WCODEC_FAILED = -8,
} wcodec_status;

// A load in progress.
typedef struct wcodec_load wcodec_load;

// How to load. All zeros are the defaults.
typedef struct {
  // "cpu", "cuda", "cuda:1", "auto", "emulator"; null: "cpu".
  const char *device;
  // Bytes of buffers at most; 0: the default.
  uint64_t budget;
  // Threads that decode, or streams; 0: one for each core.
  uint32_t threads;
  // This process's rank of `world` in a tensor-parallel group; `world` 0 or 1: everything is loaded.
  uint32_t rank;
  // See `rank`.
  uint32_t world;
} wcodec_options;

// A tensor that is ready. Valid until `wcodec_tensor_free`, also after the load was freed.
typedef struct {
  // Its name, UTF-8, ended by a zero byte.
  const char *name;
  // Its element type as safetensors calls it ("BF16"), or "" if that knows none.
  const char *dtype;
  // `ndim` lengths.
  const uint64_t *shape;
  // Number of dimensions.
  uint32_t ndim;
  // -1: `data` is host memory, on a cache line; else the number of the CUDA device whose address it is.
  int32_t device;
  // The bytes.
  void *data;
  // How many.
  uint64_t byte_len;
  // The library's own.
  void *owner;
} wcodec_tensor;

// How far a load is.
typedef struct {
  // Bytes of the archive that were read, and that will be.
  uint64_t read;
  // See `read`.
  uint64_t to_read;
  // Decoded bytes, and those to be decoded.
  uint64_t decoded;
  // See `decoded`.
  uint64_t to_decode;
  // Tensors that are ready, and all.
  uint64_t ready;
  // See `ready`.
  uint64_t tensors;
} wcodec_progress;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Why the last call of this thread that failed did: text that is valid until the next one fails.
const char *wcodec_last_error(void);

// Starts loading the archive at `path`. `options` may be null.
//
// # Safety
// `path` and the options' strings are ended by zero bytes; `out` may be written to.
wcodec_status wcodec_load_open(const char *path, const wcodec_options *options, wcodec_load **out);

// Waits for the next tensor: `WCODEC_OK` and a tensor, `WCODEC_END`, or an error, after which there are no more. Whatever comes, `out` may be given to
// `wcodec_tensor_free`.
//
// # Safety
// `load` is of `wcodec_load_open` and not freed; `out` may be written to.
wcodec_status wcodec_load_next(const wcodec_load *load,
                               wcodec_tensor *out);

// Frees a tensor; a second time does nothing. Work that was queued on a GPU must be done with it.
//
// # Safety
// `tensor` is null or of `wcodec_load_next`.
void wcodec_tensor_free(wcodec_tensor *tensor);

// Hands a tensor over as a `DLManagedTensor *` (DLPack 0.8), whose deleter frees it; null, and the tensor freed, if DLPack has no word for its
// type.
//
// # Safety
// `tensor` is null or of `wcodec_load_next`.
void *wcodec_tensor_into_dlpack(wcodec_tensor *tensor);

// How far a load is; may be asked from any thread while another waits for tensors.
//
// # Safety
// `load` is of `wcodec_load_open` and not freed; `out` may be written to.
wcodec_status wcodec_load_progress(const wcodec_load *load, wcodec_progress *out);

// Asks a load to stop; the next tensor is then an error, unless all were ready. May be called from any thread.
//
// # Safety
// `load` is null, or of `wcodec_load_open` and not freed.
void wcodec_load_cancel(const wcodec_load *load);

// Ends a load: cancels it if it is not over, and frees it. Tensors that came of it stay.
//
// # Safety
// `load` is null, or of `wcodec_load_open` and not freed; no other thread uses it.
void wcodec_load_free(wcodec_load *load);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* WCODEC_H */
