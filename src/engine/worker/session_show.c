/* SHOW: what a model file holds. TENSOR: one tensor's values.
 *
 *   {"version","file_bytes","files",
 *    "metadata":{KEY: value}, an array as {"of","count","first":[...]},      "types":{KEY: "uint32"|...},
 *    "tensors":[{"name","type","shape":[...],"offset","bytes"}],
 *    "fit"?: see session_fit.c,
 *    "totals":{"tensors","parameters","bytes","types":{"Q4_K":{"tensors","bytes"}}}}
 *
 * Keys and names are text and unique: gguf.c sees to that. */
#include <stdlib.h>
#include <string.h>

#include "engine/worker/session_inner.h"

enum {
    ARRAY_SHOWN = 8,           /* elements of an array */
    STRING_SHOWN = 256 * 1024, /* bytes of a string */
    ELEMENT_SHOWN = 256,       /* bytes of a string in an array */
    TENSOR_CHUNK = 256 * 256   /* values in a DATA frame: whole blocks of every type */
};

/* ---- SHOW ---- */

/* Text of the file: cut where it is long, without U+0000, which readers of JSON refuse. */
static void text_write(struct json_writer *w, struct str text, size_t most)
{
    if (text.len > most)
        text.len = str_utf8_floor(text.data, most);
    if (str_find_char(text, '\0') == SIZE_MAX) {
        json_write_str(w, text);
        return;
    }
    struct buf clean;
    buf_init(&clean, 4 * most);
    for (size_t i = 0; i < text.len; i++)
        if (text.data[i])
            buf_append_char(&clean, text.data[i]);
        else
            buf_append_text(&clean, "\xEF\xBF\xBD");
    json_write_str(w, buf_str(&clean));
    buf_free(&clean);
}

static void float_write(struct json_writer *w, const uint8_t *at)
{
    float value;
    memcpy(&value, at, sizeof value);
    json_write_double(w, (double)value);
}

/* One packed scalar of an array. */
static void element_write(struct json_writer *w, enum gguf_type type, const uint8_t *at, size_t size)
{
    uint64_t bits = 0;
    double real;
    memcpy(&bits, at, size);
    unsigned shift = (unsigned)(64 - 8 * size);
    switch (type) {
    case GGUF_FLOAT32:
        float_write(w, at);
        break;
    case GGUF_FLOAT64:
        memcpy(&real, at, sizeof real);
        json_write_double(w, real);
        break;
    case GGUF_BOOL:
        json_write_bool(w, bits != 0);
        break;
    case GGUF_INT8:
    case GGUF_INT16:
    case GGUF_INT32:
    case GGUF_INT64:
        json_write_int(w, (int64_t)(bits << shift) >> shift);
        break;
    default:
        json_write_int(w, bits > INT64_MAX ? INT64_MAX : (int64_t)bits);
    }
}

static void array_write(struct json_writer *w, const struct gguf_array *array)
{
    uint64_t shown = array->count < ARRAY_SHOWN ? array->count : ARRAY_SHOWN;
    size_t cursor = 0, size = array->count ? array->bytes / array->count : 0;
    struct str text;
    json_object_begin(w);
    json_member_text(w, "of", gguf_type_name(array->type));
    json_member_int(w, "count", (int64_t)array->count);
    json_key(w, "first");
    json_array_begin(w);
    for (uint64_t i = 0; i < shown; i++) {
        if (array->type == GGUF_STRING && gguf_array_next(array, &cursor, &text))
            text_write(w, text, ELEMENT_SHOWN);
        else if (array->type != GGUF_STRING && array->type != GGUF_ARRAY && size >= 1 && size <= 8)
            element_write(w, array->type, (const uint8_t *)array->data + i * size, size);
    }
    json_array_end(w);
    json_object_end(w);
}

