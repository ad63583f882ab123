/* Any bytes behind the header of a file of pages on disk: none of them becomes a page, and pages that are
 * written among them come back. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/log.h"
#include "engine/worker/spill.h"

enum { PAGE = 100, RECORDS = 6, RECORD = (int)sizeof(struct spill_head) + PAGE + SPILL_TAG_BYTES };

static const struct spill_options *options(int fd)
{
    static struct spill_options o;
    o = (struct spill_options){.fd = fd,
        .most = sizeof(struct spill_header) + RECORDS * RECORD,
        .keep_ms = INT64_MAX / 2,
        .owner = STR("fuzz"),
        .page_bytes = PAGE};
    return &o;
}

static bool page_passes(struct spill *s, int i)
{
    struct spill_name name;
    spill_name(s, NULL, &i, sizeof i, &name);
    memset(spill_page(s), i, PAGE);
    spill_write(s, &name);
    memset(spill_page(s), 77, PAGE);
    if (!spill_read(s, &name))
        return false;
    if (spill_page(s)[0] != i || spill_page(s)[PAGE - 1] != i)
        abort();
    return true;
}

/* What has a page's name and is none is found when it is read, and not before: the next time it passes. */
static void pages_pass(struct spill *s)
{
    for (int i = 0; i < RECORDS + 2; i++)
        if (!page_passes(s, i) && !page_passes(s, i))
            abort();
    if (spill_count(s) > RECORDS)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int fd = -1;
    struct spill *s;
    struct error err;
    log_set_level(LOG_ERROR);
    if (fd < 0)
        fd = memfd_create("spill", 0);
    if (ftruncate(fd, 0) != 0 || spill_open(options(fd), &s, &err) != 0)
        abort();
    spill_close(s);
    if (pwrite(fd, data, size, (off_t)sizeof(struct spill_header)) != (ssize_t)size)
        abort();
    if (spill_open(options(fd), &s, &err) != 0)
        abort();
    for (size_t at = 0; at + RECORD <= size && at < (size_t)(RECORDS * RECORD); at += RECORD) {
        struct spill_head head;
        struct spill_name name;
        memcpy(&head, data + at, sizeof head);
        memcpy(name.bytes, head.name, sizeof name.bytes);
        if (spill_read(s, &name))
            abort();
    }
    pages_pass(s);
    spill_close(s);
    return 0;
}
