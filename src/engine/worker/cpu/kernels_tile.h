/* Attention's products of floats, in the compiler's own vectors (kernels_float.h).
 *
 *   tile       TILE_ROWS rows, turned round: value k of all rows together
 *   columns    some at a time: each of their values is spread over the lanes and multiplied by the rows'
 *              values, the sums stay in registers for RUN values
 *
 *      tile[k][row] x column[k] -> acc[column][row]
 *
 * Keys are turned round for it; values stand as they are wanted, a row for each position, and are made floats
 * on the way. */
#ifndef WEIR_ENGINE_WORKER_CPU_KERNELS_TILE_H
#define WEIR_ENGINE_WORKER_CPU_KERNELS_TILE_H

/* VECTORS of sums for each of COLUMNS columns, beside the rows' values, fill 16 registers (32 from 512 bits
 * on and with 128). */
enum { VECTORS = TILE_ROWS / LANES, COLUMNS = LANES == 16 ? 12 : 6, RUN = COLUMN_STRIDE };

/* Vectors of a row at a time (of several tiles side by side, where a tile has fewer): for COLUMNS columns as
 * many as there are registers for, so that a column's value is fetched once for all; for few columns enough
 * chains of sums to hide the latency of an addition. */
enum { OF_MANY = LANES == 16 ? 2 : VECTORS, OF_FOUR = VECTORS < 2 ? 2 : VECTORS, MOST_VECTORS = 4 };

/* ---- Tiles ---- */

#ifndef EIGHT_HALVES
/* Eight halves of each row. */
INLINE void eight_halves(float *tile, const uint8_t *const *rows, size_t at)
{
    for (int r = 0; r < TILE_ROWS; r += LANES) {
        vwords w[4];
        rows_16(w, rows + r, at);
        for (int i = 0; i < 4; i++) {
            store(tile + 2 * i * TILE_ROWS + r, half_low(w[i]));
            store(tile + (2 * i + 1) * TILE_ROWS + r, half_high(w[i]));
        }
    }
}
#endif

static void tile_f32(float *tile, const uint8_t *const *rows, int64_t count)
{
    for (int r = 0; r < TILE_ROWS; r += LANES) {
        int64_t k = 0;
        for (; k + 4 <= count; k += 4) {
            vwords w[4];
            rows_16(w, rows + r, (size_t)k * 4);
            for (int i = 0; i < 4; i++)
                store(tile + (k + i) * TILE_ROWS + r, (vfloats)w[i]);
        }
        for (; k < count; k++)
            store(tile + k * TILE_ROWS + r, (vfloats)rows_word(rows + r, (size_t)k * 4));
    }
}

static void tile_f16(float *tile, const uint8_t *const *rows, int64_t count)
{
    int64_t k = 0;
    for (; k + 8 <= count; k += 8)
        eight_halves(tile + k * TILE_ROWS, rows, (size_t)k * 2);
    for (; k < count; k++)
        for (int r = 0; r < TILE_ROWS; r++)
            tile[k * TILE_ROWS + r] = tensor_float_from_half(read_short(rows[r] + 2 * k));
}

/* Values 4 * i + b of LANES rows are byte b of their words. */
static void tile_q8_0(float *tile, const uint8_t *const *rows, int64_t count)
{
    for (int64_t k = 0; k < count; k += 32)
        for (int r = 0; r < TILE_ROWS; r += LANES) {
            const size_t block = (size_t)k / 32 * 34;
            const vfloats scale = rows_half(rows + r, block);
            for (int i = 0; i < 32; i += 4) {
                vwords w[4];
                if (i % 16 == 0)
                    rows_16(w, rows + r, block + 2 + (size_t)i);
                for (int b = 0; b < 4; b++) {
                    const vints q = (vints)(w[i % 16 / 4] << (24 - 8 * b)) >> 24;
                    store(tile + (k + i + b) * TILE_ROWS + r, __builtin_convertvector(q, vfloats) * scale);
                }
            }
        }
}

/* The low halves of a block's bytes are its first 16 values. */
static void tile_q4_0(float *tile, const uint8_t *const *rows, int64_t count)
{
    for (int64_t k = 0; k < count; k += 32)
        for (int r = 0; r < TILE_ROWS; r += LANES) {
            const size_t block = (size_t)k / 32 * 18;
            const vfloats scale = rows_half(rows + r, block);
            vwords w[4];
            rows_16(w, rows + r, block + 2);
            for (int i = 0; i < 32; i++) {
                const vints q = (vints)(w[i % 16 / 4] >> (8 * (i % 4) + i / 16 * 4) & 15) - 8;
                store(tile + (k + i) * TILE_ROWS + r, __builtin_convertvector(q, vfloats) * scale);
            }
        }
}

/* ---- Products ---- */

/* LANES values of a row, from the `at`-th on. */
typedef vfloats part_fn(const uint8_t *row, int64_t at);

