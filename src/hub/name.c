/* What a model to fetch is called: a place, an owner, a name and a tag (hf.co/OWNER/REPO:TAG), and which
 * names of files and hashes are taken from there. */
#include <string.h>

#include "base/ascii.h"
#include "hub/internal.h"

/* Of a name: letters, digits, ".-_", no leading dot. */
static bool word_valid(struct str word)
{
    if (word.len == 0 || word.len > 128 || word.data[0] == '.')
        return false;
    for (size_t i = 0; i < word.len; i++) {
        char c = word.data[i];
        bool good = ascii_is_alnum(c) || c == '-' || c == '_' || (c == '.' && word.data[i - 1] != '.');
        if (!good)
            return false;
    }
    return true;
}

bool hub_file_name_valid(struct str name)
{
    if (name.len == 0 || name.len > 200 || name.data[0] == '.' || !str_utf8_valid(name))
        return false;
    for (size_t i = 0; i < name.len; i++)
        if ((unsigned char)name.data[i] < ' ' || name.data[i] == '/' || name.data[i] == '\\' ||
            name.data[i] == 0x7f)
            return false;
    return true;
}

bool hub_hex_valid(struct str hex, size_t digits)
{
    for (size_t i = 0; i < hex.len; i++)
        if (!strchr("0123456789abcdef", hex.data[i]) || hex.data[i] == '\0')
            return false;
    return hex.len == digits;
}

static struct str without(struct str text, struct str prefix)
{
    return str_starts(text, prefix) ? str_slice(text, prefix.len, text.len) : text;
}

static int refuse(struct str text, struct error *err)
{
    return error_set(err, ERROR_INVALID,
        "'" STR_FMT "' names no model: write hf.co/OWNER/REPO:Q4_K_M, or NAME:TAG as Ollama's library has it",
        (int)(text.len < 200 ? text.len : 200), text.data ? text.data : "");
}

/* [HOST/][OWNER/]NAME, a host having a dot or a port. */
static bool parts_take(struct arena *a, struct str path, struct hub_name *out)
{
    struct str parts[3] = {STR_NONE, STR_NONE, STR_NONE}, rest = path;
    size_t n = 0;
    while (rest.len > 0 && n < 3 && str_split(&rest, '/', &parts[n]))
        n++;
    if (rest.len > 0 || n == 0 || str_ends(path, STR("/")))
        return false;
    if (n == 3) {
        struct str host = parts[0];
        size_t colon = str_find_char(host, ':');
        if (!word_valid(str_slice(host, 0, colon == SIZE_MAX ? host.len : colon)))
            return false;
        out->origin = arena_printf(a, "https://" STR_FMT, STR_ARG(host));
    }
    out->owner = n == 1 ? STR("library") : arena_copy(a, parts[n - 2]);
    out->name = arena_copy(a, parts[n - 1]);
    return word_valid(out->owner) && word_valid(out->name);
}

int hub_name_parse(struct arena *a, struct str text, struct hub_name *out, struct error *err)
{
    static const struct str faces[] = {STR("hf.co/"), STR("huggingface.co/")},
                            registries[] = {
                                STR("ollama.com/library/"), STR("ollama.com/"), STR("registry.ollama.ai/")};
    *out = (struct hub_name){.kind = HUB_OLLAMA, .origin = STR("https://registry.ollama.ai")};
    struct str rest = without(text, STR("https://"));
    for (size_t i = 0; i < sizeof faces / sizeof *faces; i++)
        if (out->kind == HUB_OLLAMA && str_starts(rest, faces[i])) {
            rest = without(rest, faces[i]);
            *out = (struct hub_name){.kind = HUB_HUGGING_FACE, .origin = STR("https://huggingface.co")};
        }
    for (size_t i = 0; i < sizeof registries / sizeof *registries; i++)
        rest = without(rest, registries[i]);
    struct str last = str_base_name(rest);
    size_t colon = str_find_char(last, ':');
    if (colon != SIZE_MAX) {
        out->tag = arena_copy(a, str_slice(last, colon + 1, last.len));
        rest.len -= last.len - colon;
        if (!word_valid(out->tag))
            return refuse(text, err);
    }
    if (!parts_take(a, rest, out))
        return refuse(text, err);
    bool has_owner = str_find_char(rest, '/') != SIZE_MAX;
    if (out->kind == HUB_HUGGING_FACE && (!has_owner || !str_is(out->origin, "https://huggingface.co")))
        return refuse(text, err);
    return 0;
}
