#include "train/options.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/str.h"
#include "engine/worker/cpu/threads.h"

int options_fail(const char *what)
{
    fprintf(stderr, "weir: %s\n", what);
    return 2;
}

int options_error(const struct error *err)
{
    /* It may quote a model file, which must not speak to the terminal. */
    struct error shown = *err;
    log_hide_controls(shown.message, strlen(shown.message));
    fprintf(stderr, "weir: %s\n", shown.message);
    return 1;
}

int options_wrong(const struct error *err)
{
    (void)options_error(err);
    return 2;
}

bool options_number(const char *name, const char *text, double least, double most, double *out)
{
    if (!text || (str_to_double(str_from(text), out) && *out >= least && *out <= most))
        return true;
    fprintf(stderr, "weir: --%s wants a number from %g to %g, not '%s'\n", name, least, most, text);
    return false;
}

static const struct option_row *row_find(const struct option_row *rows, size_t n, struct str name)
{
    for (size_t i = 0; i < n; i++)
        if (str_is(name, rows[i].name))
            return &rows[i];
    return NULL;
}

/* Takes the option at argv[*i] and its value; false after having said what is wrong. */
static bool take(int argc, char **argv, int *i, const struct option_row *rows, size_t n)
{
    const struct str text = str_from(argv[*i] + 2);
    const size_t equals = str_find_char(text, '=');
    const struct str name = str_slice(text, 0, equals == SIZE_MAX ? text.len : equals);
    const struct option_row *row = row_find(rows, n, name);
    if (!row) {
        fprintf(stderr, "weir: no option --" STR_FMT ": see weir %s --help\n", STR_ARG(name), argv[0]);
        return false;
    }
    if (!row->value && equals == SIZE_MAX) {
        *row->flag = true;
        return true;
    }
    if (!row->value || (equals == SIZE_MAX && *i + 1 == argc)) {
        fprintf(stderr, "weir: --%s %s: see weir %s --help\n", row->name,
            row->value ? "wants a value" : "takes no value", argv[0]);
        return false;
    }
    *row->value = equals == SIZE_MAX ? argv[++*i] : text.data + equals + 1;
    return true;
}

int options_read(int argc, char **argv, const struct option_row *rows, size_t n_rows, const char *help)
{
    static char out[] = "--out"; /* -o */
    int n = 0;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            fputs(help, stdout);
            return -2;
        }
        if (strcmp(argv[i], "-o") == 0)
            argv[i] = out;
        if (strncmp(argv[i], "--", 2) != 0)
            argv[1 + n++] = argv[i];
        else if (!take(argc, argv, &i, rows, n_rows))
            return -1;
    }
    return n;
}

int options_take_list(int argc, char **argv, const char *name, struct option_list *out)
{
    int n = 1;
    *out = (struct option_list){0};
    for (int i = 1; i < argc; i++) {
        const struct str text = str_from(argv[i]);
        const bool named =
            str_starts(text, STR("--")) && str_starts(str_slice(text, 2, text.len), str_from(name));
        const struct str rest = named ? str_slice(text, 2 + strlen(name), text.len) : STR_NONE;
        if (!named || (rest.len > 0 && rest.data[0] != '=')) {
            argv[n++] = argv[i];
            continue;
        }
        if ((rest.len == 0 && i + 1 == argc) || out->n == OPTION_VALUES_MAX) {
            fprintf(stderr, "weir: --%s %s: see weir %s --help\n", name,
                out->n == OPTION_VALUES_MAX ? "is given too often" : "wants a value", argv[0]);
            return -1;
        }
        out->values[out->n++] = rest.len > 0 ? rest.data + 1 : argv[++i];
    }
    return n;
}

bool options_threads(const char *text, int32_t *out)
{
    int64_t n = threads_cores();
    if (text && (!str_to_int64(str_from(text), &n) || n < 1 || n > THREADS_MAX)) {
        fprintf(stderr, "weir: --threads wants a whole number from 1 to %d, not '%s'\n", THREADS_MAX, text);
        return false;
    }
    *out = (int32_t)n;
    return true;
}
