#include "app/verbs.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/log.h"

int verb_fail(int exit_code, const struct error *err)
{
    /* It may quote a model file or a server, which must not speak to the terminal. */
    struct error shown = *err;
    log_hide_controls(shown.message, strlen(shown.message));
    fprintf(stderr, "weir: %s\n", shown.message);
    return exit_code;
}

int verb_failf(int exit_code, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fputs("weir: ", stderr);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
    return exit_code;
}

static const struct verb_option *option_find(const struct verb_option *options, size_t n, struct str name)
{
    for (size_t i = 0; i < n; i++)
        if (str_is(name, options[i].name))
            return &options[i];
    return NULL;
}

/* Takes the option at argv[*i] and, if it wants one, its value; false after having said what is wrong. */
static bool option_take(int argc, char **argv, int *i, const struct verb_option *options, size_t n)
{
    struct str text = str_from(argv[*i] + 2), name = text;
    size_t equals = str_find_char(text, '=');
    if (equals != SIZE_MAX)
        name = str_slice(text, 0, equals);
    const struct verb_option *o = option_find(options, n, name);
    if (!o) {
        verb_failf(EXIT_USAGE, "no option --" STR_FMT ": see weir %s --help", STR_ARG(name), argv[0]);
        return false;
    }
    if (!o->value) {
        if (equals != SIZE_MAX) {
            verb_failf(EXIT_USAGE, "--%s takes no value", o->name);
            return false;
        }
        *o->flag = true;
        return true;
    }
    if (equals != SIZE_MAX) {
        *o->value = argv[*i] + 2 + equals + 1;
    } else if (*i + 1 < argc) {
        *o->value = argv[++*i];
    } else {
        verb_failf(EXIT_USAGE, "--%s wants a value: see weir %s --help", o->name, argv[0]);
        return false;
    }
    return true;
}

int verb_options(int argc, char **argv, const struct verb_option *options, size_t n_options, const char *help)
{
    int positional = 0;
    bool only_positional = false;
    for (int i = 1; i < argc; i++) {
        if (!only_positional && strcmp(argv[i], "--") == 0) {
            only_positional = true;
        } else if (!only_positional && (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)) {
            fputs(help, stdout);
            return -2;
        } else if (!only_positional && strncmp(argv[i], "--", 2) == 0) {
            if (!option_take(argc, argv, &i, options, n_options))
                return -1;
        } else if (!only_positional && argv[i][0] == '-' && argv[i][1] != '\0') {
            verb_failf(EXIT_USAGE, "no option %s: see weir %s --help", argv[i], argv[0]);
            return -1;
        } else {
            argv[1 + positional++] = argv[i];
        }
    }
    return positional;
}

bool verb_number(const char *name, const char *text, double least, double most, double *out)
{
    if (str_to_double(str_from(text), out) && *out >= least && *out <= most)
        return true;
    verb_failf(EXIT_USAGE, "--%s wants a number from %g to %g, not '%s'", name, least, most, text);
    return false;
}

bool verb_integer(const char *name, const char *text, long long least, long long most, long long *out)
{
    int64_t value;
    if (str_to_int64(str_from(text), &value) && value >= least && value <= most) {
        *out = value;
        return true;
    }
    verb_failf(EXIT_USAGE, "--%s wants a whole number from %lld to %lld, not '%s'", name, least, most, text);
    return false;
}

int verb_each_line(int (*fn)(void *ctx, struct str line, long long number), void *ctx)
{
    char *line = NULL;
    size_t capacity = 0;
    long long number = 0;
    int rc = 0;
    ssize_t n;
    while (rc == 0 && (n = getline(&line, &capacity, stdin)) >= 0) {
        number++;
        if ((size_t)n > 64 * MIB) {
            rc = verb_failf(EXIT_FAILED, "line %lld is longer than 64 MiB", number);
            break;
        }
        if (n > 0 && line[n - 1] == '\n')
            n--;
        if (n > 0)
            rc = fn(ctx, (struct str){line, (size_t)n}, number);
    }
    if (rc == 0 && ferror(stdin))
        rc = verb_failf(EXIT_FAILED, "cannot read standard input");
    free(line);
    return rc;
}

int verb_line_print(struct buf *line)
{
    int rc = line->failed;
    if (rc == 0)
        printf("%s\n", line->data);
    buf_free(line);
    return rc ? rc : ferror(stdout) ? ERROR_IO : 0;
}
