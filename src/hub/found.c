/* Models that other programs keep on this machine, run where they lie: no second copy.
 *
 *   ollama:NAME:TAG             ~/.ollama/models/manifests/HOST/OWNER/NAME/TAG -> blobs/sha256-HEX
 * (OLLAMA_MODELS) lmstudio:OWNER/REPO/FILE    ~/.lmstudio/models, ~/.cache/lm-studio/models
 *   hf:OWNER/REPO/FILE          ~/.cache/huggingface/hub/models--OWNER--REPO/snapshots/COMMIT/FILE
 * (HF_HUB_CACHE, HF_HOME) llamacpp:FILE               ~/.cache/llama.cpp (LLAMA_CACHE)   */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/limits.h"
#include "base/log.h"
#include "engine/engine.h"
#include "hub/internal.h"
#include "json/json.h"

enum { DEPTH_MAX = 6, FOUND_MAX = 2000, ENTRIES_MAX = 20000 };

struct search {
    struct arena *arena;
    struct hub_found *list;
    size_t n, looked;
    struct str root; /* the program's folder */
};

typedef void take_file(struct search *s, struct str path);

/* Every file below a folder, in order; links are followed (Hugging Face's snapshots are links), never upward.
 */
static void walk(struct search *s, struct str folder, int depth, take_file *take)
{
    struct dirent **entries;
    int n = depth > DEPTH_MAX ? -1 : scandir(arena_strdup(s->arena, folder), &entries, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        struct stat st;
        bool look = entries[i]->d_name[0] != '.' && s->n < FOUND_MAX && s->looked++ < ENTRIES_MAX;
        struct str path =
            look ? arena_printf(s->arena, STR_FMT "/%s", STR_ARG(folder), entries[i]->d_name) : STR_NONE;
        if (look && lstat(path.data, &st) == 0 && S_ISDIR(st.st_mode))
            walk(s, path, depth + 1, take);
        else if (look && stat(path.data, &st) == 0 && S_ISREG(st.st_mode))
            take(s, path);
        free(entries[i]);
    }
    if (n >= 0)
        free(entries);
}

static void add(struct search *s, struct str name, struct str path, struct str without)
{
    struct stat st;
    if (s->n < FOUND_MAX && stat(arena_strdup(s->arena, path), &st) == 0 && S_ISREG(st.st_mode))
        s->list[s->n++] = (struct hub_found){name, path, (int64_t)st.st_size, without};
}

static bool is_first_gguf(struct str path)
{
    int64_t part = 1, parts;
    if (!str_ends(path, STR(".gguf")) || str_find(path, STR("mmproj")) != SIZE_MAX)
        return false;
    path.len -= 5;
    return !engine_part_read(&path, &part, &parts) || part == 1;
}

static struct str below(const struct search *s, struct str path)
{
    return str_slice(path, s->root.len + 1, path.len);
}

/* ---- Ollama ---- */

static bool manifest_read(struct search *s, struct str path, json_t **out)
{
    char bytes[64 * 1024];
    struct error err;
    FILE *f = fopen(path.data, "re");
    size_t n = f ? fread(bytes, 1, sizeof bytes, f) : 0;
    if (f)
        fclose(f);
    return n > 0 && n < sizeof bytes && json_read_in(s->arena, (struct str){bytes, n}, out, &err) == 0;
}

static struct str without_of(struct arena *a, const json_t *layers)
{
    static const struct {
        const char *type, *what;
    } kinds[] = {{"application/vnd.ollama.image.adapter", "adapter"},
        {"application/vnd.ollama.image.system", "system text"},
        {"application/vnd.ollama.image.messages", "first messages"},
        {"application/vnd.ollama.image.params", "parameters"}};
    struct str all = STR_NONE;
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
        for (size_t i = 0; i < json_array_size(layers); i++)
            if (str_is(json_text(json_array_get(layers, i), "mediaType"), kinds[k].type)) {
                all = arena_printf(a, STR_FMT "%s%s", STR_ARG(all), all.len > 0 ? ", " : "", kinds[k].what);
                break;
            }
    return all;
}

static void take_manifest(struct search *s, struct str path)
{
    struct str rest = below(s, path), parts[4];
    json_t *manifest;
    size_t n = 0;
    rest = str_slice(rest, sizeof "manifests/" - 1, rest.len);
    while (n < 4 && str_split(&rest, '/', &parts[n]))
        n++;
    if (n != 4 || rest.len > 0 || !manifest_read(s, path, &manifest))
        return;
    const json_t *layers = json_object_get(manifest, "layers");
    for (size_t i = 0; i < json_array_size(layers); i++) {
        const json_t *layer = json_array_get(layers, i);
        struct str digest = json_text(layer, "digest"), hex = str_slice(digest, 7, digest.len);
        if (!str_is(json_text(layer, "mediaType"), "application/vnd.ollama.image.model") ||
            !hub_hex_valid(hex, HUB_SHA256))
            continue;
        bool usual = str_is(parts[1], "library");
        add(s,
            arena_printf(s->arena, "ollama:" STR_FMT "%s" STR_FMT ":" STR_FMT,
                STR_ARG(usual ? STR_NONE : parts[1]), usual ? "" : "/", STR_ARG(parts[2]), STR_ARG(parts[3])),
            arena_printf(s->arena, STR_FMT "/blobs/sha256-" STR_FMT, STR_ARG(s->root), STR_ARG(hex)),
            without_of(s->arena, layers));
        return;
    }
}

