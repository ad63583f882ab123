/* The table of secrets: facts about formats, as gitleaks and the issuers publish them; the patterns are our
 * own. */
#ifndef WEIR_ROUTER_DETECT_SECRET_H
#define WEIR_ROUTER_DETECT_SECRET_H

#include "router/detect.h"

enum detect_secret_kind {
    DETECT_TOKEN,    /* a word of the rule begins the secret itself (or stands `back` bytes into it) */
    DETECT_VALUE,    /* a word of the rule, then an assignment ("=", ":", "=>" ...), then the secret */
    DETECT_QUOTED,   /* the same, and the value must be in quotes: it may hold anything else */
    DETECT_COMPARED, /* a value in quotes, a comparison, then a word of the rule: "..." == db_password */
    DETECT_CROSSED   /* an assignment without quotes, and the value's brackets cross, as no program's do */
};

enum { DETECT_BACK_DIGITS = -1 }; /* `back`: over the digits before the word */

struct detect_secret {
    const char *type;
    enum detect_secret_kind kind;
    const char *words;   /* lower case, comma-separated */
    const char *pattern; /* PCRE2, from the secret's first byte on */
    double entropy;      /* bits per byte the secret must have; 0: any */
    int back;
};

extern const struct detect_secret detect_secrets[];
extern const size_t n_detect_secrets;

#endif
