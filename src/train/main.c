/* weir-train: started by `weir train`, `weir finetune` and `weir quantize`. */
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

int main(int argc, char **argv)
{
    /* A file that may not grow (ulimit -f) is an error of the write, not the end of the program. */
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    if (argc >= 2 && strcmp(argv[1], "train") == 0)
        return train_verb(argc - 1, argv + 1);
    if (argc >= 2 && strcmp(argv[1], "finetune") == 0)
        return finetune_verb(argc - 1, argv + 1);
    if (argc >= 2 && strcmp(argv[1], "quantize") == 0)
        return quantize_verb(argc - 1, argv + 1);
    fputs("usage: weir-train train|finetune|quantize ... (weir starts this program: see weir train --help)\n",
        stderr);
    return 2;
}
