/* A file of the project inside the program: the assembler reads it, so that it costs no compile time. `path`
 * is relative to the repository's root, where the compiler runs.
 *
 *   EMBED(prices_json, "data/prices.json");   ->   prices_json[0 .. prices_json_end - prices_json), then a
 * NUL */
#ifndef WEIR_BASE_EMBED_H
#define WEIR_BASE_EMBED_H

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
