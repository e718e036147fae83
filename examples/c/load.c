// Loads an archive from C: prints each tensor as it becomes ready, and a checksum of all bytes.
//
//     cargo build --release -p wcodec-capi
//     cc -Icapi/include examples/c/load.c -Ltarget/release -lwcodec_c -Wl,-rpath,target/release -o target/load && target/load model.wcodec

#include <inttypes.h>
#include <stdio.h>
#include "wcodec.h"

int main(int argc, char **argv) {
  if (argc < 2) {
    fprintf(stderr, "usage: %s ARCHIVE [DEVICE]\n", argv[0]);
    return 2;
  }
  wcodec_options options = {0};
  options.device = argc > 2 ? argv[2] : NULL;
  wcodec_load *load;
  if (wcodec_load_open(argv[1], &options, &load) != WCODEC_OK) {
    fprintf(stderr, "%s\n", wcodec_last_error());
    return 1;
  }
  uint64_t sum = 0;
  wcodec_tensor tensor;
  wcodec_status status;
  while ((status = wcodec_load_next(load, &tensor)) == WCODEC_OK) {
    printf("%s %s [", tensor.name, tensor.dtype);
    for (uint32_t d = 0; d < tensor.ndim; d++) printf("%s%" PRIu64, d ? ", " : "", tensor.shape[d]);
    printf("] %" PRIu64 " bytes\n", tensor.byte_len);
    if (tensor.device < 0) {
      const unsigned char *bytes = tensor.data;
      for (uint64_t i = 0; i < tensor.byte_len; i++) sum = sum * 31 + bytes[i];
    }
    wcodec_tensor_free(&tensor);
  }
  if (status != WCODEC_END) {
    fprintf(stderr, "%s\n", wcodec_last_error());
    wcodec_load_free(load);
    return 1;
  }
  wcodec_progress progress;
  wcodec_load_progress(load, &progress);
  printf("%" PRIu64 " tensors, checksum %016" PRIx64 "\n", progress.ready, sum);
  wcodec_load_free(load);
  return 0;
}
