/* Policies and requests written out in a test. */
#ifndef TESTS_ROUTER_FIXTURE_H
#define TESTS_ROUTER_FIXTURE_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"
#include "egress/permit.h"
#include "router/facts.h"
#include "router/router.h"

static struct error err;

static const struct router_model models[] = {{{"house", 5}, true, 1, true}, {{"rack", 4}, true, 0, false},
    {{"gpt", 3}, false, 0, false}, {{"claude", 6}, false, 3, false}};
enum { N_MODELS = 4 };

static inline int compile(
    const char *routes, enum router_on_sensitive on_sensitive, struct router_policy **out)
{
    struct arena *a = arena_create(32 * MIB);
    struct yaml_node *root;
    int rc = yaml_read(a, str_from(routes), "weir.yaml", &root, &err);
    struct router_policy_options o = {.routes = rc ? NULL : yaml_get(root, "routes"),
        .owner = rc ? NULL : yaml_get(root, "owner"),
        .models = models,
        .n_models = N_MODELS,
        .on_sensitive = on_sensitive};
    if (rc == 0)
        rc = router_policy_compile(&o, out, &err);
    arena_free(a);
    return rc;
}

static inline struct router_policy *policy_of(const char *routes)
{
    struct router_policy *p;
    if (compile(routes, ROUTER_SENSITIVE_LOCAL, &p))
        fail_msg("%s", err.message);
    return p;
}

static inline struct chat_request *request_of(struct arena *a, const char *model, const char *text)
{
    struct chat_request *r = chat_request_create(a);
    r->model = arena_copy(a, str_from(model));
    r->messages = arena_alloc(a, sizeof *r->messages);
    r->n_messages = 1;
    r->messages[0] = (struct chat_message){
        .role = CHAT_USER, .parts = arena_alloc(a, 4 * sizeof(struct chat_part)), .n_parts = 1};
    r->messages[0].parts[0] =
        (struct chat_part){.kind = CHAT_PART_TEXT, .text = arena_copy(a, str_from(text))};
    return r;
}

static inline struct router_context context_of(void)
{
    return (struct router_context){.request_id = STR("req_1"), .wall_ms = 1700000000000, .mono_ms = 1000};
}

#endif
