/* weir serve: the gateway. */
#include <mimalloc.h>
#include <stdio.h>
#include <sys/resource.h>

#include "app/config.h"
#include "app/gateway.h"
#include "app/serve.h"
#include "app/verbs.h"

static const char help[] =
    "usage: weir serve [--config FILE] [--listen HOST:PORT] [--model FILE.gguf] [--offline] [--check]\n"
    "                  [--memory-unchecked]\n"
    "\n"
    "Starts the gateway. Without --config it reads weir.yaml in the working directory, and without that serves the\n"
    "model given by --model and the providers whose keys are in the environment.\n"
    "\n"
    "  --config FILE   the configuration (README, \"Configuration\")\n"
    "  --listen H:P    where to listen; what is not loopback needs 'auth: keys'\n"
    "  --model FILE    a model file, served as the model 'local'\n"
    "  --memory-unchecked\n"
    "                  load models though they do not seem to fit; then they are slow\n"
    "  --offline       no outbound connection, ever\n"
    "  --check         check the configuration and exit\n"
    "\n"
    "SIGTERM drains and stops, SIGHUP reads the configuration again.\n";

static int check(const struct config *config)
{
    struct router_policy *policy;
    struct error err;
    if (config_policy(config, &policy, &err))
        return verb_fail(EXIT_USAGE, &err);
    if (serve_check(config, &err)) {
        router_policy_free(policy);
        return verb_fail(EXIT_USAGE, &err);
    }
    router_policy_free(policy);
    if (gateway_check(config, &err))
        return verb_fail(EXIT_USAGE, &err);
    printf(STR_FMT " is right: %zu providers, %zu models\n", STR_ARG(config->file), config->n_providers,
        config->n_models);
    return EXIT_DONE;
}

/* A stream takes two descriptors, and shells give 1,024: as many as may be had. */
static void descriptors_raise(void)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
}

#pragma weak mi_option_set_default /* a build with sanitizers has their malloc */

/* Blocks of a conversation's size come and go with each request: what is free goes back to the system after a
 * second, not 25 ms, or three pages of each request would be mapped and zeroed anew. MIMALLOC_DECOMMIT_DELAY
 * says otherwise. */
static void memory_keep(void)
{
    if (mi_option_set_default)
        mi_option_set_default(mi_option_decommit_delay, 1000);
}

int verb_serve(int argc, char **argv)
{
    const char *file = NULL, *listen = NULL, *model = NULL;
    bool offline = false, only_check = false, memory_unchecked = false;
    const struct verb_option options[] = {{"config", &file, NULL}, {"listen", &listen, NULL},
        {"model", &model, NULL}, {"offline", NULL, &offline}, {"check", NULL, &only_check},
        {"memory-unchecked", NULL, &memory_unchecked}};
    int n = verb_options(argc, argv, options, sizeof options / sizeof *options, help);
    if (n < 0)
        return n == -2 ? EXIT_DONE : EXIT_USAGE;
    if (n > 0)
        return verb_failf(EXIT_USAGE, "serve takes no argument '%s': see weir serve --help", argv[1]);
    struct config_overrides overrides = {.listen = str_from(listen),
        .model_file = str_from(model),
        .offline = offline,
        .memory_unchecked = memory_unchecked};
    struct config *config;
    struct error err;
    if (config_load(str_from(file), &overrides, &config, &err))
        return verb_fail(EXIT_USAGE, &err);
    if (only_check) {
        int rc = check(config);
        config_free(config);
        return rc;
    }
    descriptors_raise();
    memory_keep();
    int rc = serve_run(config, str_from(file), &overrides, &err);
    return rc ? verb_fail(rc == ERROR_INVALID || rc == ERROR_UNSUPPORTED ? EXIT_USAGE : EXIT_FAILED, &err)
              : EXIT_DONE;
}
