/* A JSON value that comes in pieces: where it ends, and whether it can still become one (RFC 8259). */
#ifndef WEIR_ENGINE_WORKER_REPLY_JSON_H
#define WEIR_ENGINE_WORKER_REPLY_JSON_H

#include <stdbool.h>
#include <stdint.h>

#include "base/limits.h"

enum json_scan_result {
    JSON_SCAN_MORE,   /* so far, so good */
    JSON_SCAN_DONE,   /* the value ends with this byte */
    JSON_SCAN_BEFORE, /* a number ended before this byte */
    JSON_SCAN_BROKEN  /* nothing that follows makes it JSON */
};

struct json_scan {
    uint8_t state;
    uint8_t count;  /* hexadecimal digits or letters of a word that are still to come */
    uint8_t word;   /* which word */
    bool key;       /* the string is a member's name */
    uint16_t depth; /* of open objects and arrays */
    bool object[LIMIT_JSON_DEPTH];
};

/* Start from {0}. UTF-8 is not checked. */
enum json_scan_result json_scan_next(struct json_scan *s, char c);

#endif
