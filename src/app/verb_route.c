/* weir route: where requests would go, and why. OpenAI chat bodies in, decisions out; sends nothing. */
#include <stdio.h>
#include <string.h>

#include "api/anthropic_in.h"
#include "api/ollama_in.h"
#include "api/openai_in.h"
#include "api/responses_in.h"
#include "app/config.h"
#include "app/verbs.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/rand.h"
#include "exchange/forecast.h"

static const char help[] =
    "usage: weir route [--config FILE] [--shape NAME] [--content] [--boundary local] [--batch] [--key NAME]\n"
    "                  [--team NAME] [--tags A,B] [--header NAME:VALUE] [--budget-left USD|SHARE%] < requests.jsonl\n"
    "\n"
    "Reads OpenAI chat bodies, one a line, and writes the decision for each: where it would go, every fact\n"
    "with its value, every rule with why it matches or not, and what was found by which layer of the\n"
    "detector. Nothing is sent anywhere. A line that cannot be decided has {\"error\": {\"message\",\n"
    "\"code\"}}, and the exit code is then 1. How long answers get and targets take only a running gateway has\n"
    "learned (POST /weir/explain): here costs are of answers as they are thought before any came, times unknown.\n"
    "  --config FILE     default weir.yaml, else the built-in rules\n"
    "  --shape NAME      the bodies are of another API: completions, responses, anthropic or ollama\n"
    "  --content         findings with the text that stands there\n"
    "  --boundary local  as if the client had asked to stay inside\n"
    "  --batch           as if it came from a batch\n"
    "  --key, --team     as if that key or team had asked\n"
    "  --budget-left B   as if 4.50 dollars or 20% of a budget were left; else the rules do not know\n"
    "  --tags A,B        as if the header x-weir-tags said so\n"
    "  --header N:VALUE  as if the request had that header, for what `owner` finds in headers\n";

enum { MAX_TAGS = 64 };

struct route {
    const struct router_policy *policy;
    struct config *config;              /* its prices */
    const struct chat_request *request; /* the line's */
    struct router_context context;
    struct str tags[MAX_TAGS];
    struct buf out;
    int (*read)(struct arena *, struct str, struct chat_request **, struct error *);
    const char *header;
    double budget_left; /* dollars or a share */
    bool content;       /* findings are shown with what stands there */
    bool failed;        /* a line had no decision */
};

