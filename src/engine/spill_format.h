/* A spill file: what a worker's memory had no room for of keys and values (engine/worker/spill.h writes it,
 * the gateway makes and empties it: engine/spill_file.h).
 *
 *   | header | record 0 | record 1 | ...      as many as the limit allows, all of record_bytes
 *
 *   a record:  | head | a page's keys and values, encrypted | tag |
 *
 * Numbers as in memory. Nothing in it is trusted: a record that is not whole is as if it were not there. */
#ifndef WEIR_ENGINE_SPILL_FORMAT_H
#define WEIR_ENGINE_SPILL_FORMAT_H

#include <stdint.h>

enum {
    SPILL_MAGIC = 0x4C505357, /* "WSPL" */
    SPILL_RECORD = 0x43525357,
    SPILL_VERSION = 1,
    SPILL_KEY_BYTES = 32,
    SPILL_NAME_BYTES = 32,
    SPILL_NONCE_BYTES = 24, /* XChaCha20-Poly1305: so long that random ones do not meet again */
    SPILL_TAG_BYTES = 16
};

struct spill_header {
    uint32_t magic, version;
    uint64_t record_bytes;
    uint8_t owner[SPILL_NAME_BYTES]; /* by the key: of which model's pages, in which shape */
};

/* What is encrypted is bound to its head. A name is a keyed hash of the page's tokens, of all before them and
 * of whose they are: without the key it tells nothing, and a page is found by no other tokens. */
struct spill_head {
    uint32_t magic, zero;
    int64_t written_ms; /* by the wall clock */
    uint8_t name[SPILL_NAME_BYTES];
    uint8_t nonce[SPILL_NONCE_BYTES];
};

#endif