INLINE vfloats part_f32(const uint8_t *row, int64_t at)
{
    vfloats v;
    memcpy(&v, row + 4 * at, sizeof v);
    return v;
}

INLINE vfloats part_f16(const uint8_t *row, int64_t at)
{
    return load_halves(row + 2 * at);
}

INLINE vfloats part_q8_0(const uint8_t *row, int64_t at)
{
    const uint8_t *block = row + at / 32 * 34;
    return __builtin_convertvector(load_bytes(block + 2 + at % 32), vfloats) * read_half(block);
}

INLINE vfloats part_q4_0(const uint8_t *row, int64_t at)
{
    const uint8_t *block = row + at / 32 * 18;
    const vints q = load_bytes(block + 2 + at % 16), nibbles = (at % 32 < 16 ? q : q >> 4) & 15;
    return __builtin_convertvector(nibbles - 8, vfloats) * read_half(block);
}

/* `rows` of TILE_ROWS values each, from the `at`-th on, `row_bytes` apart. */
struct strip_of {
    const uint8_t *rows;
    size_t row_bytes;
    int64_t at;
};

INLINE vfloats part_of(const struct strip_of *s, int64_t k, int v, part_fn *part)
{
    return part(s->rows + (size_t)k * s->row_bytes, s->at + v * LANES);
}

/* One run of rows by n columns: n * vectors chains of sums. */
INLINE void run_columns(float *acc, int64_t acc_stride, const struct strip_of *s, const float *const *x,
    int64_t from, int64_t to, const int n, const int vectors, part_fn *part)
{
    vfloats sums[COLUMNS][MOST_VECTORS];
    for (int c = 0; c < n; c++)
        for (int v = 0; v < vectors; v++)
            sums[c][v] = (vfloats){0};
    for (int64_t k = from; k < to; k++) {
        vfloats w[MOST_VECTORS];
        for (int v = 0; v < vectors; v++)
            w[v] = part_of(s, k, v, part);
        for (int c = 0; c < n; c++)
            for (int v = 0; v < vectors; v++)
                sums[c][v] = plus(w[v], splat(x[c][k]), sums[c][v]);
    }
    for (int c = 0; c < n; c++)
        for (int v = 0; v < vectors; v++) {
            float *at = acc + c * acc_stride + v * LANES;
            store(at, load(at) + sums[c][v]);
        }
}

/* Runs of one column side by side, added in their order: a single one would wait for its own additions. */
INLINE void some_runs(
    float *acc, const struct strip_of *s, const float *x, int64_t from, const int n, part_fn *part)
{
    vfloats sums[4][VECTORS];
    for (int i = 0; i < n; i++)
        for (int v = 0; v < VECTORS; v++)
            sums[i][v] = (vfloats){0};
    for (int64_t k = from; k < from + RUN; k++)
        for (int i = 0; i < n; i++)
            for (int v = 0; v < VECTORS; v++)
                sums[i][v] = plus(part_of(s, k + i * RUN, v, part), splat(x[k + i * RUN]), sums[i][v]);
    for (int v = 0; v < VECTORS; v++) {
        vfloats sum = load(acc + v * LANES);
        for (int i = 0; i < n; i++)
            sum += sums[i][v];
        store(acc + v * LANES, sum);
    }
}

/* One column by one tile. */
INLINE void one_column(
    float *acc, const struct strip_of *s, const float *const *x, int64_t count, part_fn *part)
{
    int64_t from = 0;
    for (; from + 4 * RUN <= count; from += 4 * RUN)
        some_runs(acc, s, *x, from, 4, part);
    for (; from + 2 * RUN <= count; from += 2 * RUN)
        some_runs(acc, s, *x, from, 2, part);
    for (; from < count; from += RUN)
        run_columns(acc, 0, s, x, from, from + RUN < count ? from + RUN : count, 1, VECTORS, part);
}

INLINE void some_columns(float *acc, int64_t acc_stride, const struct strip_of *s, const float *const *x,
    int64_t count, const int n, const int vectors, part_fn *part)
{
    for (int64_t from = 0; from < count; from += RUN)
        run_columns(acc, acc_stride, s, x, from, from + RUN < count ? from + RUN : count, n, vectors, part);
}

/* n columns by all tiles, some vectors of each row at a time. */
INLINE void columns(float *acc, int64_t acc_stride, struct strip_of s, int64_t tiles, const float *const *x,
    int64_t count, const int n, const int vectors, part_fn *part)
{
    for (; tiles * VECTORS >= vectors; tiles -= vectors / VECTORS) {
        some_columns(acc, acc_stride, &s, x, count, n, vectors, part);
        s.at += vectors * LANES;
        acc += vectors * LANES;
    }
    for (; tiles > 0; tiles--, s.at += TILE_ROWS, acc += TILE_ROWS)
        if (n == 1)
            one_column(acc, &s, x, count, part);
        else
            some_columns(acc, acc_stride, &s, x, count, n, VECTORS, part);
}

