/* Private to config*.c: values of the configuration, and its lists. */
#ifndef WEIR_APP_CONFIG_INNER_H
#define WEIR_APP_CONFIG_INNER_H

#include "app/config.h"

/* ---- config_value.c. Absent members give the fallback; errors name the line. ---- */
/* "250ms" "5s" "2m" "12h" "90d" "2w" */
int config_get_duration(const struct yaml_node *map, const char *key, int64_t fallback_ms, int64_t most_ms,
    int64_t *out_ms, struct error *err) MUST_USE;
/* Bytes, or "32MiB" "64KiB" "1GiB". */
int config_get_size(const struct yaml_node *map, const char *key, int64_t fallback, int64_t most,
    int64_t *out, struct error *err) MUST_USE;
/* "${NAME}" from the environment or "file:PATH"; empty if absent. A literal secret is refused. */
int config_get_secret(struct config *c, const struct yaml_node *map, const char *key, struct str *out,
    struct error *err) MUST_USE;
/* A file that can be read; a relative one beside the configuration, else in the working directory. */
int config_get_file(struct config *c, const struct yaml_node *map, const char *key, struct str *out,
    struct error *err) MUST_USE;
/* The same, or a model that another program keeps ("ollama:llama3.2:1b"). */
int config_get_model_file(struct config *c, const struct yaml_node *map, const char *key, struct str *out,
    struct error *err) MUST_USE;
int config_get_folder(struct config *c, const struct yaml_node *map, const char *key, struct str *out,
    struct error *err) MUST_USE; /* likewise */
int config_get_strings(struct config *c, const struct yaml_node *map, const char *key, struct str **out,
    size_t *n, struct error *err) MUST_USE;
/* The index of the member among `words` (NULL-terminated); `fallback` if absent. */
int config_get_choice(const struct yaml_node *map, const char *key, const char *const *words, int fallback,
    int *out, struct error *err) MUST_USE;
/* "5m"; a number is seconds, a negative one for ever (-1). */
int config_get_keep_alive(
    const struct yaml_node *map, int64_t fallback_ms, int64_t *out_ms, struct error *err) MUST_USE;
/* A file that the configuration names, as config_get_file looks for it, into an empty buffer. */
int config_read_beside(
    const struct config *c, struct str path, size_t most, struct buf *out, struct error *err) MUST_USE;

/* ---- config_resilience.c ---- */
/* request_timeout, drain_timeout, drain_delay, stream_keep_alive, cache. */
int config_read_exchange(struct config *c, const struct yaml_node *root, struct error *err) MUST_USE;
void config_patience_init(struct exchange_patience *p, struct breaker_policy *b);
/* What providers and models have in common; what is absent stays as it is. */
int config_patience_read(const struct yaml_node *map, struct exchange_patience *p, struct breaker_policy *b,
    struct error *err) MUST_USE;
int config_probe_read(const struct yaml_node *map, struct config_provider *p, struct error *err) MUST_USE;
int config_model_patience(
    const struct config *c, const struct yaml_node *n, struct config_model *m, struct error *err) MUST_USE;
/* Of `headers`: whether it can be sent. */
int config_header_check(const struct yaml_node *at, struct egress_header *h, struct error *err);
/* base_urls: equal servers behind one provider. Reads them; then adds what follows from them: their
 * providers, and for a model of theirs, the last that was read, a member for each and the pool in its place.
 */
int config_servers_read(
    struct config *c, const struct yaml_node *n, struct config_provider *p, struct error *err) MUST_USE;
void config_servers_add(struct config *c, const struct config_provider *p);
void config_members_add(struct config *c);
int config_pool_read(
    const struct config *c, const struct yaml_node *n, struct config_model *m, struct error *err) MUST_USE;
/* Does all that it may mean run on machines of our own? */
bool config_model_is_inside(const struct config *c, const struct config_model *m);

/* ---- config_observe.c ---- */
int config_read_observe(
    struct config *c, const struct yaml_node *root, struct error *err) MUST_USE; /* access_log, feedback, telemetry */

/* ---- config_list.c ---- */
int config_read_providers(struct config *c, const struct yaml_node *root, struct error *err) MUST_USE;
int config_read_models(struct config *c, const struct yaml_node *root, struct error *err) MUST_USE;
/* config_found.c: adds those of models_dir behind them, at most so many; there is room. */
enum { CONFIG_FOUND_MAX = 1024 };
int config_read_found(struct config *c, struct error *err) MUST_USE;

#endif
