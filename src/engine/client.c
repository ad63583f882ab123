/* The connection to a worker: bytes in, bytes out. What they may say is client_frame.c's. */
#include <errno.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "engine/engine_inner.h"
#include "json/json.h"

enum { READ_CHUNK = 64 * 1024, READS_A_TURN = 8, CONTROL_ROOM = 64 * 1024 };

void client_watch(struct engine *e)
{
    if (!e->socket_io)
        return;
    bool writing = e->out_sent < e->out.len && !e->socket_broken;
    loop_io_change(e->socket_io, (engine_reading_held(e) ? 0 : LOOP_READ) | (writing ? LOOP_WRITE : 0));
}

/* ---- Out ---- */

static void out_flush(struct engine *e)
{
    while (e->out_sent < e->out.len && !e->socket_broken) {
        ssize_t n =
            send(e->process.socket, e->out.data + e->out_sent, e->out.len - e->out_sent, MSG_NOSIGNAL);
        if (n > 0)
            e->out_sent += (size_t)n;
        else if (n < 0 && errno == EAGAIN)
            break;
        else if (n < 0 && errno != EINTR)
            e->socket_broken = true; /* its end shows on reading, after what it had still said */
    }
    if (e->out_sent == e->out.len) {
        buf_clear(&e->out);
        e->out_sent = 0;
        if (e->out.capacity > MIB)
            buf_free(&e->out);
    } else if (e->out_sent > e->out.len / 2) {
        buf_consume(&e->out, e->out_sent);
        e->out_sent = 0;
    }
    client_watch(e);
}

static bool call_may_go(const struct engine *e, const struct engine_call *c)
{
    return c->type != WIRE_CHAT || e->sent_chats < e->slots;
}

static void call_send(struct engine *e, struct engine_call *c)
{
    bool idle = list_empty(&e->open);
    c->id = e->next_id++;
    /* There is room: client_dispatch has looked. */
    if (wire_append(&e->out, c->id, c->type, buf_str(&c->payload)) ||
        (c->held && wire_append(&e->out, c->id, WIRE_PAUSE, STR_NONE))) {
        struct error err;
        error_set(&err, ERROR_MEMORY, "no memory for a request");
        supervisor_fault(e, &err);
        return;
    }
    buf_free(&c->payload);
    list_remove(&c->node);
    list_push_back(&e->open, &c->node);
    c->phase = CALL_SENT;
    c->sent_ms = clock_mono_ms();
    e->turn = c->type == WIRE_CHAT ? c->ticket : e->turn;
    c->loading_ms = c->opened_ms < e->up_since_ms ? e->up_since_ms - c->opened_ms : 0;
    bool chat = c->type == WIRE_CHAT;
    if (chat)
        e->sent_chats++;
    pthread_mutex_lock(&e->mutex);
    e->waiting_bytes -= c->payload_bytes;
    e->status.queued -= chat;
    e->status.active += chat;
    pthread_mutex_unlock(&e->mutex);
    if (idle)
        supervisor_heard(e);
}

void client_dispatch(struct engine *e)
{
    if (e->status.state != ENGINE_UP || !e->socket_io || e->leaving)
        return;
    list_each(node, after, &e->waiting) {
        struct engine_call *c = list_item(node, struct engine_call, node);
        if (!call_may_go(e, c))
            continue;
        size_t need = c->payload.len + WIRE_HEADER_BYTES + CONTROL_ROOM;
        if (e->out.len > e->out.max - need)
            break;
        call_send(e, c);
        if (!e->socket_io)
            return;
    }
    out_flush(e);
}

void client_control(struct engine_call *c, enum wire_type type)
{
    struct engine *e = c->engine;
    if (!e->socket_io)
        return;
    if (wire_append(&e->out, c->id, type, STR_NONE)) {
        struct error err;
        error_set(&err, ERROR_LIMIT, "it does not read what it is told");
        supervisor_fault(e, &err);
        return;
    }
    out_flush(e);
}

/* ---- In ---- */

static int frames_take(struct engine *e, struct error *err)
{
    struct wire_frame frame;
    size_t offset = 0;
    int rc;
    while ((rc = wire_take(&e->in, &offset, &frame, err)) > 0) {
        rc = client_frame(e, &frame, err);
        if (rc || !e->socket_io)
            return rc;
    }
    if (rc < 0)
        return rc;
    buf_consume(&e->in, offset);
    if (e->in.len == 0 && e->in.capacity > MIB)
        buf_free(&e->in);
    return 0;
}

