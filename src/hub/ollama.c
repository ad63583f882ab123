/* Ollama's registry, which speaks Docker's protocol (distribution spec 1.1): /v2/OWNER/NAME/manifests/TAG
 * lists layers by media type and digest, /v2/OWNER/NAME/blobs/DIGEST is one, mostly by way of a redirect. The
 * layers taken are the model, its adapters, how it is to be sampled, how its conversations begin, its
 * template, its licences and, where asked for, its projector. Prompts are written by the template inside the
 * model's file: Ollama's is kept to be read. */
#include <stdio.h>

#include "base/limits.h"
#include "engine/engine.h"
#include "hub/internal.h"
#include "json/json.h"

enum { LAYERS_MAX = 64 };

/* How a layer ends up: NAME-TAG.gguf, NAME-TAG.adapter.gguf, NAME-TAG.params.json, NAME-TAG.system,
 * NAME-TAG.messages.json, NAME-TAG.template, NAME-TAG.license, NAME-TAG.projector.gguf, the second of a kind
 * with a number. NULL: not taken. */
static const char *suffix_of(const struct hub *h, struct str type)
{
    if (str_is(type, "application/vnd.ollama.image.model"))
        return ".gguf";
    if (str_is(type, "application/vnd.ollama.image.adapter"))
        return ENGINE_ADAPTER;
    if (str_is(type, "application/vnd.ollama.image.params"))
        return ENGINE_PARAMS;
    if (str_is(type, "application/vnd.ollama.image.system"))
        return ENGINE_SYSTEM;
    if (str_is(type, "application/vnd.ollama.image.messages"))
        return ENGINE_MESSAGES;
    if (str_is(type, "application/vnd.ollama.image.license"))
        return ENGINE_LICENSE;
    if (str_is(type, "application/vnd.ollama.image.template"))
        return ENGINE_TEMPLATE;
    if (str_is(type, "application/vnd.ollama.image.projector") && h->options.projector)
        return ENGINE_PROJECTOR;
    return NULL;
}

static struct str file_name(
    struct arena *a, const struct hub_name *n, struct str tag, const char *suffix, int same)
{
    bool usual = str_is(n->owner, "library");
    struct str owner = usual ? STR_NONE : n->owner;
    char number[16] = "";
    if (same > 0)
        snprintf(number, sizeof number, "-%d", same + 1);
    return arena_printf(a, STR_FMT "%s" STR_FMT "-" STR_FMT "%s%s", STR_ARG(owner), usual ? "" : "-",
        STR_ARG(n->name), STR_ARG(tag), number, suffix);
}

static int layer_take(struct hub *h, struct arena *a, const struct hub_name *name, struct str tag,
    const json_t *layer, struct hub_listing *out, struct error *err)
{
    struct str digest = json_text(layer, "digest");
    const char *suffix = suffix_of(h, json_text(layer, "mediaType"));
    json_int_t bytes = json_integer_value(json_object_get(layer, "size"));
    struct str hex = str_slice(digest, 7, digest.len);
    int same = 0;
    if (!suffix)
        return 0;
    if (!str_starts(digest, STR("sha256:")) || !hub_hex_valid(hex, HUB_SHA256) || bytes <= 0)
        return error_set(
            err, ERROR_INVALID, "the registry's manifest names a layer without a good digest or size");
    for (size_t i = 0; i < out->n_files; i++)
        same += str_ends(out->files[i].name, str_from(suffix));
    out->files[out->n_files++] = (struct hub_file){.name = file_name(a, name, tag, suffix, same),
        .url = arena_printf(a, STR_FMT "/v2/" STR_FMT "/" STR_FMT "/blobs/" STR_FMT, STR_ARG(name->origin),
            STR_ARG(name->owner), STR_ARG(name->name), STR_ARG(digest)),
        .sha256 = hex,
        .bytes = bytes};
    return 0;
}

int hub_list_ollama(
    struct hub *h, struct arena *a, const struct hub_name *name, struct hub_listing *out, struct error *err)
{
    struct str tag = name->tag.len > 0 ? name->tag : STR("latest");
    json_t *manifest;
    const struct hub_fetch_options o = {
        .url = arena_printf(a, STR_FMT "/v2/" STR_FMT "/" STR_FMT "/manifests/" STR_FMT,
            STR_ARG(name->origin), STR_ARG(name->owner), STR_ARG(name->name), STR_ARG(tag)),
        .accept = "application/vnd.docker.distribution.manifest.v2+json",
        .last = -1};
    int rc = hub_get(h, a, &o, MIB, &manifest, NULL, err);
    if (rc)
        return error_wrap(
            err, STR_FMT "/" STR_FMT ":" STR_FMT, STR_ARG(name->owner), STR_ARG(name->name), STR_ARG(tag));
    const json_t *layers = json_object_get(manifest, "layers");
    out->files = arena_alloc(a, LAYERS_MAX * sizeof *out->files);
    out->n_files = 0;
    /* The model first, whatever their order. */
    for (int pass = 0; pass < 2 && rc == 0; pass++) {
        if (pass == 1 && out->n_files == 0)
            return error_set(err, ERROR_NOT_FOUND, "the registry's manifest lists no model");
        for (size_t i = 0; i < json_array_size(layers) && i < LAYERS_MAX && rc == 0; i++) {
            const json_t *layer = json_array_get(layers, i);
            bool is_model = str_is(json_text(layer, "mediaType"), "application/vnd.ollama.image.model");
            if (is_model == (pass == 0))
                rc = layer_take(h, a, name, tag, layer, out, err);
        }
    }
    return rc;
}
