#include "json/json_members.h"

#include <stdlib.h>

#include "base/limits.h"
#include "json/json_view.h"

enum { KEY_MAX = 4 * KIB };

void json_members_init(struct json_members *m, size_t most)
{
    *m = (struct json_members){.most = most};
}

void json_members_free(struct json_members *m)
{
    for (size_t i = 0; i < m->n; i++) {
        buf_free(&m->list[i].key);
        buf_free(&m->list[i].value);
    }
    free(m->list);
    json_members_init(m, m->most);
}

/* The one of that name, or a new one; NULL: there are too many. */
static struct json_member *member_of(struct json_members *m, struct str key)
{
    for (size_t i = 0; i < m->n; i++)
        if (str_eq(buf_str(&m->list[i].key), key))
            return &m->list[i];
    struct json_member *list =
        m->n < JSON_MEMBERS_MAX ? realloc(m->list, (m->n + 1) * sizeof *m->list) : NULL;
    if (!list)
        return NULL;
    m->list = list;
    buf_init(&list[m->n].key, KEY_MAX);
    buf_init(&list[m->n].value, m->most);
    buf_append_str(&list[m->n].key, key);
    m->bytes += key.len;
    return &list[m->n++];
}

static int member_add(struct json_members *m, const struct json_item *item, bool join, struct error *err)
{
    struct json_writer w;
    struct buf text;
    struct json_member *member = member_of(m, item->key);
    if (!member)
        return error_set(err, ERROR_LIMIT, "the answer has too many members");
    size_t before = member->value.len;
    bool joins = join && json_item_is(item, JSON_ITEM_ARRAY) && before > 2 && member->value.data[0] == '[';
    if (joins && item->n == 0)
        return 0;
    buf_init(&text, m->most);
    json_writer_init(&w, &text);
    json_write_item(&w, item);
    struct str told = buf_str(&text);
    if (joins) {
        member->value.data[before - 1] = ','; /* which was the list's end */
        told = str_slice(told, 1, told.len);
    } else {
        buf_clear(&member->value);
    }
    buf_append_str(&member->value, told);
    m->bytes = m->bytes - before + member->value.len;
    int failed = text.failed | member->key.failed | member->value.failed;
    buf_free(&text);
    return failed || m->bytes > m->most ? error_set(err, ERROR_LIMIT, "members of the answer are too large")
                                        : 0;
}

int json_members_add(struct json_members *m, struct str members, bool join, struct error *err)
{
    struct buf text;
    struct json_view view;
    const struct json_item *object;
    buf_init(&text, members.len + 2);
    buf_append_char(&text, '{');
    buf_append_str(&text, members);
    buf_append_char(&text, '}');
    json_view_init(&view);
    int rc = json_view_read(&view, buf_str(&text), &object, err);
    for (const struct json_item *i = rc == 0 && object->n > 0 ? object + 1 : NULL; i && rc == 0;
         i = json_item_next(object, i))
        rc = member_add(m, i, join, err);
    json_view_free(&view);
    buf_free(&text);
    return rc;
}

void json_members_write(struct json_writer *w, const struct json_members *m)
{
    for (size_t i = 0; i < m->n; i++) {
        json_key_str(w, buf_str(&m->list[i].key));
        json_write_raw(w, buf_str(&m->list[i].value));
    }
}
