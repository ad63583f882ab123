/* Whether a file may be a batch, before any of its lines is run. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/batch.h"
#include "base/limits.h"

int batch_check(const char *in, int64_t *lines, struct error *err)
{
    FILE *f = fopen(in, "re");
    char *line = NULL;
    size_t capacity = 0;
    ssize_t n;
    int rc = 0;
    *lines = 0;
    if (!f)
        return error_set(err, ERROR_IO, "cannot open %s: %s", in, strerror(errno));
    while (rc == 0 && (n = getline(&line, &capacity, f)) >= 0) {
        *lines += str_trim((struct str){line, (size_t)n}).len > 0;
        if ((size_t)n > LIMIT_HTTP_BODY)
            rc = error_set(
                err, ERROR_LIMIT, "line %lld is longer than %zu bytes", (long long)*lines, LIMIT_HTTP_BODY);
    }
    if (rc == 0 && ferror(f))
        rc = error_set(err, ERROR_IO, "cannot read %s: %s", in, strerror(errno));
    if (rc == 0 && (*lines == 0 || *lines > BATCH_LINES_MOST))
        rc = error_set(err, ERROR_INVALID, "a batch has 1 to %d lines, this has %lld", BATCH_LINES_MOST,
            (long long)*lines);
    free(line);
    fclose(f);
    return rc;
}
