/* Any bytes as a file and as a text that is read again: what comes of it is UTF-8, and what it came from lies
 * in the text. */
#include <stdlib.h>

#include "base/limits.h"
#include "router/plain.h"
#include "detector.h"

static void must_be_text(struct str s)
{
    if (!str_utf8_valid(s))
        abort();
}

static void origins_check(struct str text, size_t len, const struct plain_joints *j)
{
    size_t from, to, last = 0;
    for (size_t i = 0; i < j->n; i++) {
        if (j->all[i].plain > len || j->all[i].there > text.len || j->all[i].there < last)
            abort();
        last = j->all[i].there;
    }
    for (size_t at = 0; at < len; at++)
        if (plain_origin(j, at, at + 1, &from, &to) && (from > to || to > text.len))
            abort();
}

static void parted(struct str text)
{
    struct byte_map map;
    struct error err;
    if (byte_map_make(&map, text, &err))
        abort();
    for (int how = PLAIN_IN_ONE; how <= PLAIN_MARKED; how++) {
        struct plain_joints joints = {0};
        struct buf out;
        bool changed;
        buf_init(&out, MIB);
        if (router_plain_parted(&map, (enum plain_parts)how, &out, &joints, &changed))
            abort();
        must_be_text(buf_str(&out));
        origins_check(text, out.len, &joints);
        buf_free(&out);
        free(joints.all);
    }
    byte_map_free(&map);
}

static void undone(struct str text)
{
    static int (*const undo[])(const struct byte_map *, struct buf *, bool *) = {
        router_plain_packed, router_plain_split, router_plain_members};
    static int (*const undo_with_joints[])(const struct byte_map *, struct buf *, struct plain_joints *,
        bool *) = {router_plain, router_plain_told, router_plain_spaced};
    struct byte_map map;
    struct error err;
    struct buf out;
    bool changed;
    if (byte_map_make(&map, text, &err))
        abort();
    for (size_t i = 0; i < sizeof undo_with_joints / sizeof *undo_with_joints; i++) {
        struct plain_joints joints = {0};
        buf_init(&out, MIB);
        if (undo_with_joints[i](&map, &out, &joints, &changed))
            abort();
        must_be_text(buf_str(&out));
        origins_check(text, out.len, &joints);
        buf_free(&out);
        free(joints.all);
    }
    for (size_t i = 0; i < sizeof undo / sizeof *undo; i++) {
        buf_init(&out, MIB);
        if (undo[i](&map, &out, &changed))
            abort();
        must_be_text(buf_str(&out));
        buf_free(&out);
    }
    byte_map_free(&map);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str s = {(const char *)data, size};
    struct buf file;
    if (size > 16 * KIB)
        return 0;
    buf_init(&file, MIB);
    if (router_plain_file(s, &file))
        abort();
    must_be_text(buf_str(&file));
    file.len = 0;
    if (router_plain_data(s, &file))
        abort();
    buf_free(&file);
    if (str_utf8_valid(s)) {
        parted(s);
        undone(s);
    }
    return 0;
}
