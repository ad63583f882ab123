/* weir-train: started by `weir train` and the other verbs below. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "train/verbs.h"

#if defined(__SANITIZE_ADDRESS__)
#define HAS_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAS_ASAN 1
#endif
#endif
#ifdef HAS_ASAN
/* The leak checker traces its own process, which the sandbox forbids. Unit tests look for leaks outside it.
 */
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void)
{
    return 1;
}
#endif

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
