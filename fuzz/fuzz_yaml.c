/* Any bytes as a configuration: YAML, then the rules in it. */
#include "base/limits.h"
#include "router/router.h"
#include "detector.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct router_model models[] = {
        {.name = {"house", 5}, .inside = true, .embedded = true}, {.name = {"gpt", 3}}};
    struct arena *a = arena_create(64 * MIB);
    struct yaml_node *root;
    struct error err;
    if (yaml_read(a, (struct str){(const char *)data, size}, "fuzz", &root, &err) == 0) {
        struct router_policy *policy;
        struct router_policy_options o = {
            .routes = yaml_get(root, "routes"), .models = models, .n_models = 2};
        if (router_policy_compile(&o, &policy, &err) == 0)
            router_policy_free(policy);
    }
    arena_free(a);
    return 0;
}
