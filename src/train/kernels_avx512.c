#if defined(__x86_64__)
#define KERNELS train_kernels_avx512
#define ISA "avx512"
#define LANES 16
#define TILE_ROWS 12 /* 24 of 32 registers hold sums */
#define TILE_VECTORS 2
#include "train/kernels_body.h"
#else
typedef int nothing_here; /* a file of C holds something */
#endif
