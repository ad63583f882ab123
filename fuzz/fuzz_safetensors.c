/* Any bytes as a safetensors file: the parser, and the last value of every tensor of what it accepts. */
#include <stdlib.h>
#include <string.h>

#include "train/hf/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct safetensors s;
    struct error err;
    size_t sum = 0;
    if (safetensors_parse(data, size, &s, &err))
        return 0;
    for (size_t i = 0; i < s.n; i++) {
        const struct tensor *t = &s.list[i].tensor;
        float value;
        const char *end = (const char *)t->data + t->bytes;
        sum += t->bytes;
        if ((const char *)t->data < s.base || end > s.base + size || t->name.len > size)
            abort();
        if (s.list[i].unusable)
            continue;
        if (safetensor_values(t, t->shape[0] * tensor_rows(t) - 1, 1, &value, &err))
            abort();
    }
    if (sum > size)
        abort();
    safetensors_close(&s);
    return 0;
}
