/* Any bytes as an importance matrix, of either form; what is read can be added to itself and averaged. */
#include <math.h>
#include <stdlib.h>

#include "train/imatrix.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct imatrix m, sum;
    struct error err;
    if (imatrix_parse((struct str){(const char *)data, size}, "fuzz", &m, &err))
        return 0;
    imatrix_init(&sum);
    if (imatrix_add(&sum, &m, 512, &err) || imatrix_add(&sum, &m, 512, &err) || sum.n_entries != m.n_entries)
        abort();
    for (size_t i = 0; i < m.n_entries; i++) {
        const struct imatrix_entry *e = &m.entries[i];
        float *means = malloc((size_t)e->n_values * sizeof *means);
        if (!means || imatrix_find(&sum, e->name)->n_values != e->n_values)
            abort();
        imatrix_means(&m, e, means);
        for (int64_t k = 0; k < e->n_values; k++)
            if (!isfinite(means[k]))
                abort();
        free(means);
    }
    imatrix_free(&sum);
    imatrix_free(&m);
    return 0;
}