/* ---- The others ---- */

static void take_lmstudio(struct search *s, struct str path)
{
    if (is_first_gguf(path))
        add(s, arena_printf(s->arena, "lmstudio:" STR_FMT, STR_ARG(below(s, path))), path, STR_NONE);
}

static void take_llamacpp(struct search *s, struct str path)
{
    if (is_first_gguf(path))
        add(s, arena_printf(s->arena, "llamacpp:" STR_FMT, STR_ARG(below(s, path))), path, STR_NONE);
}

/* models--OWNER--REPO/snapshots/COMMIT/FILE */
static void take_hugging_face(struct search *s, struct str path)
{
    struct str rest = below(s, path), repo, snapshots, commit;
    if (!is_first_gguf(path) || !str_split(&rest, '/', &repo) || !str_starts(repo, STR("models--")) ||
        !str_split(&rest, '/', &snapshots) || !str_is(snapshots, "snapshots") ||
        !str_split(&rest, '/', &commit))
        return;
    repo = str_slice(repo, 8, repo.len);
    size_t cut = str_find(repo, STR("--"));
    if (cut != SIZE_MAX)
        add(s,
            arena_printf(s->arena, "hf:" STR_FMT "/" STR_FMT "/" STR_FMT, STR_ARG(str_slice(repo, 0, cut)),
                STR_ARG(str_slice(repo, cut + 2, repo.len)), STR_ARG(rest)),
            path, STR_NONE);
}

static bool is_named(const char *variable)
{
    const char *value = getenv(variable);
    return value && *value;
}

/* The folder that the environment names, else the one below home. */
static void look(struct search *s, const char *variable, const char *below_variable, const char *below_home,
    const char *inside, take_file *take)
{
    const char *home = getenv("HOME"), *named = variable ? getenv(variable) : NULL;
    if (named && *named)
        s->root = arena_printf(s->arena, "%s%s", named, below_variable);
    else if (home && *home)
        s->root = arena_printf(s->arena, "%s/%s", home, below_home);
    else
        return;
    walk(s, arena_printf(s->arena, STR_FMT "%s", STR_ARG(s->root), inside), 0, take);
}

void hub_found_list(struct arena *a, struct hub_found **out, size_t *n)
{
    struct search s = {.arena = a, .list = arena_alloc(a, FOUND_MAX * sizeof *s.list)};
    look(&s, "OLLAMA_MODELS", "", ".ollama/models", "/manifests", take_manifest);
    s.root = STR("/usr/share/ollama/.ollama/models"); /* of the service that its installer makes */
    walk(&s, arena_printf(a, STR_FMT "/manifests", STR_ARG(s.root)), 0, take_manifest);
    look(&s, NULL, "", ".lmstudio/models", "", take_lmstudio);
    look(&s, NULL, "", ".cache/lm-studio/models", "", take_lmstudio);
    if (is_named("HF_HUB_CACHE"))
        look(&s, "HF_HUB_CACHE", "", "", "", take_hugging_face);
    else if (is_named("HF_HOME"))
        look(&s, "HF_HOME", "/hub", "", "", take_hugging_face);
    else
        look(&s, "XDG_CACHE_HOME", "/huggingface/hub", ".cache/huggingface/hub", "", take_hugging_face);
    if (is_named("LLAMA_CACHE"))
        look(&s, "LLAMA_CACHE", "", "", "", take_llamacpp);
    else
        look(&s, "XDG_CACHE_HOME", "/llama.cpp", ".cache/llama.cpp", "", take_llamacpp);
    *out = s.list;
    *n = s.n;
}

bool hub_found_is_name(struct str text)
{
    return str_starts(text, STR("ollama:")) || str_starts(text, STR("lmstudio:")) ||
           str_starts(text, STR("hf:")) || str_starts(text, STR("llamacpp:"));
}

int hub_found_path(struct arena *a, struct str name, struct str *path, struct error *err)
{
    struct arena *scratch = arena_create(64 * MIB);
    struct hub_found *list;
    size_t n;
    int rc = error_set(err, ERROR_NOT_FOUND,
        "no program here keeps '" STR_FMT "': weir models --found lists what there is", STR_ARG(name));
    struct str latest = arena_printf(scratch, STR_FMT ":latest", STR_ARG(name));
    hub_found_list(scratch, &list, &n);
    for (size_t i = 0; i < n && rc; i++)
        if (str_eq(list[i].name, name) || str_eq(list[i].name, latest)) {
            *path = arena_copy(a, list[i].path);
            rc = 0;
            if (list[i].without.len > 0)
                log_warn("hub", STR_FMT " is run without what Ollama has beside its file: " STR_FMT,
                    STR_ARG(name), STR_ARG(list[i].without));
        }
    arena_free(scratch);
    return rc;
}