INLINE void multiply(float *acc, int64_t acc_stride, const struct strip_of *s, int64_t tiles,
    const float *const *x, int64_t n, int64_t count, part_fn *part)
{
    int64_t c = 0;
    for (; c + COLUMNS <= n; c += COLUMNS)
        columns(acc + c * acc_stride, acc_stride, *s, tiles, x + c, count, COLUMNS, OF_MANY, part);
    for (; c + 4 <= n; c += 4)
        columns(acc + c * acc_stride, acc_stride, *s, tiles, x + c, count, 4, OF_FOUR, part);
    for (; c + 2 <= n; c += 2)
        columns(acc + c * acc_stride, acc_stride, *s, tiles, x + c, count, 2, MOST_VECTORS, part);
    for (; c < n; c++)
        columns(acc + c * acc_stride, acc_stride, *s, tiles, x + c, count, 1, MOST_VECTORS, part);
}

/* n columns, COLUMN_STRIDE floats apart: as one run of run_columns. */
INLINE void panel_columns(const struct panel *p, float *acc, const float *x, const int n, const int vectors)
{
    vfloats sums[COLUMNS][MOST_VECTORS];
    const float *rows = p->rows;
    for (int c = 0; c < n; c++)
        for (int v = 0; v < vectors; v++)
            sums[c][v] = (vfloats){0};
    for (int64_t k = 0; k < p->count; k++, rows += p->row_stride) {
        vfloats w[MOST_VECTORS];
        for (int v = 0; v < vectors; v++)
            w[v] = load(rows + v * LANES / TILE_ROWS * p->tile_stride + v * LANES % TILE_ROWS);
        for (int c = 0; c < n; c++) {
            const vfloats value = splat(x[c * COLUMN_STRIDE + k]);
            for (int v = 0; v < vectors; v++)
                sums[c][v] = plus(w[v], value, sums[c][v]);
        }
    }
    for (int c = 0; c < n; c++)
        for (int v = 0; v < vectors; v++) {
            float *at = acc + c * p->acc_stride + v * LANES;
            store(at, load(at) + sums[c][v]);
        }
}

INLINE void panel_tiles(const struct panel *all, float *acc, const float *x, const int n, const int vectors)
{
    struct panel p = *all;
    for (; p.tiles * VECTORS >= vectors; p.tiles -= vectors / VECTORS) {
        panel_columns(&p, acc, x, n, vectors);
        p.rows += vectors / VECTORS * p.tile_stride;
        acc += vectors * LANES;
    }
    for (; p.tiles > 0; p.tiles--, p.rows += p.tile_stride, acc += TILE_ROWS)
        panel_columns(&p, acc, x, n, VECTORS);
}

static void multiply_panel(float *acc, const struct panel *p)
{
    int64_t c = 0;
    for (; c + COLUMNS <= p->n; c += COLUMNS)
        panel_tiles(p, acc + c * p->acc_stride, p->x + c * COLUMN_STRIDE, COLUMNS, OF_MANY);
    for (; c + 4 <= p->n; c += 4)
        panel_tiles(p, acc + c * p->acc_stride, p->x + c * COLUMN_STRIDE, 4, OF_FOUR);
    for (; c + 2 <= p->n; c += 2)
        panel_tiles(p, acc + c * p->acc_stride, p->x + c * COLUMN_STRIDE, 2, MOST_VECTORS);
    for (; c < p->n; c++)
        panel_tiles(p, acc + c * p->acc_stride, p->x + c * COLUMN_STRIDE, 1, MOST_VECTORS);
}

#define MULTIPLY_ROWS(type)                                                                                  \
    static void multiply_##type(float *acc, int64_t acc_stride, const uint8_t *rows, size_t row_bytes,       \
        int64_t at, int64_t tiles, const float *const *x, int64_t n, int64_t count)                          \
    {                                                                                                        \
        multiply(acc, acc_stride, &(struct strip_of){rows, row_bytes, at}, tiles, x, n, count, part_##type); \
    }

MULTIPLY_ROWS(f32)
MULTIPLY_ROWS(f16)
MULTIPLY_ROWS(q8_0)
MULTIPLY_ROWS(q4_0)

#define TILE_PRODUCTS                                                                                        \
    .tile = {[TENSOR_F32] = tile_f32,                                                                        \
        [TENSOR_F16] = tile_f16,                                                                             \
        [TENSOR_Q8_0] = tile_q8_0,                                                                           \
        [TENSOR_Q4_0] = tile_q4_0},                                                                          \
    .multiply = {[TENSOR_F32] = multiply_f32,                                                                \
        [TENSOR_F16] = multiply_f16,                                                                         \
        [TENSOR_Q8_0] = multiply_q8_0,                                                                       \
        [TENSOR_Q4_0] = multiply_q4_0},                                                                      \
    .multiply_panel = multiply_panel

#endif
