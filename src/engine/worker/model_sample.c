#include "engine/worker/model_sample.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/rand.h"
#include "engine/worker/gguf_write.h"
#include "engine/worker/tensor_quantize.h"

/* Large tensors repeat pieces of one random stretch of this many values: a model of a billion parameters is
 * then written as fast as the disk takes it. Whole blocks of every type. */
enum { POOL_VALUES = 1 << 18 };

struct sample_tensor {
    char name[64];
    enum tensor_type type;
    int64_t columns, rows, experts; /* rows 1: a vector; experts: so many of them, one behind the other */
    bool norm, zero, unit;          /* all ones, all zeros, ones on the diagonal */
};

struct sample_writer {
    int fd;
    struct rand_pcg random;
    float *values;    /* POOL_VALUES */
    uint8_t *encoded; /* the same, as stored */
};

struct model_sample model_sample_default(void)
{
    return (struct model_sample){.n_layers = 2,
        .n_embed = 64,
        .n_heads = 4,
        .n_kv_heads = 2,
        .n_ffn = 128,
        .n_vocab = 512,
        .n_context = 512,
        .architecture = "llama",
        .type = TENSOR_F32,
        .tokenizer = "llama",
        .pre = "llama-bpe",
        .seed = 1,
        .chat_template = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + "
                         "message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}"
                         "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"};
}

static int write_all(int fd, const void *data, size_t len, struct error *err)
{
    for (const char *p = data; len > 0;) {
        ssize_t n = write(fd, p, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_set(err, ERROR_IO, "the model file cannot be written: %s", strerror(errno));
        p += n;
        len -= (size_t)n;
    }
    return 0;
}

/* What a row of this length can be stored in. */
static enum tensor_type type_for(enum tensor_type wanted, int64_t columns)
{
    if (columns % tensor_type_info(wanted)->block_values == 0)
        return wanted;
    return columns % 32 == 0 ? TENSOR_Q8_0 : TENSOR_F16;
}

static void set(struct sample_tensor *t, const struct model_sample *s, const char *name, uint32_t columns,
    uint32_t rows, uint32_t experts)
{
    snprintf(t->name, sizeof t->name, "%s", name);
    t->norm = rows == 1;
    t->columns = columns;
    t->rows = rows;
    t->experts = experts;
    t->type = t->norm ? TENSOR_F32 : type_for(s->type, columns);
}

static bool is_qwen3(const struct model_sample *s)
{
    return strcmp(s->architecture, "qwen3moe") == 0;
}

static bool is_glm(const struct model_sample *s)
{
    return strncmp(s->architecture, "glm4", 4) == 0;
}

static bool is_mixture(const struct model_sample *s)
{
    return is_qwen3(s) || strcmp(s->architecture, "glm4moe") == 0;
}

static uint32_t head_width(const struct model_sample *s)
{
    return s->head_width > 0 ? s->head_width : s->n_embed / s->n_heads;
}

/* What a layer consists of; experts 0: there is one. */
struct part {
    const char *name;
    uint32_t columns, rows, experts;
};
enum { PARTS_MOST = 14 };

static uint32_t block_parts(const struct model_sample *s, struct part out[PARTS_MOST])
{
    const uint32_t d = s->n_embed, head = head_width(s), q = head * s->n_heads, kv = head * s->n_kv_heads;
    const uint32_t n = s->n_experts, ffn = s->n_ffn;
    const struct part attention[] = {{"attn_norm", d, 1, 0}, {"attn_q", d, q, 0}, {"attn_k", d, kv, 0},
        {"attn_v", d, kv, 0}, {"attn_output", q, d, 0}};
    const struct part norm[] = {{is_glm(s) ? "post_attention_norm" : "ffn_norm", d, 1, 0}};
    const struct part norms[] = {{"attn_q_norm", head, 1, 0}, {"attn_k_norm", head, 1, 0}};
    const struct part dense[] = {{"ffn_gate", d, ffn, 0}, {"ffn_up", d, ffn, 0}, {"ffn_down", ffn, d, 0}};
    const struct part fused[] = {{"ffn_up", d, 2 * ffn, 0}, {"ffn_down", ffn, d, 0}, {"ffn_norm", d, 1, 0},
        {"post_ffw_norm", d, 1, 0}};
    const struct part experts[] = {{"ffn_gate_inp", d, n, 0}, {"ffn_gate_exps", d, ffn, n},
        {"ffn_up_exps", d, ffn, n}, {"ffn_down_exps", ffn, d, n}};
    const struct {
        const struct part *parts;
        size_t bytes;
    } groups[] = {{attention, sizeof attention}, {norm, sizeof norm}, {norms, is_qwen3(s) ? sizeof norms : 0},
        {experts, n > 0 ? sizeof experts : 0}, {dense, n == 0 && !is_glm(s) ? sizeof dense : 0},
        {fused, n == 0 && is_glm(s) ? sizeof fused : 0}};
    uint32_t count = 0;
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++) {
        memcpy(out + count, groups[i].parts, groups[i].bytes);
        count += (uint32_t)(groups[i].bytes / sizeof *out);
    }
    return count;
}

