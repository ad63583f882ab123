/* For the targets that judge texts: the detector's tables are made before the first input, whose time limit
 * they took up on a loaded machine. */
#ifndef WEIR_FUZZ_DETECTOR_H
#define WEIR_FUZZ_DETECTOR_H

#include <stdlib.h>

#include "router/router.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    struct error err;
    (void)argc;
    (void)argv;
    if (router_detect_init(&err))
        abort();
    return 0;
}

#endif
