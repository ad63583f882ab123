/* Fetching models: what a hub lists under a name, and getting it whole.
 *
 *   name --> hub_name_parse --> hub_list --> files with size and SHA-256 --> hub_download --> verified file
 *
 * Two hubs are spoken: Hugging Face's (hf.co/OWNER/REPO[:TAG]) and Ollama's registry
 * ([NAMESPACE/]NAME[:TAG]). Everything goes through egress: a permit that carries no content, an audit record
 * of each request. What a hub says is hostile until checked: no path leaves the folder, no byte stands under
 * its final name before its SHA-256 is right. The calls block: they run the hub's own loop; for the command
 * line. */
#ifndef WEIR_HUB_HUB_H
#define WEIR_HUB_HUB_H

#include "base/arena.h"
#include "base/error.h"
#include "base/str.h"

enum hub_kind { HUB_HUGGING_FACE, HUB_OLLAMA };

struct hub_name {
    enum hub_kind kind;
    struct str origin;      /* "https://host" */
    struct str owner, name; /* "library" where an Ollama name has no namespace */
    struct str tag;         /* empty: the usual one */
};
/* Parts point into the arena. ERROR_INVALID tells what a name looks like. */
int hub_name_parse(struct arena *a, struct str text, struct hub_name *out, struct error *err) MUST_USE;

struct store;
struct hub;
struct hub_options {
    struct store *audit;           /* required: each request is on record before it leaves */
    bool offline;                  /* nothing leaves */
    struct str mirror;             /* origin to ask instead of the hub's own: "https://mirror.example" */
    struct str proxy, proxy_plain; /* http://host:port: for https:// and for http:// */
    struct str no_proxy; /* what goes past them: hosts with their subdomains, with a port or without, commas
                            between; "*" */
    struct str ca_file;  /* extra trust anchors */
    struct str token;    /* for Hugging Face's restricted models; sent to the hub's origin and to no other */
    bool projector;      /* list the projector of a model that sees, too */
};
int hub_create(const struct hub_options *o, struct hub **out, struct error *err) MUST_USE;
/* Ends what is under way. The store of its records may still answer the hub's loop: it is closed before
 * hub_free. */
void hub_stop(struct hub *h);
void hub_free(struct hub *h);

struct hub_file {
    struct str name; /* in the folder: no separator, no leading dot */
    struct str url;
    struct str sha256; /* 64 lower-case hex digits */
    int64_t bytes;
};
struct hub_listing {
    struct hub_file *files; /* in the arena; the first is what to run */
    size_t n_files;
};
/* ERROR_NOT_FOUND lists what there is to choose from. */
int hub_list(struct hub *h, struct arena *a, const struct hub_name *name, struct hub_listing *out,
    struct error *err) MUST_USE;

struct hub_progress {
    void (*fn)(void *ctx, int64_t bytes_here, int64_t bytes_all); /* called often */
    void *ctx;
};
/* Gets the file into `folder` (made if it is missing) over `lanes` connections (1 to 16). What an earlier run
 * got of it is kept; a file that is there already with the right size and SHA-256 is left alone. On failure
 * nothing stands under the final name, and what was got stays for the next run unless it was not what the hub
 * lists. */
int hub_download(struct hub *h, const struct hub_file *file, struct str folder, int lanes,
    struct hub_progress progress, struct error *err) MUST_USE;

/* ---- Models that other programs keep here (Ollama, LM Studio, Hugging Face's cache, llama.cpp's) ---- */
struct hub_found {
    struct str
        name; /* "ollama:llama3.2:1b", "lmstudio:OWNER/REPO/FILE", "hf:OWNER/REPO/FILE", "llamacpp:FILE" */
    struct str path;
    int64_t bytes;
    struct str without; /* what Ollama would use beside the file: "adapter, system text"; empty: nothing */
};
/* In the arena. What cannot be read is not listed. */
void hub_found_list(struct arena *a, struct hub_found **out, size_t *n);
bool hub_found_is_name(struct str text);
/* The file behind such a name (Ollama's without a tag: latest), in the arena; the log names what it goes without.
 * ERROR_NOT_FOUND. */
int hub_found_path(struct arena *a, struct str name, struct str *path, struct error *err) MUST_USE;

#endif