static void value_write(struct json_writer *w, const struct gguf_pair *pair)
{
    switch (pair->type) {
    case GGUF_ARRAY:
        array_write(w, &pair->array);
        break;
    case GGUF_STRING:
        text_write(w, pair->s, STRING_SHOWN);
        break;
    case GGUF_BOOL:
        json_write_bool(w, pair->b);
        break;
    case GGUF_FLOAT32:
    case GGUF_FLOAT64:
        json_write_double(w, pair->f);
        break;
    case GGUF_INT8:
    case GGUF_INT16:
    case GGUF_INT32:
    case GGUF_INT64:
        json_write_int(w, pair->i);
        break;
    default:
        json_write_int(w, pair->u > INT64_MAX ? INT64_MAX : (int64_t)pair->u);
    }
}

static void metadata_write(struct json_writer *w, const struct gguf *g)
{
    json_key(w, "metadata");
    json_object_begin(w);
    for (size_t i = 0; i < gguf_n_pairs(g); i++) {
        json_key_str(w, gguf_pair_at(g, i)->key);
        value_write(w, gguf_pair_at(g, i));
    }
    json_object_end(w);
    json_key(w, "types");
    json_object_begin(w);
    for (size_t i = 0; i < gguf_n_pairs(g); i++) {
        json_key_str(w, gguf_pair_at(g, i)->key);
        json_write_text(w, gguf_type_name(gguf_pair_at(g, i)->type));
    }
    json_object_end(w);
}

static int64_t tensor_values(const struct tensor *t)
{
    return t->shape[0] * tensor_rows(t);
}

/* Where the data of the first tensor lies; NULL for a split model, whose parts are mapped apart. */
static const uint8_t *data_start(const struct session *s)
{
    const uint8_t *first = NULL;
    for (size_t i = 0; s->setup.n_files == 1 && i < gguf_n_tensors(s->gguf); i++) {
        const uint8_t *data = gguf_tensor_at(s->gguf, i)->data;
        if (!first || (data && data < first))
            first = data;
    }
    return first;
}

static void tensor_write(struct json_writer *w, const struct tensor *t, const uint8_t *start)
{
    json_object_begin(w);
    json_key(w, "name");
    text_write(w, t->name, TENSOR_NAME_MAX);
    json_member_text(w, "type", tensor_type_info(t->type)->name);
    json_key(w, "shape");
    json_array_begin(w);
    for (uint32_t i = 0; i < t->n_dims; i++)
        json_write_int(w, t->shape[i]);
    json_array_end(w);
    if (start && t->data)
        json_member_int(w, "offset", (const uint8_t *)t->data - start);
    json_member_int(w, "bytes", (int64_t)t->bytes);
    json_object_end(w);
}

static void totals_write(struct json_writer *w, const struct gguf *g)
{
    int64_t counts[TENSOR_TYPES] = {0}, bytes[TENSOR_TYPES] = {0}, values = 0, all = 0;
    size_t n = gguf_n_tensors(g);
    for (size_t i = 0; i < n; i++) {
        const struct tensor *t = gguf_tensor_at(g, i);
        counts[t->type]++;
        bytes[t->type] += (int64_t)t->bytes;
        values += tensor_values(t);
        all += (int64_t)t->bytes;
    }
    json_object_begin(w);
    json_member_int(w, "tensors", (int64_t)n);
    json_member_int(w, "parameters", values);
    json_member_int(w, "bytes", all);
    json_key(w, "types");
    json_object_begin(w);
    for (uint32_t type = 0; type < TENSOR_TYPES; type++) {
        if (counts[type] == 0)
            continue;
        json_key(w, tensor_type_info(type)->name);
        json_object_begin(w);
        json_member_int(w, "tensors", counts[type]);
        json_member_int(w, "bytes", bytes[type]);
        json_object_end(w);
    }
    json_object_end(w);
    json_object_end(w);
}

