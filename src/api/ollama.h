/* Ollama's API: which models there are, and conversations in its shape. */
#ifndef WEIR_API_OLLAMA_H
#define WEIR_API_OLLAMA_H

#include "api/api.h"

extern const struct api_shape api_ollama_chat_shape, api_ollama_generate_shape, api_ollama_embed_shape,
    api_ollama_embeddings_shape;

void api_ollama_chat(const struct api_call *c); /* both: by the call's shape */
void api_ollama_tags(const struct api_call *c);
void api_ollama_show(const struct api_call *c);
void api_ollama_ps(const struct api_call *c);
void api_ollama_version(const struct api_call *c);
void api_ollama_elsewhere(const struct api_call *c); /* what is done by the configuration here */

/* The name that is meant: a model's or a route's own, or with the tag ":latest" beside it. ERROR_NOT_FOUND in
 * Ollama's words. */
int api_ollama_name(
    const struct exchange_world *w, struct str given, struct str *name, struct error *err) MUST_USE;

#endif
