/* weir-train: started by `weir train` and the other verbs below. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "engine/worker/sandbox_leaks.h"
#include "train/verbs.h"

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
} verbs[] = {
    {"train", train_verb},
    {"finetune", finetune_verb},
    {"quantize", quantize_verb},
    {"convert", convert_verb},
    {"export", export_verb},
    {"merge", merge_verb},
    {"perplexity", perplexity_verb},
    {"imatrix", imatrix_verb},
};

int main(int argc, char **argv)
{
    /* A file that may not grow (ulimit -f) is an error of the write, not the end of the program. */
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs && argc >= 2; i++)
        if (strcmp(argv[1], verbs[i].name) == 0)
            return verbs[i].run(argc - 1, argv + 1);
    fputs("weir-train: weir starts this program (weir --help lists its verbs)\n", stderr);
    return 2;
}
