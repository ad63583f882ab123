/* By what a text is known in the memory of what was found (detect_memo.h): 128 bits under secret keys made at
 * the start, which nobody outside can compute or see. */
#ifndef WEIR_ROUTER_DETECT_MEMO_KEY_H
#define WEIR_ROUTER_DETECT_MEMO_KEY_H

#include "base/str.h"

enum { DETECT_MEMO_KEY = 16 };

/* Whose texts these are: where keys of another one never are. */
struct detect_memo_caller {
    unsigned char key[DETECT_MEMO_KEY];
};

/* `version`: of the owner's layer (detect_own.h). */
void detect_memo_caller_make(uint64_t version, struct str who, struct detect_memo_caller *caller);
void detect_memo_key_make(
    const struct detect_memo_caller *caller, struct str text, unsigned char key[DETECT_MEMO_KEY]);

/* The two ways to make one: whatever the machine has, and by AES instructions (false: it has none). */
void detect_memo_key_plain(
    const struct detect_memo_caller *caller, struct str text, unsigned char key[DETECT_MEMO_KEY]);
bool detect_memo_key_quick(
    const struct detect_memo_caller *caller, struct str text, unsigned char key[DETECT_MEMO_KEY]) MUST_USE;

#endif
