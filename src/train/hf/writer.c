#include "train/hf/writer.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "json/json.h"
#include "train/hf/safetensors.h"

/* A run of the tensors goes to one file. */
struct file_run {
    size_t first, n;
    uint64_t bytes;
};

struct writing {
    const struct pour *pour;
    const struct pour_tensor *tensors; /* as the caller has them */
    const size_t *order;
    size_t n;
    struct arena *arena;
    const char *folder, *name;
};

static void header_make(const struct writing *w, struct file_run r, struct buf *out)
{
    struct json_writer j;
    uint64_t at = 0;
    json_writer_init(&j, out);
    json_object_begin(&j);
    json_key(&j, "__metadata__");
    json_write_raw(&j, STR("{\"format\":\"pt\"}"));
    for (size_t i = 0; i < r.n; i++) {
        const struct pour_tensor *t = &w->tensors[w->order[r.first + i]];
        json_key_str(&j, str_from(t->name));
        json_object_begin(&j);
        json_key(&j, "dtype");
        json_write_text(&j, safetensors_type_name(t->type));
        json_key(&j, "shape");
        json_array_begin(&j);
        for (uint32_t d = t->n_dims; d-- > 0;)
            json_write_int(&j, t->shape[d]);
        json_array_end(&j);
        json_key(&j, "data_offsets");
        json_array_begin(&j);
        json_write_int(&j, (int64_t)at);
        at += pour_bytes(t);
        json_write_int(&j, (int64_t)at);
        json_array_end(&j);
        json_object_end(&j);
    }
    json_object_end(&j);
    while (out->len % 8 != 0 && !out->failed)
        buf_append_char(out, ' ');
}

/* The run's tensors as they stand in the file, for pour: its functions get a place in that list. */
struct reordered {
    const struct writing *w;
    size_t first;
};

static int begin(void *ctx, size_t i, struct error *err)
{
    const struct reordered *r = ctx;
    const struct pour *p = r->w->pour;
    return p->begin ? p->begin(p->ctx, r->w->order[r->first + i], err) : 0;
}

static int rows(void *ctx, size_t i, int64_t first, int64_t n, float *to, struct error *err)
{
    const struct reordered *r = ctx;
    const struct pour *p = r->w->pour;
    return p->rows(p->ctx, r->w->order[r->first + i], first, n, to, err);
}

static int run_write(const struct writing *w, struct file_run run, const char *name, struct error *err)
{
    struct pour_tensor *list = calloc(run.n + 1, sizeof *list);
    struct reordered reordered = {w, run.first};
    struct pour pour = *w->pour;
    struct file_writer f;
    struct buf header;
    uint64_t length;
    pour.begin = begin;
    pour.rows = rows;
    pour.ctx = &reordered;
    buf_init(&header, GIB);
    header_make(w, run, &header);
    length = header.len;
    int rc = list && !header.failed ? 0 : error_set(err, ERROR_MEMORY, "no memory to write %s", name);
    for (size_t i = 0; i < run.n && rc == 0; i++)
        list[i] = w->tensors[w->order[run.first + i]];
    rc = rc ? rc : file_begin(&f, arena_printf(w->arena, "%s/%s", w->folder, name).data, err);
    if (rc == 0) {
        file_write(&f, &length, sizeof length);
        file_write(&f, header.data, header.len);
        rc = pour_write(&pour, list, run.n, NULL, &f, err);
        if (rc)
            file_abandon(&f);
        else
            rc = file_commit(&f, err);
    }
    buf_free(&header);
    free(list);
    return rc;
}

static const char *shard_name(const struct writing *w, size_t i, size_t of)
{
    return of == 1 ? arena_printf(w->arena, "%s.safetensors", w->name).data
                   : arena_printf(w->arena, "%s-%05zu-of-%05zu.safetensors", w->name, i + 1, of).data;
}

static const char *index_name(const struct writing *w)
{
    return arena_printf(w->arena, "%s/%s.safetensors.index.json", w->folder, w->name).data;
}

