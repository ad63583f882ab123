/* Pages of a state on disk (spill.h): those that make way are written first, and what a prompt begins with
 * comes back. While there is nothing else to do, pages of the tree are written ahead, so that what ends the
 * process does not take them along. */
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "engine/worker/model_arch.h"
#include "engine/worker/model_state.h"

enum { RECALL_BYTES = 8 * MIB }; /* brought back at a time: some milliseconds */

struct model_spill {
    struct spill *file;
    size_t page_bytes;
    struct spill_name *names; /* of the pages in the tree that are full */
    bool *waits;              /* is still to be written ahead */
    int32_t n_waiting;
};

/* Whose they are: what the first page's tokens follow on from. */
static void kin_name(const struct model_state *s, const struct pages_kin *kin, struct spill_name *out)
{
    spill_name(s->spill->file, NULL, &kin->scope, sizeof kin->scope, out);
    for (int32_t i = 0; i < s->model->info.n_adapters; i++) {
        const float scale = kin->scales ? kin->scales[i] : 0;
        spill_name(s->spill->file, out, &scale, sizeof scale, out);
    }
}

/* A page's tokens follow on from its parent's name. */
static void page_name(const struct model_state *s, int32_t parent, const struct pages_kin *kin,
    const int32_t *tokens, struct spill_name *out)
{
    const struct model_spill *own = s->spill;
    struct spill_name before;
    if (parent < 0)
        kin_name(s, kin, &before);
    else
        before = own->names[parent];
    spill_name(own->file, &before, tokens, PAGE_POSITIONS * sizeof *tokens, out);
}

static void page_known(void *ctx, int32_t page)
{
    struct model_state *s = ctx;
    struct model_spill *own = s->spill;
    const struct pages *p = s->pages;
    const size_t n_scales = (size_t)p->n_scales;
    const struct pages_kin kin = {p->scope[page], p->scales + (size_t)page * n_scales};
    if (p->page[page].count < PAGE_POSITIONS)
        return;
    page_name(s, p->page[page].parent, &kin, p->tokens + (size_t)page * PAGE_POSITIONS, &own->names[page]);
    own->waits[page] = !spill_has(own->file, &own->names[page]);
    own->n_waiting += own->waits[page];
}

static void page_write(struct model_state *s, int32_t page)
{
    struct model_spill *own = s->spill;
    own->n_waiting -= own->waits[page];
    own->waits[page] = false;
    if (!spill_wants(own->file, &own->names[page]))
        return;
    char *to = spill_page(own->file);
    for (int32_t i = 0; i < s->model->n_states; i++)
        to += state_kinds[s->model->states[i].kind]->page_save(s->layers[i], page, to);
    spill_write(own->file, &own->names[page]);
}

static void page_leaves(void *ctx, int32_t page)
{
    struct model_state *s = ctx;
    if (s->pages->page[page].count == PAGE_POSITIONS)
        page_write(s, page);
}

/* Of those that wait the one that was used last, and of a beginning the first. */
bool model_state_spill_ahead(struct model_state *s)
{
    if (!s->spill || s->spill->n_waiting == 0)
        return false;
    for (const struct list *at = s->pages->ages.prev; at != &s->pages->ages; at = at->prev) {
        const int32_t page = (int32_t)(list_item(at, struct page, age) - s->pages->page);
        if (!s->spill->waits[page])
            continue;
        page_write(s, page);
        return true;
    }
    return false;
}

static bool page_read(struct model_state *s, int32_t page, const struct spill_name *name)
{
    if (!spill_read(s->spill->file, name))
        return false;
    const char *from = spill_page(s->spill->file);
    for (int32_t i = 0; i < s->model->n_states; i++)
        from += state_kinds[s->model->states[i].kind]->page_load(s->layers[i], page, from);
    return true;
}

/* A page was not whole, so those behind it are computed: they are written anew, whether they are whole or
 * not. */
static void rest_forget(
    struct model_state *s, struct spill_name name, const int32_t *tokens, int32_t at, int32_t count)
{
    for (; at + PAGE_POSITIONS <= count; at += PAGE_POSITIONS) {
        spill_name(s->spill->file, &name, tokens + at, PAGE_POSITIONS * sizeof *tokens, &name);
        spill_forget(s->spill->file, &name);
    }
}

/* These pages are wanted, so that none is written over by one that makes way for them. */
static void rest_use(
    struct model_state *s, struct spill_name name, const int32_t *tokens, int32_t at, int32_t count)
{
    for (bool there = true; there && at + PAGE_POSITIONS <= count; at += PAGE_POSITIONS) {
        spill_name(s->spill->file, &name, tokens + at, PAGE_POSITIONS * sizeof *tokens, &name);
        there = spill_has(s->spill->file, &name);
    }
}

