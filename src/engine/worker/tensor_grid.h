/* The codebooks of the IQ types: points of eight (or four) values, each value a small code.
 *
 *   iq1, iq2: eight codes of 2 bits, the first lowest      iq3: four codes of 4 bits, of which 3 are used
 *
 * What a code stands for is at the readers in tensor_dequant_iq.c. */
#ifndef WEIR_ENGINE_WORKER_TENSOR_GRID_H
#define WEIR_ENGINE_WORKER_TENSOR_GRID_H

#include <stdint.h>

extern const uint16_t tensor_grid_iq1[2048];
extern const uint16_t tensor_grid_iq2_xxs[256], tensor_grid_iq2_xs[512], tensor_grid_iq2_s[1024];
extern const uint16_t tensor_grid_iq3_xxs[256], tensor_grid_iq3_s[512];

#endif