int session_show(struct session *s, uint32_t id, struct str payload, struct error *err)
{
    const struct gguf *g = s->gguf;
    const uint8_t *start = data_start(s);
    struct buf json;
    struct json_writer w;
    json_t *root;
    bool fit;
    int rc = json_read(payload, &root, err);
    if (rc)
        return rc;
    rc = json_get_bool(root, "fit", false, &fit, err);
    json_decref(root);
    if (rc)
        return rc;
    buf_init(&json, LIMIT_WIRE_FRAME);
    json_writer_init(&w, &json);
    json_object_begin(&w);
    json_member_int(&w, "version", gguf_version(g));
    json_member_int(&w, "file_bytes", (int64_t)gguf_file_size(g));
    json_member_int(&w, "files", (int64_t)s->setup.n_files);
    metadata_write(&w, g);
    json_key(&w, "tensors");
    json_array_begin(&w);
    for (size_t i = 0; i < gguf_n_tensors(g); i++)
        tensor_write(&w, gguf_tensor_at(g, i), start);
    json_array_end(&w);
    json_key(&w, "totals");
    totals_write(&w, g);
    if (fit)
        session_fit_write(s, &w);
    json_object_end(&w);
    session_send_result(s, id, &json);
    buf_free(&json);
    return 0;
}

/* ---- TENSOR ---- */

struct tensor_job {
    const struct tensor *tensor;
    int64_t at; /* the next value */
    float values[TENSOR_CHUNK];
};

static int tensor_turn(struct call *call)
{
    struct tensor_job *job = call->data;
    const struct tensor *t = job->tensor;
    const struct tensor_type_info *info = tensor_type_info(t->type);
    int64_t left = tensor_values(t) - job->at;
    if (left == 0) {
        session_send(call->session, call->id, WIRE_RESULT, STR("{}"));
        return 0;
    }
    int64_t n = left < TENSOR_CHUNK ? left : TENSOR_CHUNK;
    const uint8_t *from =
        (const uint8_t *)t->data + (size_t)(job->at / info->block_values) * info->block_bytes;
    struct error err = {0};
    int rc = tensor_dequantize(t->type, from, job->values, n, &err);
    if (rc) {
        session_send_error(call->session, call->id, rc, &err);
        return 0;
    }
    job->at += n;
    session_send(call->session, call->id, WIRE_DATA,
        (struct str){(const char *)job->values, (size_t)n * sizeof *job->values});
    return 1;
}

static void tensor_free(struct call *call)
{
    free(call->data);
}

static int tensor_find(
    const struct session *s, struct str payload, const struct tensor **out, struct error *err)
{
    json_t *root;
    struct str name;
    int rc = json_read(payload, &root, err);
    if (rc)
        return rc;
    rc = json_get_str(root, "name", &name, err);
    if (rc == 0 && !name.data)
        rc = error_set(err, ERROR_INVALID, "'name' is missing: send {\"name\":\"...\"}");
    *out = rc ? NULL : gguf_tensor_find(s->gguf, name.data); /* jansson ends its strings with NUL */
    if (rc == 0 && !*out)
        rc = error_set(err, ERROR_NOT_FOUND,
            "the model has no tensor '" STR_FMT "': see the list of its tensors",
            STR_ARG(str_slice(name, 0, TENSOR_NAME_MAX)));
    json_decref(root);
    return rc;
}

int session_tensor(struct session *s, uint32_t id, struct str payload, struct error *err)
{
    const struct tensor *t;
    struct call *call;
    int rc = tensor_find(s, payload, &t, err);
    if (rc == 0 && (!t->data || !tensor_type_readable(t->type)))
        rc = error_set(err, ERROR_UNSUPPORTED, "tensors of type %s cannot be read by this version",
            tensor_type_info(t->type)->name);
    if (rc == 0)
        rc = call_create(s, id, &call, err);
    if (rc)
        return rc;
    struct tensor_job *job = calloc(1, sizeof *job);
    if (!job) {
        call_free(call);
        return error_set(err, ERROR_MEMORY, "no memory for another call: try again later");
    }
    job->tensor = t;
    call->data = job;
    call->free_data = tensor_free;
    call->turn = tensor_turn;
    return 0;
}
