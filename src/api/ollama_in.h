/* Ollama's requests: POST /api/chat and /api/generate into a chat_request. Pure. Source: Ollama's
 * api/types.go and docs/api.md (August 2026).
 *
 * Nothing is dropped in silence: an option that is not known is refused by name. `truncate` (the default
 * there) would drop the beginning of a conversation that is too long; here such a one is an error that says
 * so. */
#ifndef WEIR_API_OLLAMA_IN_H
#define WEIR_API_OLLAMA_IN_H

#include "chat/chat.h"

int api_ollama_chat_read(
    struct arena *a, struct str body, struct chat_request **out, struct error *err) MUST_USE;
int api_ollama_generate_read(
    struct arena *a, struct str body, struct chat_request **out, struct error *err) MUST_USE;

/* `keep_alive` of a request: seconds, or a duration like "5m" or "1h30m"; negative: for ever (*ms -1). *given
 * is false without one. */
int api_ollama_keep_alive(const json_t *root, bool *given, int64_t *ms, struct error *err) MUST_USE;

/* `model`, or `name`, its older word. */
int api_ollama_model(const json_t *root, struct str *name, struct error *err) MUST_USE;

/* Does this request ask for nothing but that the model be loaded, or unloaded (`keep_alive` 0)? */
bool api_ollama_is_load(const json_t *root, bool chat);

#endif