static void set_block(struct sample_tensor *t, const struct model_sample *s, uint32_t layer, uint32_t which)
{
    struct part parts[PARTS_MOST];
    char name[64];
    (void)block_parts(s, parts);
    const struct part *p = &parts[which];
    snprintf(name, sizeof name, "blk.%u.%s.weight", layer, p->name);
    set(t, s, name, p->columns, p->rows, p->experts > 0 ? p->experts : 1);
    if (strcmp(p->name, "ffn_gate_inp") == 0) /* files keep what chooses as it is */
        t->type = TENSOR_F32;
    t->zero = s->chain && (strcmp(p->name, "attn_output") == 0 || strncmp(p->name, "ffn_down", 8) == 0);
}

static uint32_t count_block(const struct model_sample *s)
{
    struct part parts[PARTS_MOST];
    return block_parts(s, parts);
}

static uint32_t count_blocks(const struct model_sample *s)
{
    return count_block(s) * (s->n_layers + s->nextn);
}

static uint32_t count_tensors(const struct model_sample *s)
{
    return count_blocks(s) + (s->tied ? 2 : 3) + (s->nextn ? 3 : 0);
}

static void tensor_at(const struct model_sample *s, uint32_t index, struct sample_tensor *t)
{
    const uint32_t d = s->n_embed, block = count_block(s), blocks = count_blocks(s);
    const struct {
        const char *name;
        uint32_t columns, rows;
    } ends[] = {{"token_embd", d, s->n_vocab}, {"output_norm", d, 1}, {"output", d, s->n_vocab},
        {"nextn.eh_proj", 2 * d, d}, {"nextn.enorm", d, 1}, {"nextn.hnorm", d, 1}};
    char name[64];
    *t = (struct sample_tensor){.norm = false};
    if (index < blocks) {
        set_block(t, s, index / block, index % block);
        return;
    }
    index -= blocks;
    index += index > 1 && s->tied;
    if (index < 3)
        snprintf(name, sizeof name, "%s.weight", ends[index].name);
    else
        snprintf(name, sizeof name, "blk.%u.%s.weight", s->n_layers, ends[index].name);
    set(t, s, name, ends[index].columns, ends[index].rows, 1);
    t->unit = s->chain && index == 3;
}

/* Weights of variance 1 / fan-in keep activations near one through any depth. */
static int fill_pool(struct sample_writer *w, const struct sample_tensor *t, int64_t count, struct error *err)
{
    float scale = sqrtf(3 / (float)t->columns);
    for (int64_t i = 0; i < count; i++) {
        float uniform = (float)(rand_pcg_u32(&w->random) >> 8) * 0x1p-23f - 1;
        w->values[i] = t->norm ? 1 : t->zero ? 0 : uniform * scale;
    }
    return tensor_quantize(t->type, w->values, w->encoded, count, err);
}

static int write_unit(struct sample_writer *w, const struct sample_tensor *t, struct error *err)
{
    int rc = 0;
    memset(w->values, 0, (size_t)t->columns * sizeof *w->values);
    for (int64_t i = 0; i < t->rows && rc == 0; i++) {
        w->values[i] = 1;
        rc = tensor_quantize(t->type, w->values, w->encoded, t->columns, err);
        rc = rc ? rc : write_all(w->fd, w->encoded, tensor_row_bytes(t->type, t->columns), err);
        w->values[i] = 0;
    }
    return rc;
}

static int write_tensor(
    struct sample_writer *w, const struct gguf_writer *g, const struct sample_tensor *t, struct error *err)
{
    static const char zeros[64];
    const struct tensor_type_info *info = tensor_type_info(t->type);
    uint64_t blocks = (uint64_t)t->columns * (uint64_t)t->rows * (uint64_t)t->experts / info->block_values;
    uint64_t pool = POOL_VALUES / info->block_values;
    if (pool > blocks)
        pool = blocks;
    int rc = t->unit ? write_unit(w, t, err) : fill_pool(w, t, (int64_t)(pool * info->block_values), err);
    /* The first piece is the whole stretch, the others begin anywhere in its first half. */
    for (uint64_t done = t->unit ? blocks : 0, n; done < blocks && rc == 0; done += n) {
        uint64_t start = done ? rand_pcg_u32(&w->random) % (pool / 2 + 1) : 0;
        n = pool - start < blocks - done ? pool - start : blocks - done;
        rc = write_all(w->fd, w->encoded + start * info->block_bytes, n * info->block_bytes, err);
    }
    return rc ? rc : write_all(w->fd, zeros, gguf_writer_padding(g, blocks * info->block_bytes), err);
}

