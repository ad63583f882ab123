/* Importance matrices: how much each input of a model's matrices weighs, which is the sum of its squares over
 * a text (weir imatrix), so that weir quantize keeps exact what matters. Files as llama.cpp has them:
 *
 *   GGUF   general.type "imatrix", imatrix.datasets, .chunk_count, .chunk_size; for each matrix NAME
 *          NAME.in_sum2 F32 [inputs, experts] and NAME.counts F32 [1, experts]
 *   .dat   i32 entries | each: i32 length, name, i32 chunks, i32 values, f32 means times chunks
 *          | i32 chunks | i32 length, data set                         (the older form; it is only read) */
#ifndef WEIR_TRAIN_IMATRIX_H
#define WEIR_TRAIN_IMATRIX_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/str.h"

struct imatrix_entry {
    struct str name;       /* of the matrix, "blk.0.attn_q.weight" */
    int64_t n_values;      /* sums: inputs x experts */
    int64_t n_counts;      /* 1, or as many as experts; divides n_values */
    double *sums, *counts; /* counts: tokens (.dat: chunks) that the sums are over */
};

struct imatrix {
    struct arena *arena;
    struct imatrix_entry *entries; /* by name */
    size_t n_entries, max_entries;
    struct str *datasets; /* names of the texts */
    size_t n_datasets, max_datasets;
    int64_t chunks, chunk_size; /* windows, tokens in one */
    int64_t windows;            /* of the last text: where `weir imatrix --resume` goes on */
    bool legacy;                /* read from a .dat file */
};

void imatrix_init(struct imatrix *m);
void imatrix_free(struct imatrix *m); /* zeroed is allowed */

/* Reads a file of either form, which is not trusted: ERROR_INVALID names what is wrong with it. */
int imatrix_read(const char *path, struct imatrix *out, struct error *err) MUST_USE;
/* The same of bytes; `name` is the file's, for errors. */
int imatrix_parse(struct str bytes, const char *name, struct imatrix *out, struct error *err) MUST_USE;
/* Writes the GGUF form, all of it or nothing. */
int imatrix_write(const struct imatrix *m, const char *path, struct error *err) MUST_USE;

/* NULL: there is none. */
struct imatrix_entry *imatrix_find(const struct imatrix *m, struct str name);
/* The entry, made of zeros where there is none. ERROR_INVALID where it is there in another size. */
int imatrix_entry(struct imatrix *m, struct str name, int64_t n_values, int64_t n_counts,
    struct imatrix_entry **out, struct error *err) MUST_USE;
/* The text's name joins the data sets. */
int imatrix_dataset(struct imatrix *m, struct str name, struct error *err) MUST_USE;
/* Adds what another text gave. Windows of .dat files are taken to have `chunk_size` tokens. */
int imatrix_add(
    struct imatrix *to, const struct imatrix *from, int64_t chunk_size, struct error *err) MUST_USE;

/* The mean square of each input of each expert, n_values floats; 1 for experts that no token came to. */
void imatrix_means(const struct imatrix *m, const struct imatrix_entry *e, float *out);

#endif