/* Reads once. 1: there may be more; 0: not now; negative: the worker broke the protocol. */
static int socket_read(struct engine *e, struct error *err)
{
    char *to = buf_reserve(&e->in, READ_CHUNK);
    if (!to)
        return error_set(err, e->in.failed, "no memory for its answer");
    ssize_t n = read(e->process.socket, to, READ_CHUNK);
    if (n < 0 && errno == EINTR)
        return 1;
    if (n < 0 && errno == EAGAIN)
        return 0;
    if (n <= 0) {
        supervisor_hung_up(e);
        return 0;
    }
    buf_commit(&e->in, (size_t)n);
    e->heard_ms = clock_mono_ms();
    int rc = frames_take(e, err);
    return rc ? rc : 1;
}

static void socket_drain(struct engine *e, int reads)
{
    struct error err;
    int rc = 1;
    while (rc > 0 && reads-- > 0 && e->socket_io)
        rc = socket_read(e, &err);
    if (rc < 0)
        supervisor_fault(e, &err);
}

static void on_socket(int fd, int events, void *ctx)
{
    struct engine *e = ctx;
    (void)fd;
    if (events & LOOP_READ)
        socket_drain(e, READS_A_TURN);
    if (e->socket_io) {
        client_dispatch(e);
        out_flush(e);
    }
}

/* Its process has ended, so the socket holds a bounded rest and then its end. */
void client_read_rest(struct engine *e)
{
    socket_drain(e, INT_MAX);
}

/* ---- Opening and closing ---- */

static void adapters_write(struct json_writer *w, const struct engine *e)
{
    json_key(w, "adapters");
    json_array_begin(w);
    for (size_t i = 0; i < e->n_adapters; i++) {
        json_object_begin(w);
        json_member_text(w, "name", e->adapters[i].name);
        json_member_double(w, "scale", e->adapters[i].scale);
        json_object_end(w);
    }
    json_array_end(w);
}

/* What is on disk is of these files of the model, computed by this program: another one may round otherwise.
 */
static void spill_write(struct json_writer *w, const struct engine *e)
{
    char key[2 * SPILL_KEY_BYTES + 1], identity[96];
    struct stat st = {0};
    if (e->spill.fd < 0)
        return;
    (void)stat(e->executable, &st); /* it has just been started */
    sodium_bin2hex(key, sizeof key, e->spill.key, sizeof e->spill.key);
    snprintf(identity, sizeof identity, "%016llx%016llx %lld %lld", (unsigned long long)e->mark.places,
        (unsigned long long)e->mark.version, (long long)st.st_size, (long long)st.st_mtim.tv_sec);
    json_member_text(w, "spill_key", key);
    json_member_text(w, "spill_identity", identity);
    json_member_int(w, "spill_keep_ms", e->options.spill.keep_ms);
    sodium_memzero(key, sizeof key);
}

static int load_append(struct engine *e)
{
    struct buf text;
    struct json_writer w;
    buf_init(&text, MIB);
    json_writer_init(&w, &text);
    json_object_begin(&w);
    adapters_write(&w, e);
    spill_write(&w, e);
    if (e->sampling) {
        json_key(&w, "sampling");
        json_write_raw(&w, str_from(e->sampling));
    }
    if (e->opening) {
        json_key(&w, "opening");
        json_write_raw(&w, str_from(e->opening));
    }
    json_member_int(&w, "threads", e->options.threads);
    json_member_int(&w, "slots", e->options.slots);
    json_member_int(&w, "context", e->options.context);
    json_member_int(&w, "kv_bytes", e->options.kv_bytes);
    json_member_text(&w, "kv_type", e->kv_type);
    json_member_bool(&w, "speculate", !e->options.drafts_off);
    json_member_bool(&w, "draft", e->draft != NULL);
    json_member_bool(&w, "memory_unchecked", e->options.memory_unchecked);
    json_member_bool(&w, "inspect", e->options.inspect);
    json_object_end(&w);
    int rc = text.failed ? text.failed : wire_append(&e->out, 0, WIRE_LOAD, buf_str(&text));
    buf_free(&text);
    return rc;
}

int client_open(struct engine *e, struct error *err)
{
    buf_init(&e->in, LIMIT_WIRE_FRAME + WIRE_HEADER_BYTES + READ_CHUNK);
    buf_init(&e->out, 2 * LIMIT_WIRE_FRAME);
    e->out_sent = 0;
    e->next_id = 1;
    e->socket_broken = false;
    e->socket_io = loop_io_create(e->home, e->process.socket, LOOP_READ | LOOP_WRITE, on_socket, e);
    int rc = load_append(e);
    return rc ? error_set(err, rc, "no memory to start the engine") : 0;
}

void client_close(struct engine *e)
{
    if (!e->socket_io)
        return;
    loop_io_free(e->socket_io);
    e->socket_io = NULL;
    close(e->process.socket);
    buf_free(&e->in);
    buf_free(&e->out);
}