bool model_state_recall(
    struct model_state *s, const struct pages_kin *kin, const int32_t *tokens, int32_t count, bool *disk_free)
{
    int32_t at;
    size_t brought = 0;
    if (!s->spill)
        return false;
    int32_t parent = pages_deepest(s->pages, kin, tokens, count, &at);
    for (; at + PAGE_POSITIONS <= count && brought < RECALL_BYTES; at += PAGE_POSITIONS) {
        struct spill_name name;
        page_name(s, parent, kin, tokens + at, &name);
        if (!spill_has(s->spill->file, &name))
            break;
        if (!*disk_free)
            return true;
        if (brought == 0)
            rest_use(s, name, tokens, at + PAGE_POSITIONS, count);
        const int32_t page = pages_bring(s->pages, parent);
        if (page < 0)
            break;
        const bool good = page_read(s, page, &name);
        pages_bring_end(s->pages, page, parent, kin, tokens + at, good);
        if (!good) {
            rest_forget(s, name, tokens, at + PAGE_POSITIONS, count);
            break;
        }
        parent = page;
        brought += s->spill->page_bytes;
    }
    *disk_free = *disk_free && brought == 0;
    return brought > 0;
}

static uint64_t mix(uint64_t hash, uint64_t value)
{
    return (hash ^ value) * 0x100000001B3u;
}

static uint64_t spec_hash(uint64_t hash, const struct state_spec *s)
{
    const int64_t kv[] = {
        s->kv.type, s->kv.n_heads, s->kv.k_width, s->kv.v_width, s->kv.window, s->kv.latent};
    const int64_t recurrent[] = {s->recurrent.n_conv, s->recurrent.channels, s->recurrent.n_heads,
        s->recurrent.k_width, s->recurrent.v_width, 0};
    hash = mix(hash, s->kind);
    for (size_t i = 0; i < sizeof kv / sizeof *kv; i++)
        hash = mix(hash, (uint64_t)(s->kind == STATE_KV ? kv[i] : recurrent[i]));
    return hash;
}

/* Of the architecture, its shape and what each layer keeps. */
static uint64_t shape_hash(const struct model *m)
{
    uint64_t hash = mix(str_hash(m->info.architecture), str_hash(m->info.name));
    hash = mix(mix(hash, m->info.n_parameters), m->info.weight_bytes);
    hash = mix(mix(hash, m->info.adapter_bytes), (uint64_t)m->info.n_vocab);
    for (int32_t i = 0; i < m->n_states; i++)
        hash = spec_hash(hash, &m->states[i]);
    return hash;
}

/* What the bytes of a page depend on, apart from the model's file: shapes, types, the positions' scale (by
 * the context, in some architectures), and by which arithmetic they were made. */
static void owner_write(const struct model_state *s, struct str identity, struct buf *out)
{
    const uint64_t model = shape_hash(s->model);
    buf_append_str(out, identity);
    buf_append(out, &model, sizeof model);
    buf_append(out, &s->n_context, sizeof s->n_context);
    /* (All of them are of keys and values, where pages are.) */
    for (int32_t i = 0; i < s->model->n_states; i++)
        buf_append(out, &((const struct kv_layer *)s->layers[i])->spec.type, sizeof(enum tensor_type));
    buf_append_text(out, backend_isa(s->model->backend));
    buf_append_text(out, " " WEIR_VERSION);
}

int model_state_spill(
    struct model_state *s, const struct spill_options *asked, struct str identity, struct error *err)
{
    struct spill_options o = *asked;
    struct buf owner;
    if (!s->shares)
        return error_set(err, ERROR_UNSUPPORTED,
            "a model with sliding windows or recurrent state keeps no pages: nothing of it goes to disk");
    struct model_spill *own = calloc(1, sizeof *own);
    s->spill = own;
    if (!own)
        return error_set(err, ERROR_MEMORY, "no memory for the KV cache on disk");
    own->names = calloc((size_t)s->pages->n_pages, sizeof *own->names);
    own->waits = calloc((size_t)s->pages->n_pages, sizeof *own->waits);
    for (int32_t i = 0; i < s->model->n_states; i++)
        own->page_bytes += state_kinds[s->model->states[i].kind]->page_save(s->layers[i], 0, NULL);
    buf_init(&owner, MIB);
    owner_write(s, identity, &owner);
    o.page_bytes = own->page_bytes;
    o.owner = buf_str(&owner);
    int rc = own->names && own->waits && !owner.failed
                 ? spill_open(&o, &own->file, err)
                 : error_set(err, ERROR_MEMORY, "no memory for the KV cache on disk");
    buf_free(&owner);
    if (rc)
        model_spill_free(s);
    else
        s->pages->watch = (struct pages_watch){page_known, page_leaves, s};
    return rc;
}

int32_t model_state_spilled(const struct model_state *s)
{
    return s->spill ? spill_count(s->spill->file) : 0;
}

void model_spill_free(struct model_state *s)
{
    if (!s->spill)
        return;
    spill_close(s->spill->file);
    free(s->spill->names);
    free(s->spill->waits);
    free(s->spill);
    s->spill = NULL;
}
