/* Any bytes as what the gateway sends: the framing, every request and its payload, against a loaded model.
 *
 *   first byte: bit 0  frames are cut out of the rest (type, length in two bytes, payload) instead of taken
 * raw bit 1  the model is only inspected */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "engine/wire.h"
#include "engine/worker/model_sample.h"
#include "engine/worker/session.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static int model;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    struct model_sample sample = model_sample_default();
    struct error err;
    (void)argc;
    (void)argv;
    signal(SIGPIPE, SIG_IGN);
    log_set_level(LOG_ERROR + 1);
    sample.n_embed = 32;
    sample.n_heads = 2;
    sample.n_ffn = 32;
    model = memfd_create("model", MFD_CLOEXEC);
    if (model < 0 || model_sample_write(&sample, model, &err) != 0)
        abort();
    return 0;
}

/* Frames of calls 1, 2, 3 ...; PAUSE and its like go to the call before. */
static void frames_append(struct buf *out, const uint8_t *data, size_t size)
{
    uint32_t call = 0;
    while (size >= 3) {
        enum wire_type type = (enum wire_type)(data[0] % WIRE_CANCEL + 1);
        size_t n = (size_t)data[1] | (size_t)data[2] << 8;
        data += 3;
        size -= 3;
        if (n > size)
            n = size;
        if (type < WIRE_PAUSE)
            call++;
        else
            n = 0;
        if (wire_append(out, call, type, (struct str){(const char *)data, n}) != 0)
            return;
        data += n;
        size -= n;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int pair[2];
    struct buf input;
    if (size < 1 || size > 16384 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) != 0)
        return 0;
    buf_init(&input, 65536);
    if (wire_append(&input, 0, WIRE_LOAD,
            data[0] & 2 ? STR("{\"inspect\":true}") : STR("{\"threads\":1,\"slots\":2,\"context\":64}")) != 0)
        abort();
    if (data[0] & 1)
        frames_append(&input, data + 1, size - 1);
    else
        buf_append(&input, data + 1, size - 1);
    ssize_t written = write(pair[1], input.data, input.len);
    close(pair[1]); /* what was written is read, then the gateway has gone */
    buf_free(&input);
    const struct session_setup setup = {
        .fd = pair[0], .files = &model, .n_files = 1, .cores = 1, .memory = (uint64_t)1 << 30};
    if (written > 0 && session_run(&setup) > 0)
        abort();
    close(pair[0]);
    return 0;
}
