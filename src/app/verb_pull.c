/* weir pull: a model from Hugging Face or Ollama's registry, into the folder of models. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/config.h"
#include "app/verb_state.h"
#include "app/verbs.h"
#include "base/clock.h"
#include "base/limits.h"
#include "egress/egress.h"
#include "hub/hub.h"

static const char help[] =
    "usage: weir pull NAME [--dir DIR] [--connections N]\n"
    "\n"
    "Fetches a model: hf.co/OWNER/REPO:Q4_K_M from Hugging Face (without a tag: Q4_K_M or the next usual type;\n"
    "all parts of a split model), or NAME:TAG and OWNER/NAME:TAG from Ollama's registry. Goes on where an earlier\n"
    "run was cut off; a file gets its name only when its SHA-256 is right. From Ollama's registry come, where there are\n"
    "any, NAME.params.json, which says how tokens are drawn where a request does not, NAME.system, the system's text\n"
    "where a request has none, NAME.messages.json, with which each conversation begins, and, to be read, NAME.template\n"
    "and NAME.license.\n"
    "\n"
    "  --dir DIR          the folder; default the configuration's models_dir, else models\n"
    "  --connections N    at once (1 to 16); default 4\n"
    "  --projector        the projector of a model that sees, too\n"
    "  --mirror URL       ask this server instead; for Hugging Face also HF_ENDPOINT in the environment\n"
    "  --proxy URL        http://host:port, or http://user:password@host:port; none: no proxy. Without it https_proxy,\n"
    "                     http_proxy, all_proxy and no_proxy of the environment count, in capitals, too\n"
    "  --ca-file FILE     trust these certificates (PEM) instead of the system's\n"
    "  --list             say what would be fetched, and stop\n"
    "  --state URL        where the record of each request is kept; default the configuration's\n"
    "  --config FILE      the configuration; default weir.yaml\n"
    "\n"
    "HF_TOKEN in the environment is for models that ask for it; it is sent to the hub and to no other server.\n";

/* ---- Progress: a line that is written over on a terminal, a line for each tenth elsewhere ---- */

struct meter {
    struct str name;
    int64_t began_ms, shown_ms, bytes_at_start;
    int tenths;
    bool terminal, started;
};

static void meter_show(void *ctx, int64_t here, int64_t all)
{
    struct meter *m = ctx;
    int64_t now = clock_mono_ms();
    int tenths = (int)(here * 10 / all);
    if (!m->started) {
        m->started = true;
        m->began_ms = now;
        m->bytes_at_start = here;
        m->tenths = tenths;
    }
    if (m->terminal ? now - m->shown_ms < 200 && here < all : tenths == m->tenths)
        return;
    m->shown_ms = now;
    m->tenths = tenths;
    double seconds = (double)(now - m->began_ms) / 1000,
           rate = seconds > 0.5 ? (double)(here - m->bytes_at_start) / seconds : 0;
    fprintf(stderr, "%s" STR_FMT "  %3d%%  %.1f of %.1f MiB", m->terminal ? "\r\033[K" : "", STR_ARG(m->name),
        (int)(here * 100 / all), (double)here / (double)MIB, (double)all / (double)MIB);
    if (rate > 0)
        fprintf(stderr, "  %.1f MiB/s  %" PRId64 " s left", rate / (double)MIB,
            (int64_t)((double)(all - here) / rate));
    fputs(m->terminal ? "" : "\n", stderr);
}

/* ---- The verb ---- */

static int fetch_all(
    struct hub *hub, const struct hub_listing *l, struct str folder, int connections, struct error *err)
{
    int rc = 0;
    for (size_t i = 0; i < l->n_files && rc == 0; i++) {
        struct meter m = {.name = l->files[i].name, .terminal = isatty(STDERR_FILENO) == 1};
        rc = hub_download(hub, &l->files[i], folder, connections, (struct hub_progress){meter_show, &m}, err);
        if (m.terminal && m.started)
            fputc('\n', stderr);
        if (rc == 0)
            printf(STR_FMT "/" STR_FMT "\n", STR_ARG(folder), STR_ARG(l->files[i].name));
    }
    return rc;
}

static void list_print(const struct hub_listing *l)
{
    for (size_t i = 0; i < l->n_files; i++) {
        verb_print_cell(l->files[i].name, 48);
        printf(" %10.1f MiB  sha256:" STR_FMT "\n", (double)l->files[i].bytes / (double)MIB,
            STR_ARG(l->files[i].sha256));
    }
}

struct asked {
    const char *dir, *connections, *mirror, *proxy, *ca_file;
    bool list, projector;
    struct verb_state where;
};

/* Of the environment, in small letters or, where that is not set, in capitals. */
static const char *environment(const char *small, const char *capitals)
{
    const char *value = getenv(small);
    return value ? value : getenv(capitals);
}

/* A proxy as curl's users write one: http:// may be left out. */
static int proxy_read(
    struct arena *a, const char *where, const char *value, struct str *out, struct error *err)
{
    *out = str_from(value);
    if (out->len > 0 && str_find(*out, STR("://")) == SIZE_MAX)
        *out = arena_printf(a, "http://%s", value);
    int rc = out->len > 0 ? egress_proxy_check(*out, err) : 0;
    return rc ? error_wrap(err, "%s", where) : 0;
}

