#include "app/verb_inner.h"

#include <string.h>
#include <unistd.h>

#include "app/config.h"
#include "base/limits.h"
#include "chat/chat_sampling.h"

static bool number_read(const char *name, const char *text, double least, double most, double *out)
{
    return !text || verb_number(name, text, least, most, out);
}

static bool integer_read(const char *name, const char *text, int64_t least, int64_t most, int64_t *out)
{
    long long value;
    if (!text)
        return true;
    if (!verb_integer(name, text, least, most, &value))
        return false;
    *out = value;
    return true;
}

/* NAME=N,...: the names of chat_sampling.h. */
static bool list_read(const char *text, struct chat_sampling *to)
{
    struct str rest = str_from(text), one;
    while (text && str_split(&rest, ',', &one)) {
        size_t equals = str_find_char(one, '=');
        char name[32] = "";
        double value;
        struct str key = str_trim(str_slice(one, 0, equals));
        if (equals != SIZE_MAX && key.len < sizeof name)
            memcpy(name, key.data, key.len);
        if (!*name || !str_to_double(str_trim(str_slice(one, equals + 1, one.len)), &value) ||
            !chat_sampling_set(to, name, value)) {
            verb_failf(EXIT_USAGE,
                "--sampling has no '%.*s': it wants NAME=N,... with numbers in their range",
                (int)(one.len < 60 ? one.len : 60), one.data ? one.data : "");
            return false;
        }
    }
    return true;
}

bool verb_sampling_read(const struct verb_sampling *s, struct chat_request *r)
{
    struct chat_sampling *to = &r->sampling;
    to->has_seed = s->seed != NULL;
    if (s->stop && *s->stop) {
        r->stops = arena_new(r->arena, struct str);
        r->stops[r->n_stops++] = str_from(s->stop);
    }
    r->context_shift = s->context_shift;
    return list_read(s->more, to) && number_read("temperature", s->temperature, 0, 2, &to->temperature) &&
           number_read("top-p", s->top_p, 0, 1, &to->top_p) &&
           number_read("min-p", s->min_p, 0, 1, &to->min_p) &&
           number_read("repeat-penalty", s->repeat_penalty, 0.01, 100, &to->repeat_penalty) &&
           number_read("presence-penalty", s->presence_penalty, -2, 2, &to->presence_penalty) &&
           number_read("frequency-penalty", s->frequency_penalty, -2, 2, &to->frequency_penalty) &&
           integer_read("top-k", s->top_k, 0, INT32_MAX, &to->top_k) &&
           integer_read("seed", s->seed, INT64_MIN, INT64_MAX, &to->seed) &&
           integer_read("max-tokens", s->max_tokens, 0, INT32_MAX, &r->max_tokens);
}

bool verb_size_read(const char *name, const char *text, int *out)
{
    int64_t value = *out;
    bool ok = integer_read(name, text, 1, 1 << 24, &value);
    *out = (int)value;
    return ok;
}

int verb_read_all(FILE *from, size_t most, struct buf *out, struct error *err)
{
    /* One byte more than allowed, to see that there is more. */
    buf_init(out, most + 1);
    for (;;) {
        size_t left = out->max - out->len, room = left < 64 * KIB ? left : 64 * KIB;
        char *to = buf_reserve(out, room);
        if (!to)
            return error_set(err, out->failed, "no memory for the input");
        size_t n = fread(to, 1, room, from);
        buf_commit(out, n);
        if (out->len > most)
            return error_set(err, ERROR_LIMIT, "the input is longer than %zu bytes", most);
        if (n < room)
            return ferror(from) ? error_set(err, ERROR_IO, "cannot read the input") : 0;
    }
}

/* Control characters but tab and newline: C0, DEL and, in UTF-8, C1. */
static size_t control_at(struct str s, size_t i)
{
    unsigned char c = (unsigned char)s.data[i];
    if ((c < ' ' && c != '\n' && c != '\t') || c == 0x7f)
        return 1;
    bool c1 = c == 0xc2 && i + 1 < s.len && (unsigned char)s.data[i + 1] < 0xa0;
    return c1 ? 2 : 0;
}

int verb_text_write(FILE *to, struct str text)
{
    size_t from = 0, i = 0;
    bool terminal = isatty(fileno(to));
    while (terminal && i < text.len) {
        size_t skip = control_at(text, i);
        if (skip > 0) {
            fwrite(text.data + from, 1, i - from, to);
            fputc('?', to);
            from = i + skip;
        }
        i += skip > 0 ? skip : 1;
    }
    fwrite(text.data + from, 1, text.len - from, to);
    return ferror(to) ? ERROR_IO : 0;
}

int verb_policy(const char *file, struct router_policy **out, struct error *err)
{
    const struct config_overrides none = {0};
    struct config *config;
    *out = NULL;
    if (!file)
        return 0;
    int rc = config_policy_load(str_from(file), &none, &config, out, err);
    if (rc == 0)
        config_free(config);
    return rc;
}
