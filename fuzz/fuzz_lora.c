/* Any bytes as a LoRA adapter of a small model: refused, or loaded and run with what the file says. */
#include <math.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/worker/backend.h"
#include "engine/worker/gguf.h"
#include "engine/worker/model.h"
#include "engine/worker/model_sample.h"

enum { TOKENS = 4, VOCAB = 384 };

static struct gguf *base;
static struct backend *backend;

static void base_open(void)
{
    struct model_sample sample = model_sample_default();
    struct error err;
    int fd = memfd_create("base", MFD_CLOEXEC);
    sample.n_layers = 1;
    sample.n_embed = 16;
    sample.n_heads = 4;
    sample.n_kv_heads = 2;
    sample.n_ffn = 24;
    sample.n_vocab = VOCAB;
    sample.type = TENSOR_F32;
    if (fd < 0 || model_sample_write(&sample, fd, &err) || gguf_open(&fd, 1, &base, &err) ||
        backend_cpu_create(1, &backend, &err))
        abort();
    close(fd);
}

static void run(const struct model *m)
{
    static float logits[VOCAB];
    static const int32_t tokens[TOKENS] = {1, 7, 300, 7}, slots[TOKENS];
    static const uint8_t wants[TOKENS] = {0, 0, 0, 1};
    const struct model_batch batch = {TOKENS, tokens, slots, wants};
    const float scale = 0.5f;
    struct model_state *s;
    struct error err;
    if (model_state_create(m, 1, 8, &s, &err))
        abort();
    model_state_adapt(s, 0, &scale);
    if (model_decode(s, &batch, logits, &err) && err.code != ERROR_INVALID)
        abort();
    model_state_free(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct gguf *g;
    struct model *m;
    struct error err;
    if (!base)
        base_open();
    if (gguf_open_memory(data, size, &g, &err))
        return 0;
    const struct model_options options = {(const struct gguf *const *)&g, 1, false};
    if (model_load_with(base, &options, backend, &m, &err) == 0) {
        run(m);
        model_free(m);
    }
    gguf_close(g);
    return 0;
}