static int check(const struct model_sample *s, struct error *err)
{
    if (s->n_layers == 0 || s->n_embed == 0 || s->n_ffn == 0 || s->n_context == 0 || s->n_heads == 0 ||
        s->n_kv_heads == 0)
        return error_set(
            err, ERROR_INVALID, "a model needs layers, width, heads, ffn and context of at least one");
    if (s->n_layers > 1024 || s->n_embed > 1 << 16 || s->n_ffn > 1 << 18)
        return error_set(
            err, ERROR_INVALID, "the model is too large: at most 1024 layers, 65536 wide, ffn 262144");
    if ((s->head_width == 0 && s->n_embed % s->n_heads != 0) || s->n_heads % s->n_kv_heads != 0 ||
        head_width(s) % 2 != 0)
        return error_set(err, ERROR_INVALID,
            "the width must be a multiple of the heads (even size each), and the heads of the kv heads");
    if (strcmp(s->architecture, "llama") != 0 && strcmp(s->architecture, "glm4") != 0 && !is_mixture(s))
        return error_set(err, ERROR_INVALID, "the architecture is llama, qwen3moe, glm4 or glm4moe");
    if (s->nextn && !is_glm(s))
        return error_set(err, ERROR_INVALID, "a layer that drafts is for glm4 and glm4moe");
    if (s->n_experts > 1024 || (s->n_experts > 0 && (s->n_used < 1 || s->n_used > s->n_experts)) ||
        (s->n_experts == 0 ? is_mixture(s) : strcmp(s->architecture, "glm4") == 0))
        return error_set(err, ERROR_INVALID, "a mixture has 1 to 1024 experts, and uses 1 to all of them");
    if (!tensor_type_info(s->type))
        return error_set(err, ERROR_INVALID, "unknown tensor type %d", (int)s->type);
    return 0;
}

static void write_number(struct gguf_writer *g, const struct model_sample *s, const char *key, uint32_t value)
{
    char name[96];
    snprintf(name, sizeof name, "%s.%s", s->architecture, key);
    gguf_write_u32(g, name, value);
}

static void write_real(struct gguf_writer *g, const struct model_sample *s, const char *key, float value)
{
    char name[96];
    snprintf(name, sizeof name, "%s.%s", s->architecture, key);
    gguf_write_f32(g, name, value);
}

static int build_header(const struct model_sample *s, struct gguf_writer *g, struct error *err)
{
    const uint32_t width = head_width(s);
    gguf_write_str(g, "general.architecture", str_from(s->architecture));
    gguf_write_str(g, "general.name", STR("random sample"));
    write_number(g, s, "block_count", s->n_layers + s->nextn);
    if (s->nextn)
        write_number(g, s, "nextn_predict_layers", 1);
    write_number(g, s, "context_length", s->n_context);
    write_number(g, s, "embedding_length", s->n_embed);
    write_number(g, s, "feed_forward_length", s->n_ffn);
    write_number(g, s, "attention.head_count", s->n_heads);
    write_number(g, s, "attention.head_count_kv", s->n_kv_heads);
    if (s->head_width > 0) {
        write_number(g, s, "attention.key_length", width);
        write_number(g, s, "attention.value_length", width);
    }
    if (s->n_experts > 0) {
        write_number(g, s, "expert_count", s->n_experts);
        write_number(g, s, "expert_used_count", s->n_used);
        write_number(g, s, "expert_feed_forward_length", s->n_ffn);
    }
    write_real(g, s, "attention.layer_norm_rms_epsilon", 1e-5f);
    write_number(g, s, "rope.dimension_count", width);
    write_real(g, s, "rope.freq_base", 10000);
    write_number(g, s, "vocab_size", s->n_vocab);
    int rc = model_sample_vocab(s, g, err);
    for (uint32_t i = 0; i < count_tensors(s) && rc == 0; i++) {
        struct sample_tensor t;
        tensor_at(s, i, &t);
        gguf_write_tensor(g, t.name, t.type,
            t.norm          ? 1
            : t.experts > 1 ? 3
                            : 2,
            (const int64_t[]){t.columns, t.rows, t.experts});
    }
    return rc;
}

int model_sample_write(const struct model_sample *s, int fd, struct error *err)
{
    struct sample_writer w = {.fd = fd};
    struct gguf_writer g;
    struct buf header;
    int rc = check(s, err);
    if (rc)
        return rc;
    gguf_writer_init(&g);
    buf_init(&header, 4 * GIB);
    rand_pcg_seed(&w.random, s->seed);
    w.values = malloc(POOL_VALUES * sizeof *w.values);
    w.encoded = malloc((size_t)POOL_VALUES * 4); /* no type takes more than a float */
    if (!w.values || !w.encoded)
        rc = error_set(err, ERROR_MEMORY, "no memory to make a model");
    rc = rc ? rc : build_header(s, &g, err);
    rc = rc ? rc : gguf_writer_header(&g, &header, err);
    rc = rc ? rc : write_all(fd, header.data, header.len, err);
    for (uint32_t i = 0; i < count_tensors(s) && rc == 0; i++) {
        struct sample_tensor t;
        tensor_at(s, i, &t);
        rc = write_tensor(&w, &g, &t, err);
    }
    free(w.values);
    free(w.encoded);
    buf_free(&header);
    gguf_writer_free(&g);
    return rc;
}
