/* What code on the matrix unit (AMX) shares. */
#ifndef WEIR_ENGINE_WORKER_CPU_TILES_H
#define WEIR_ENGINE_WORKER_CPU_TILES_H

#include <stdint.h>

/* LDTILECFG's operand: eight tiles of 16 rows of 64 bytes. */
struct tile_shapes {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
};

static const struct tile_shapes tile_shapes = {
    .palette = 1, .row_bytes = {64, 64, 64, 64, 64, 64, 64, 64}, .rows = {16, 16, 16, 16, 16, 16, 16, 16}};

/* (gcc 12's intrinsic says that eight bytes are read, so that what is written to the others may be left out.) */
static inline void tiles_configure(const struct tile_shapes *shapes)
{
    __asm__ volatile("ldtilecfg %0" ::"m"(*shapes));
}

/* gcc's intrinsics do not say what memory they read and write. */
#define TILE_FENCE __asm__ volatile("" ::: "memory")

#endif
