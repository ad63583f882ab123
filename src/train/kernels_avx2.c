#if defined(__x86_64__)
#define KERNELS train_kernels_avx2
#define ISA "avx2"
#define LANES 8
#define TILE_ROWS 6 /* 12 of 16 registers hold sums */
#define TILE_VECTORS 2
#include "train/kernels_body.h"
#else
typedef int nothing_here; /* a file of C holds something */
#endif
