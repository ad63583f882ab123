#include "app/verb_state.h"

#include "app/config.h"
#include "app/verbs.h"
#include "base/clock.h"

static int open_url(struct str url, bool make, struct store **out)
{
    struct error err;
    if (!make && !store_exists(url) && str_starts(url, STR("sqlite:")))
        return verb_failf(EXIT_FAILED,
            "there is no state " STR_FMT
            " yet, or its file is empty and shows nothing: weir serve makes it; --state or --config names another",
            STR_ARG(url));
    int rc = store_open(url, out, &err);
    if (rc == 0 && (rc = store_absorb(*out, &err)) != 0)
        store_close(*out);
    if (rc)
        return verb_fail(rc == ERROR_INVALID || rc == ERROR_UNSUPPORTED ? EXIT_USAGE : EXIT_FAILED, &err);
    return EXIT_DONE;
}

int verb_state_open(const struct verb_state *where, bool make, struct store **out)
{
    if (where->url)
        return open_url(str_from(where->url), make, out);
    const struct config_overrides where_only = {.state_only = true};
    struct config *config;
    struct error err;
    if (config_load(str_from(where->config), &where_only, &config, &err))
        return verb_fail(EXIT_USAGE, &err);
    int exit_code = open_url(config->state, make, out);
    config_free(config);
    return exit_code;
}

bool verb_time(const char *option, const char *text, int64_t *wall_ms)
{
    int64_t ago_ms;
    if (!text || clock_parse(str_from(text), wall_ms))
        return true;
    if (clock_parse_duration(str_from(text), &ago_ms)) {
        int64_t now_ms = clock_wall_ms();
        *wall_ms = ago_ms < now_ms ? now_ms - ago_ms : 0;
        return true;
    }
    verb_failf(EXIT_USAGE, "--%s wants an age like 24h or 7d, or a time like 2026-11-20T12:00:00Z, not '%s'",
        option, text);
    return false;
}

bool verb_since(const char *text, int64_t *since_ms)
{
    *since_ms = 0;
    return verb_time("since", text, since_ms);
}

void verb_print_cell(struct str text, int width)
{
    int columns = 0;
    for (size_t i = 0; i < text.len; columns++) {
        uint32_t code_point;
        size_t n = str_utf8_decode(str_slice(text, i, text.len), &code_point);
        bool control = code_point < ' ' || (code_point >= 0x7f && code_point < 0xa0);
        if (n == 0 || control)
            putchar('?');
        else
            fwrite(text.data + i, 1, n, stdout);
        i += n > 0 ? n : 1;
    }
    printf("%*s", columns < width ? width - columns : 0, "");
}

int verb_print_line(struct buf *text, struct error *err)
{
    int rc = 0;
    if (text->failed)
        rc = error_set(err, text->failed, "a line could not be printed: it takes too much memory");
    else if (printf(STR_FMT "\n", STR_ARG(buf_str(text))) < 0)
        rc = error_set(err, ERROR_IO, "standard output cannot be written");
    buf_free(text);
    return rc;
}
