/* A decision made again of what an earlier one wrote down, for `weir replay`. What it did not compute, or
 * never writes down (language, pictures, tools, tags), is unknown: a rule that asks for it cannot be told.
 * Where the request itself was kept, only what stood beside it is. */
#include <math.h>

#include "router/decide.h"
#include "router/detect_own.h"
#include "router/policy.h"

static unsigned bit(enum when_fact fact)
{
    return 1u << fact;
}

static int findings_recall(struct facts *f, const json_t *decision, struct error *err)
{
    const json_t *entities = json_object_get(decision, "entities");
    const json_t *categories = json_object_get(decision, "categories");
    f->findings.sensitive = json_is_true(json_object_get(decision, "sensitive"));
    for (size_t i = 0; i < json_array_size(categories); i++)
        f->findings.categories |= router_category_from(json_str(json_array_get(categories, i)));
    int rc = 0;
    for (size_t i = 0; i < json_array_size(entities) && rc == 0; i++) {
        const json_t *e = json_array_get(entities, i);
        const struct detect_type *type = detect_own_type_or_known(f->own, json_text(e, "type"));
        const struct router_entity entity = {.type = type ? type->name : "",
            .category = type ? type->category : 0,
            .score = json_number_value(json_object_get(e, "score"))};
        if (type) /* else an older version's, which no rule can ask for */
            rc = detect_entity_add(f->request->arena, &f->findings, &entity, err);
    }
    return rc;
}

static const unsigned beside =
    1u << WHEN_TAG | 1u << WHEN_BATCH | 1u << WHEN_BUDGET_LEFT | 1u << WHEN_LOCAL_QUEUE;

static int facts_recall(struct facts *f, const json_t *decision, struct error *err)
{
    const json_t *complexity = json_object_get(decision, "complexity");
    const json_t *tokens = json_object_get(decision, "tokens");
    struct str task = json_text(decision, "task");
    f->unknown =
        beside | bit(WHEN_LANGUAGE) | bit(WHEN_IMAGES) | bit(WHEN_AUDIO) | bit(WHEN_FILES) | bit(WHEN_TOOLS);
    f->have = FACTS_FINDINGS | FACTS_COMPLEXITY | FACTS_TOKENS | FACTS_TASK | FACTS_LANGUAGE | FACTS_MEDIA;
    f->language = "other";
    f->task = "chat";
    f->complexity = json_number_value(complexity);
    f->tokens = json_is_integer(tokens) ? json_integer_value(tokens) : -1;
    if (!json_is_number(complexity))
        f->unknown |= bit(WHEN_COMPLEXITY);
    if (f->tokens < 0)
        f->unknown |= bit(WHEN_TOKENS);
    for (size_t i = 0; facts_tasks[i]; i++)
        if (str_is(task, facts_tasks[i]))
            f->task = facts_tasks[i];
    if (!str_is(task, f->task))
        f->unknown |= bit(WHEN_TASK);
    if (json_is_boolean(json_object_get(decision, "sensitive")))
        return findings_recall(f, decision, err);
    f->unknown |= bit(WHEN_SENSITIVE) | bit(WHEN_CATEGORY) | bit(WHEN_ENTITY);
    f->findings.sensitive = true; /* not looked at: the careful answer */
    return 0;
}

int router_decide_again(const struct router_policy *p, struct arena *a, struct str model,
    const json_t *decision, struct chat_request *kept, const struct router_context *c,
    struct route_decision *out, struct router_again *again, struct error *err)
{
    struct facts f;
    struct chat_request *r = kept ? kept : chat_request_create(a);
    r->model = model;
    facts_init(&f, p->own, r, c);
    f.unknown = beside;
    int rc = kept ? 0 : facts_recall(&f, decision, err);
    if (rc == 0)
        rc = router_decide_facts(p, &f, out, err);
    bool named_unchecked =
        out->route.len == 0 && str_is(out->rule, "named-sensitive") && (f.unknown & bit(WHEN_SENSITIVE)) != 0;
    again->told = !f.undecided && !named_unchecked;
    again->checked = (f.unknown & bit(WHEN_SENSITIVE)) == 0;
    again->sensitive = again->checked && facts_findings(&f)->sensitive;
    again->masked = f.masked;
    return rc;
}
