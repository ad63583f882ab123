/* The command line: "--name value", "--name=value", flags; -o stands for --out. */
#ifndef WEIR_TRAIN_OPTIONS_H
#define WEIR_TRAIN_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct option_row {
    const char *name;   /* without dashes */
    const char **value; /* NULL: a flag */
    bool *flag;
};
/* The number of positional arguments, moved to argv[1..]; -1 after having said what is wrong; -2 after
 * --help. */
int options_read(int argc, char **argv, const struct option_row *rows, size_t n_rows, const char *help);
/* An option that may be given again and again. */
enum { OPTION_VALUES_MAX = 64 };
struct option_list {
    const char *values[OPTION_VALUES_MAX];
    int n;
};
/* Takes all of one name out of argv, before options_read; the new argc, or -1 after having said what is
 * wrong.
 */
int options_take_list(int argc, char **argv, const char *name, struct option_list *out);
/* "weir: what" on standard error; returns 2. */
int options_fail(const char *what);
/* "weir: message" on standard error; returns 1. */
int options_error(const struct error *err);
/* Of a configuration; returns 2. */
int options_wrong(const struct error *err);
/* A number of an option, unless it is NULL; false after having said what is wrong. */
bool options_number(const char *name, const char *text, double least, double most, double *out);
/* NULL: one for each core. False after having said what is wrong. */
bool options_threads(const char *text, int32_t *out);

#endif
