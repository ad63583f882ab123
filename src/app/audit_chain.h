/* weir audit verify and weir audit export: the chain behind the ledger and the egress log. */
#ifndef WEIR_APP_AUDIT_CHAIN_H
#define WEIR_APP_AUDIT_CHAIN_H

#include <stdbool.h>
#include <stdint.h>

#include "store/store.h"

/* `heads`: "1:1234:HASH,...", as it prints them; NULL: none. Returns the exit code. */
int audit_chain_verify(struct store *s, const char *heads, bool json);
/* Records and blocks of that time as JSONL (README). */
int audit_chain_export(struct store *s, int64_t since_ms, int64_t until_ms);

#endif