/* What is said counts alone; else what the environment says. */
static int proxies_find(const struct asked *q, struct arena *a, struct hub_options *o, struct error *err)
{
    if (q->proxy) {
        if (strcmp(q->proxy, "none") == 0)
            return 0;
        o->proxy = o->proxy_plain = str_from(q->proxy);
        return egress_proxy_check(o->proxy, err);
    }
    const char *all = environment("all_proxy", "ALL_PROXY"), *tls = environment("https_proxy", "HTTPS_PROXY"),
               *plain = environment("http_proxy", "HTTP_PROXY");
    o->no_proxy = str_from(environment("no_proxy", "NO_PROXY"));
    int rc = proxy_read(a, tls ? "HTTPS_PROXY" : "ALL_PROXY", tls ? tls : all, &o->proxy, err);
    /* Where both are set ALL_PROXY may be of a kind that is not known here ("socks5://..."). */
    all = tls ? NULL : all;
    return rc ? rc
              : proxy_read(a, plain ? "HTTP_PROXY" : "ALL_PROXY", plain ? plain : all, &o->proxy_plain, err);
}

static int pull(const struct asked *q, const struct hub_name *name, const struct config *config,
    struct arena *a, struct store *audit, struct hub **out)
{
    const char *endpoint = name->kind == HUB_HUGGING_FACE ? getenv("HF_ENDPOINT") : NULL,
               *token = name->kind == HUB_HUGGING_FACE ? getenv("HF_TOKEN") : NULL;
    long long connections = 4;
    struct hub_listing listing;
    struct str folder = q->dir ? str_from(q->dir) : config_models_folder(config);
    struct error err;
    if (q->connections && !verb_integer("connections", q->connections, 1, 16, &connections))
        return EXIT_USAGE;
    struct hub_options o = {.audit = audit,
        .offline = config->offline,
        .mirror = str_from(q->mirror ? q->mirror : endpoint),
        .ca_file = str_from(q->ca_file),
        .token = str_from(token),
        .projector = q->projector};
    if (o.mirror.len > 0 && !str_starts(o.mirror, STR("http://")) && !str_starts(o.mirror, STR("https://")))
        return verb_failf(EXIT_USAGE, "%s wants a URL like https://host, not '" STR_FMT "'",
            q->mirror ? "--mirror" : "HF_ENDPOINT", STR_ARG(str_slice(o.mirror, 0, 80)));
    int rc = proxies_find(q, a, &o, &err);
    rc = rc ? rc : hub_create(&o, out, &err);
    if (rc)
        return verb_fail(EXIT_FAILED, &err);
    struct hub *hub = *out;
    rc = hub_list(hub, a, name, &listing, &err);
    if (rc == 0 && q->list)
        list_print(&listing);
    else if (rc == 0)
        rc = fetch_all(hub, &listing, folder, (int)connections, &err);
    hub_stop(hub);
    if (rc == 0 && !q->list)
        fprintf(stderr,
            "weir run " STR_FMT "/" STR_FMT "    (or models_dir: " STR_FMT " in weir.yaml, and weir serve)\n",
            STR_ARG(folder), STR_ARG(listing.files[0].name), STR_ARG(folder));
    return rc ? verb_fail(EXIT_FAILED, &err) : EXIT_DONE;
}

int verb_pull(int argc, char **argv)
{
    struct asked q = {0};
    struct hub_name name;
    struct config *config;
    struct store *audit;
    struct hub *hub = NULL;
    struct error err;
    const struct verb_option options[] = {{"dir", &q.dir, NULL}, {"connections", &q.connections, NULL},
        {"mirror", &q.mirror, NULL}, {"proxy", &q.proxy, NULL}, {"ca-file", &q.ca_file, NULL},
        {"list", NULL, &q.list}, {"projector", NULL, &q.projector}, {"state", &q.where.url, NULL},
        {"config", &q.where.config, NULL}};
    int n = verb_options(argc, argv, options, sizeof options / sizeof *options, help);
    if (n < 0)
        return n == -2 ? EXIT_DONE : EXIT_USAGE;
    if (n != 1)
        return verb_failf(EXIT_USAGE,
            n ? "unexpected argument '%s': see weir pull --help"
              : "which model? like: weir pull hf.co/OWNER/REPO:Q4_K_M",
            n ? argv[2] : "");
    struct arena *a = arena_create(64 * MIB);
    int exit_code = EXIT_DONE;
    if (hub_name_parse(a, str_from(argv[1]), &name, &err) ||
        config_load(str_from(q.where.config), &(struct config_overrides){0}, &config, &err)) {
        exit_code = verb_fail(EXIT_USAGE, &err);
    } else {
        if (!q.where.url)
            q.where.url = arena_strdup(a, config->state);
        exit_code = verb_state_open(&q.where, true, &audit);
        if (exit_code == EXIT_DONE) {
            exit_code = pull(&q, &name, config, a, audit, &hub);
            store_close(audit); /* which answers the hub's loop to the last */
            hub_free(hub);
        }
        config_free(config);
    }
    arena_free(a);
    return exit_code;
}
