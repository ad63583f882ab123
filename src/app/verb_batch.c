/* weir batch: the requests of a file, run without a server. */
#include <stdio.h>

#include "app/batch_run.h"
#include "app/verbs.h"
#include "base/file.h"

static const char help[] =
    "usage: weir batch IN OUT --model M [options]\n"
    "\n"
    "Runs each line of IN, {\"custom_id\",\"method\":\"POST\",\"url\":\"/v1/chat/completions\",\"body\":{...}} (OpenAI's\n"
    "batch format; also /v1/completions, /v1/responses, /v1/embeddings), and adds its result to OUT. Lines whose result is in OUT\n"
    "already are not run again: the same command goes on with what was broken off. Rules, boundaries, the ledger and\n"
    "the egress log hold as in weir serve; `batch` is true for rules. Exit code 1 if a line failed.\n"
    "\n"
    "  --model M              a .gguf file, or a model or route of the configuration; default: as each body names\n"
    "  --parallel N           lines at a time, default 4\n"
    "  --config FILE          default weir.yaml\n";

int verb_batch(int argc, char **argv)
{
    const char *model = NULL, *config = NULL, *parallel = NULL;
    const struct verb_option options[] = {
        {"model", &model, NULL}, {"config", &config, NULL}, {"parallel", &parallel, NULL}};
    long long n_parallel = BATCH_PARALLEL;
    struct config_overrides overrides = {.offline = false};
    struct batch_counts counts;
    struct config *loaded;
    struct error err;
    int n = verb_options(argc, argv, options, sizeof options / sizeof *options, help);
    if (n < 0)
        return n == -2 ? EXIT_DONE : EXIT_USAGE;
    if (n != 2)
        return verb_failf(
            EXIT_USAGE, "batch wants a file of requests and one for results: see weir batch --help");
    if (file_is_same(argv[1], argv[2]))
        return verb_failf(EXIT_USAGE, "%s holds the requests: name another file for the results", argv[2]);
    if (parallel && !verb_integer("parallel", parallel, 1, 1024, &n_parallel))
        return EXIT_USAGE;
    if (model && str_ends(str_from(model), STR(".gguf"))) {
        overrides.model_file = str_from(model);
        model = "local";
    }
    if (config_load(str_from(config), &overrides, &loaded, &err))
        return verb_fail(EXIT_USAGE, &err);
    const struct batch_run_options o = {
        .in = argv[1], .out = argv[2], .model = model, .parallel = (int)n_parallel};
    if (batch_run(loaded, &o, &counts, &err))
        return verb_fail(EXIT_FAILED, &err);
    if (counts.failed > 0)
        return verb_failf(EXIT_FAILED, "%lld of %lld lines failed: their results say why",
            (long long)counts.failed, (long long)counts.total);
    return EXIT_DONE;
}
