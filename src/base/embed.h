/* A file of the project inside the program: the assembler reads it, so that it costs no compile time. `path`
 * is relative to the repository's root, where the compiler runs.
 *
 *   EMBED(prices_json, "data/prices.json");   ->   EMBEDDED(prices_json), which a NUL follows */
#ifndef WEIR_BASE_EMBED_H
#define WEIR_BASE_EMBED_H

#include "base/str.h"

/* A struct str. */
#define EMBEDDED(name) ((struct str){name, (size_t)(name##_end - name)})

#define EMBED(name, path)                                                                                    \
    __asm__(".pushsection .rodata\n"                                                                         \
            ".balign 16\n"                                                                                   \
            ".global " #name "\n.hidden " #name "\n"                                                         \
            ".global " #name "_end\n.hidden " #name "_end\n" #name ":\n"                                     \
            ".incbin \"" path "\"\n" #name "_end:\n"                                                         \
            ".byte 0\n"                                                                                      \
            ".popsection\n");                                                                                \
    extern const char name[] __attribute__((visibility("hidden")));                                          \
    extern const char name##_end[] __attribute__((visibility("hidden")))

#endif
