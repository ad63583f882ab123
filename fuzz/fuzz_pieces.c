/* Any bytes as tokenizer.model: what is accepted has texts, scores and kinds that a file can keep. */
#include <math.h>
#include <stdlib.h>

#include "base/limits.h"
#include "train/hf/tokens.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum { ROOM = 256 };
    struct str texts[ROOM] = {0};
    float scores[ROOM] = {0};
    int32_t types[ROOM] = {0};
    struct hf_tokens t = {.n = ROOM, .texts = texts, .scores = scores, .types = types};
    struct hf_pieces p;
    struct error err;
    if (hf_pieces_read((struct str){(const char *)data, size}, &t, &p, &err))
        return 0;
    if (p.count < 1 || p.count > ROOM)
        abort();
    for (int64_t i = 0; i < p.count; i++)
        if (!str_utf8_valid(texts[i]) || texts[i].len > LIMIT_TOKEN || !isfinite(scores[i]) || types[i] < 1 ||
            types[i] > 6)
            abort();
    return 0;
}
