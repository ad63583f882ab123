/* Members of an answer that the one form has no words for: told to clients of the shape that they came in. */
#include "base/limits.h"
#include "provider/answer.h"

static bool says_nothing(const struct json_item *value)
{
    return json_item_is(value, JSON_ITEM_NULL) ||
           (json_item_is(value, JSON_ITEM_STRING) && value->text.len == 0) ||
           ((json_item_is(value, JSON_ITEM_ARRAY) || json_item_is(value, JSON_ITEM_OBJECT)) && value->n == 0);
}

/* "a":1,"b":[2] in a->rest; empty: there are none. */
static int rest_read(
    struct provider_answer *a, const struct json_item *object, const char *const *known, struct error *err)
{
    struct json_writer w;
    buf_clear(&a->rest);
    json_writer_init(&w, &a->rest);
    for (const struct json_item *i = json_item_is(object, JSON_ITEM_OBJECT) && object->n > 0 ? object + 1
                                                                                             : NULL;
         i; i = json_item_next(object, i)) {
        if (str_among(i->key, known) || says_nothing(i))
            continue;
        json_key_str(&w, i->key);
        json_write_item(&w, i);
    }
    return a->rest.failed ? error_set(err, a->rest.failed, "members of the answer are too large") : 0;
}

/* Nearly all answers say the same in each event: only what differs is read. */
static int rest_keep(struct provider_answer *a, struct provider_answer_rest *kept, struct error *err)
{
    uint64_t hash = str_hash(buf_str(&a->rest)) | 1;
    if (kept->last == hash)
        return 0;
    kept->last = hash;
    return json_members_add(&kept->members, buf_str(&a->rest), false, err);
}

int provider_answer_rest(struct provider_answer *a, enum chat_shape shape, enum chat_native what,
    const struct json_item *object, const char *const *known, struct error *err)
{
    int rc = rest_read(a, object, known, err);
    a->rest_of = shape;
    if (rc == 0 && a->rest.len > 0 && what == CHAT_NATIVE_CHOICE)
        provider_answer_native(a, shape, what, buf_str(&a->rest));
    else if (rc == 0 && a->rest.len > 0)
        rc = rest_keep(a, what == CHAT_NATIVE_ANSWER ? &a->answer_rest : &a->usage_rest, err);
    buf_clear(&a->rest);
    return rc;
}

static void members_tell(
    struct provider_answer *a, enum chat_native what, const struct provider_answer_rest *kept)
{
    struct json_writer w;
    buf_clear(&a->rest);
    json_writer_init(&w, &a->rest);
    json_members_write(&w, &kept->members); /* which fit: they are bounded as each event's are */
    if (a->rest.len > 0)
        provider_answer_native(a, a->rest_of, what, buf_str(&a->rest));
    buf_clear(&a->rest);
}

void provider_answer_rest_tell(struct provider_answer *a)
{
    if (!a->started || a->ended)
        return;
    members_tell(a, CHAT_NATIVE_ANSWER, &a->answer_rest);
    members_tell(a, CHAT_NATIVE_USAGE, &a->usage_rest);
}

int provider_answer_tool_rest(struct provider_answer *a, enum chat_shape shape, const struct json_item *call,
    const char *const *known, struct error *err)
{
    a->rest_of = shape;
    return rest_read(a, call, known, err);
}