/* False: not a shape's name. */
static bool shape_find(const char *name, struct route *r)
{
    static const struct {
        const char *name;
        int (*read)(struct arena *, struct str, struct chat_request **, struct error *);
    } shapes[] = {{"chat", api_openai_chat_read}, {"completions", api_openai_completion_read},
        {"responses", api_responses_read}, {"anthropic", api_anthropic_read},
        {"ollama", api_ollama_chat_read}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        if (strcmp(name, shapes[i].name) == 0) {
            r->read = shapes[i].read;
            return true;
        }
    return false;
}

/* Without a gateway that has learned better: an answer of the length that is thought before any was seen. */
static double ask_cost(void *ctx, struct str model, int64_t tokens)
{
    const struct route *r = ctx;
    const struct chat_request *q = r->request;
    double output = q->kind == CHAT_KIND_ANSWER ? forecast_guess(NULL, STR_NONE, STR_NONE).output_tokens : 0;
    if (q->max_tokens >= 0 && output > (double)q->max_tokens)
        output = (double)q->max_tokens;
    const struct chat_usage usage = {.input_tokens = tokens, .output_tokens = (int64_t)output * q->n};
    const struct govern_price free_of_charge = {.known = true};
    for (size_t i = 0; i < r->config->n_models; i++) {
        const struct config_model *m = &r->config->models[i];
        int64_t nano = govern_price_cost(m->file.len > 0 ? &free_of_charge : &m->price, &usage);
        if (str_eq(m->name, model))
            return nano < 0 ? -1 : (double)nano * 1e-9;
    }
    return -1;
}

static double budget_left_give(void *ctx)
{
    return ((const struct route *)ctx)->budget_left;
}

/* "4.50" or "20%"; false after having said what is wrong. */
static bool budget_left_read(struct route *r, const char *text)
{
    struct str amount = str_from(text);
    bool share = str_ends(amount, STR("%"));
    if (!text)
        return true;
    if (share)
        amount = str_slice(amount, 0, amount.len - 1);
    if (!str_to_double(amount, &r->budget_left) || !(r->budget_left >= 0)) {
        verb_failf(EXIT_USAGE, "--budget-left wants dollars like 4.50 or a share like 20%%, not '%s'", text);
        return false;
    }
    r->budget_left = share ? r->budget_left / 100 : r->budget_left;
    *(share ? &r->context.budget_share : &r->context.budget_left) = budget_left_give;
    return true;
}

static struct str header_give(void *ctx, const char *name, int index)
{
    struct str value = str_from(((const struct route *)ctx)->header), given;
    bool same = index == 0 && str_split(&value, ':', &given) && str_is_nocase(str_trim(given), name);
    return same ? str_trim(value) : STR_NONE;
}

static int line_take(void *ctx, struct str line, long long number)
{
    struct route *r = ctx;
    struct arena *a = arena_create(LIMIT_REQUEST_MEMORY);
    struct chat_request *request;
    struct route_decision decision;
    struct error err = {0};
    struct json_writer w;
    char id[40];
    (void)number;
    rand_id("req_", id, sizeof id);
    r->context.request_id = str_from(id);
    r->context.wall_ms = clock_wall_ms();
    r->context.mono_ms = clock_mono_ms();
    buf_clear(&r->out);
    json_writer_init(&w, &r->out);
    int rc = r->read(a, line, &request, &err);
    r->request = request;
    if (rc) {
        json_object_begin(&w);
        router_error_write(&err, &w);
        json_object_end(&w);
    } else {
        rc = router_explain(r->policy, request, &r->context, r->content, &decision, &w, &err);
    }
    buf_append_char(&r->out, '\n');
    arena_free(a);
    r->failed = r->failed || rc != 0;
    if (r->out.failed || fwrite(r->out.data, 1, r->out.len, stdout) != r->out.len)
        return verb_failf(EXIT_FAILED, "cannot write to standard output");
    return 0;
}

static void warn(void *ctx, const char *line)
{
    (void)ctx;
    fprintf(stderr, "weir: warning: %s\n", line);
}

static bool context_fill(struct route *r, const char *boundary, const char *tags)
{
    struct str rest = str_from(tags), tag;
    r->context.boundary_local = boundary && str_is(str_from(boundary), "local");
    if (boundary && !r->context.boundary_local) {
        verb_failf(EXIT_USAGE, "--boundary can only be local: it tightens what the rules say");
        return false;
    }
    while (r->context.n_tags < MAX_TAGS && str_split(&rest, ',', &tag))
        r->tags[r->context.n_tags++] = str_trim(tag);
    r->context.tags = r->tags;
    return true;
}

int verb_route(int argc, char **argv)
{
    struct route r = {0};
    const char *file = NULL, *boundary = NULL, *key = NULL, *team = NULL, *tags = NULL, *budget = NULL,
               *shape = "chat";
    const struct verb_option options[] = {{"config", &file, NULL}, {"boundary", &boundary, NULL},
        {"key", &key, NULL}, {"team", &team, NULL}, {"tags", &tags, NULL}, {"batch", NULL, &r.context.batch},
        {"shape", &shape, NULL}, {"content", NULL, &r.content}, {"header", &r.header, NULL},
        {"budget-left", &budget, NULL}};
    int n = verb_options(argc, argv, options, sizeof options / sizeof *options, help);
    if (n == -2)
        return EXIT_DONE;
    if (n != 0)
        return n < 0 ? EXIT_USAGE
                     : verb_failf(EXIT_USAGE, "route reads standard input: see weir route --help");
    const struct config_overrides none = {0};
    struct error err;
    struct router_policy *policy;
    if (!shape_find(shape, &r))
        return verb_failf(
            EXIT_USAGE, "--shape is chat, completions, responses, anthropic or ollama, not '%s'", shape);
    if (!context_fill(&r, boundary, tags) || !budget_left_read(&r, budget))
        return EXIT_USAGE;
    if (config_policy_load(str_from(file), &none, &r.config, &policy, &err))
        return verb_fail(EXIT_USAGE, &err);
    router_policy_warnings(policy, warn, NULL);
    r.policy = policy;
    r.context.cost_usd = ask_cost;
    r.context.ctx = &r;
    r.context.header = header_give;
    r.context.header_ctx = &r;
    r.context.key = str_from(key);
    r.context.team = str_from(team);
    buf_init(&r.out, LIMIT_REQUEST_MEMORY);
    int rc = verb_each_line(line_take, &r);
    buf_free(&r.out);
    router_policy_free(policy);
    config_free(r.config);
    if (rc == 0 && fflush(stdout) != 0)
        rc = verb_failf(EXIT_FAILED, "cannot write to standard output");
    return rc ? rc : r.failed ? EXIT_FAILED : EXIT_DONE;
}
