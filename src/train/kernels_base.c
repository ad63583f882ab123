/* For every CPU of the architecture: vectors of four. */
#define KERNELS train_kernels_base
#define ISA "base"
#define LANES 4
#define TILE_ROWS 6
#if defined(__aarch64__)
#define TILE_VECTORS 4 /* 32 registers */
#else
#define TILE_VECTORS 2
#endif
#include "train/kernels_body.h"
