/* For openai_in.c: a chat request of texts alone, read without a tree. */
#ifndef WEIR_API_OPENAI_PLAIN_H
#define WEIR_API_OPENAI_PLAIN_H

#include "chat/chat.h"

/* What api_openai_chat_read makes of the same body, at a third of the cost; all of it is the arena's.
 * ERROR_MEMORY. *out is NULL, and nothing of the arena used, for anything but a model, messages whose content
 * is a string, and the usual numbers and switches, each once and in its range: the other way reads it, or
 * says why not. */
int api_openai_plain_read(
    struct arena *a, struct str body, struct chat_request **out, struct error *err) MUST_USE;

#endif
