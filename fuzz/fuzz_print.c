/* A fingerprint file that anybody wrote, with a right check, and a text read by it. */
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "router/detect_print.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum { CHECK = 16 };
    struct detect_print p;
    struct error err;
    unsigned char *file = malloc(size + CHECK);
    if (!file)
        return 0;
    memcpy(file, data, size);
    crypto_generichash(file + size, CHECK, file, size, NULL, 0);
    if (detect_print_read((struct str){(const char *)file, size + CHECK}, &p, &err) == 0) {
        for (size_t i = 0; i < p.n; i++)
            if (!detect_print_has(&p, p.hashes[i]) || (i > 0 && p.hashes[i] <= p.hashes[i - 1]))
                abort();
        for (size_t i = 0; i + 8 <= size; i++) {
            uint64_t hash;
            memcpy(&hash, data + i, sizeof hash);
            (void)detect_print_has(&p, hash >> 8);
        }
        detect_print_free(&p);
    }
    free(file);
    return 0;
}