static int index_write(const struct writing *w, const struct file_run *runs, size_t n, struct error *err)
{
    struct json_writer j;
    struct buf out;
    uint64_t total = 0;
    buf_init(&out, GIB);
    json_writer_init(&j, &out);
    json_object_begin(&j);
    json_key(&j, "metadata");
    json_object_begin(&j);
    for (size_t i = 0; i < n; i++)
        total += runs[i].bytes;
    json_key(&j, "total_size");
    json_write_int(&j, (int64_t)total);
    json_object_end(&j);
    json_key(&j, "weight_map");
    json_object_begin(&j);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < runs[i].n; k++) {
            json_key_str(&j, str_from(w->tensors[w->order[runs[i].first + k]].name));
            json_write_text(&j, shard_name(w, i, n));
        }
    json_object_end(&j);
    json_object_end(&j);
    int rc = file_put(index_name(w), &out, err);
    buf_free(&out);
    return rc;
}

/* "model-00002-of-00003.safetensors" of the model's name; *of: 3. */
static bool is_shard(struct str file, struct str name, int64_t *of)
{
    const struct str end = STR(".safetensors");
    const size_t numbers = sizeof "-00002-of-00003" - 1;
    if (file.len != name.len + numbers + end.len || !str_starts(file, name) || !str_ends(file, end))
        return false;
    file = str_slice(file, name.len, name.len + numbers);
    int64_t number;
    return file.data[0] == '-' && str_to_int64(str_slice(file, 1, 6), &number) &&
           str_eq(str_slice(file, 6, 10), STR("-of-")) && str_to_int64(str_slice(file, 10, 15), of);
}

/* What an earlier export left would be read instead of the new weights (an index comes before one file), or
 * be taken for a part of them. */
static int old_remove(const struct writing *w, size_t files, struct error *err)
{
    DIR *dir = opendir(w->folder);
    int rc = dir ? 0 : error_set(err, ERROR_IO, "cannot open the folder %s: %s", w->folder, strerror(errno));
    for (const struct dirent *e; rc == 0 && (e = readdir(dir)) != NULL;) {
        int64_t of;
        if (is_shard(str_from(e->d_name), str_from(w->name), &of) && (files == 1 || of != (int64_t)files))
            rc = file_remove(arena_printf(w->arena, "%s/%s", w->folder, e->d_name).data, err);
    }
    if (dir)
        closedir(dir);
    if (rc == 0 && files > 1)
        rc = file_remove(arena_printf(w->arena, "%s/%s.safetensors", w->folder, w->name).data, err);
    return rc;
}

/* At no time there is an index beside files that are not its. */
static int files_write(const struct writing *w, const struct file_run *runs, size_t files, struct error *err)
{
    int rc = file_remove(index_name(w), err);
    for (size_t i = 0; i < files && rc == 0; i++)
        rc = run_write(w, runs[i], shard_name(w, i, files), err);
    rc = rc ? rc : old_remove(w, files, err);
    return rc || files == 1 ? rc : index_write(w, runs, files, err);
}

static size_t runs_cut(const struct writing *w, uint64_t shard, struct file_run *runs)
{
    size_t n = 0;
    for (size_t i = 0; i < w->n; i++) {
        const uint64_t bytes = pour_bytes(&w->tensors[w->order[i]]);
        if (n == 0 || runs[n - 1].bytes + bytes > shard)
            runs[n++] = (struct file_run){.first = i};
        runs[n - 1].n++;
        runs[n - 1].bytes += bytes;
    }
    return n;
}

/* Wide types first; else as they were. */
static void order_make(const struct pour_tensor *tensors, size_t *order, size_t n)
{
    size_t at = 0;
    for (uint32_t bytes = 8; bytes > 0; bytes /= 2)
        for (size_t i = 0; i < n; i++)
            if (tensor_type_info(tensors[i].type)->block_bytes == bytes)
                order[at++] = i;
}

int safetensors_write(const struct pour *pour, const struct pour_tensor *tensors, size_t n,
    const char *folder, const char *name, uint64_t shard, struct error *err)
{
    struct writing w = {
        .pour = pour, .tensors = tensors, .n = n, .arena = arena_create(GIB), .folder = folder, .name = name};
    size_t *order = arena_try_array(w.arena, size_t, n + 1);
    struct file_run *runs = arena_try_array(w.arena, struct file_run, n + 1);
    int rc = order && runs ? 0 : error_set(err, ERROR_MEMORY, "no memory for %zu tensors", n);
    size_t files = 0;
    if (rc == 0) {
        order_make(tensors, order, n);
        w.order = order;
        files = runs_cut(&w, shard, runs);
    }
    rc = rc ? rc : files_write(&w, runs, files, err);
    arena_free(w.arena);
    return rc;
}
