/* A worker that behaves as badly as its name says. The test starts itself under such a name (a link
 * "fake-MODE"), and main() hands over to fake_worker_main. It knows nothing of models. */
#ifndef WEIR_TESTS_FAKE_WORKER_H
#define WEIR_TESTS_FAKE_WORKER_H

#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/limits.h"
#include "engine/wire.h"

static const char *fake_mode;
static struct buf fake_in;
static struct {
    uint32_t call; /* 0: free */
    bool paused;
} fake_slots[2];

static inline bool fake_is(const char *mode)
{
    return strcmp(fake_mode, mode) == 0;
}

static inline void fake_write(const void *data, size_t len)
{
    const char *at = data;
    while (len > 0) {
        ssize_t n = write(WIRE_FD, at, len);
        if (n <= 0)
            _exit(0);
        at += n;
        len -= (size_t)n;
    }
}

static inline void fake_send(uint32_t call, int type, struct str payload)
{
    struct buf out;
    buf_init(&out, LIMIT_WIRE_FRAME + WIRE_HEADER_BYTES);
    if (wire_append(&out, call, (enum wire_type)type, payload))
        _exit(3);
    fake_write(out.data, out.len);
    buf_free(&out);
}

static inline void fake_say(uint32_t call, int type, const char *payload)
{
    fake_send(call, type, str_from(payload));
}

static inline void fake_die(int signal_number)
{
    signal(signal_number, SIG_DFL);
    raise(signal_number);
    _exit(4);
}

#define FAKE_START "{\"prompt_tokens\":5,\"cached_tokens\":2}"
#define FAKE_USAGE "{\"input_tokens\":5,\"cached_tokens\":2,\"output_tokens\":2}"

/* Answers to LOAD. */
static inline void fake_load(void)
{
    char magic[4] = "";
    if (fake_is("die-loading"))
        _exit(7);
    if (fake_is("never-ready"))
        return;
    if (fake_is("bad-json"))
        fake_say(0, WIRE_READY, "{\"slots\":");
    if (fake_is("bad-slots"))
        fake_say(0, WIRE_READY, "{\"slots\":0}");
    if (fake_is("bad-progress"))
        fake_say(0, WIRE_PROGRESS, "{\"done\":3,\"total\":2}");
    if (fake_is("bad-type")) {
        unsigned char frame[WIRE_HEADER_BYTES] = {0, 0, 0, 0, 0, 0, 0, 0, 99};
        fake_write(frame, sizeof frame);
    }
    if (fake_is("bad-length")) {
        unsigned char frame[WIRE_HEADER_BYTES] = {255, 255, 255, 255, 0, 0, 0, 0, WIRE_READY};
        fake_write(frame, sizeof frame);
    }
    if (fake_is("eof-mid-frame")) {
        unsigned char frame[WIRE_HEADER_BYTES] = {100, 0, 0, 0, 0, 0, 0, 0, WIRE_READY};
        fake_write(frame, sizeof frame);
        _exit(0);
    }
    if (fake_is("refuse") && (read(WIRE_MODEL_FD, magic, 4) != 4 || memcmp(magic, "good", 4) != 0)) {
        fake_say(0, WIRE_ERROR, "{\"code\":-1,\"message\":\"no magic number\"}");
        return;
    }
    if (fake_is("refuse-memory")) {
        fake_say(0, WIRE_ERROR, "{\"code\":-3,\"message\":\"too little memory\"}");
        return;
    }
    fake_say(0, WIRE_PROGRESS, "{\"done\":1,\"total\":2}");
    fake_say(0, WIRE_READY, fake_is("two-slots") ? "{\"slots\":2}" : "{\"slots\":1,\"isa\":\"fake\"}");
    if (fake_is("bad-ready-twice"))
        fake_say(0, WIRE_READY, "{\"slots\":1}");
    if (fake_is("bad-call"))
        fake_say(1234, WIRE_TEXT, "x");
}

/* What is wrong in a CHAT's answer. */
static const struct {
    const char *mode;
    int type;
    const char *payload;
} fake_breaches[] = {
    {"bad-text-first", WIRE_TEXT, "x"},
    {"bad-tool-first", WIRE_TOOL_CALL, "{\"index\":0,\"id\":\"a\",\"name\":\"f\",\"arguments\":\"{}\"}"},
    {"bad-usage-first", WIRE_USAGE, FAKE_USAGE},
    {"bad-start-negative", WIRE_START, "{\"prompt_tokens\":-1,\"cached_tokens\":0}"},
    {"bad-start-cached", WIRE_START, "{\"prompt_tokens\":1,\"cached_tokens\":2}"},
    {"bad-start-missing", WIRE_START, "{}"},
    {"bad-start-array", WIRE_START, "[]"},
    {"bad-result", WIRE_RESULT, "{}"},
    {"bad-data", WIRE_DATA, "abcd"},
    {"bad-load", WIRE_LOAD, "{}"},
    {"bad-error-code", WIRE_ERROR, "{\"code\":5,\"message\":\"x\"}"},
    {"bad-error-text", WIRE_ERROR, "{\"code\":-1,\"message\":7}"},
    /* After START: */
    {"late-start", WIRE_START, FAKE_START},
    {"late-utf8", WIRE_TEXT, "caf\xc3"},
    {"late-thought-utf8", WIRE_REASONING, "caf\xc3"},
    {"late-tool-index", WIRE_TOOL_CALL, "{\"index\":1,\"id\":\"a\",\"name\":\"f\",\"arguments\":\"{}\"}"},
    {"late-tool-name", WIRE_TOOL_CALL, "{\"index\":0,\"id\":\"a\",\"arguments\":\"{}\"}"},
    {"late-tool-piece", WIRE_TOOL_CALL, "{\"index\":0,\"arguments\":\"{\"}"},
    {"late-tool-tree", WIRE_TOOL_CALL, "{\"index\":0,\"id\":\"a\",\"name\":\"f\",\"arguments\":{}}"},
    {"late-measure", WIRE_MEASURE, "{\"logprob\":-1,\"entropy\":1}"}, /* nobody asked */
    {"late-measure-prompt", WIRE_MEASURE, "{\"prompt\":-1}"},
    {"late-stop", WIRE_STOP, "{\"reason\":\"stop\"}"},
    {"late-usage-other", WIRE_USAGE, "{\"input_tokens\":6,\"cached_tokens\":0,\"output_tokens\":1}"},
    {"late-usage-huge", WIRE_USAGE, "{\"input_tokens\":5,\"cached_tokens\":0,\"output_tokens\":99999999999}"},
    {"late-usage-real", WIRE_USAGE, "{\"input_tokens\":5,\"cached_tokens\":0,\"output_tokens\":1.5}"},
    /* After USAGE: */
    {"last-text", WIRE_TEXT, "more"},
    {"last-reason", WIRE_STOP, "{\"reason\":\"boredom\"}"},
    {"last-ready", WIRE_READY, "{}"},
};

static inline void fake_breach(uint32_t call)
{
    for (size_t i = 0; i < sizeof fake_breaches / sizeof *fake_breaches; i++) {
        if (!fake_is(fake_breaches[i].mode))
            continue;
        if (strncmp(fake_mode, "bad-", 4) != 0)
            fake_say(call, WIRE_START, FAKE_START);
        if (strncmp(fake_mode, "last-", 5) == 0)
            fake_say(call, WIRE_USAGE, FAKE_USAGE);
        fake_say(call, fake_breaches[i].type, fake_breaches[i].payload);
    }
}

static inline void fake_flood(uint32_t call)
{
    struct buf text;
    buf_init(&text, MIB);
    for (size_t i = 0; i < MIB; i++)
        buf_append_char(&text, 'x');
    fake_say(call, WIRE_START, FAKE_START);
    for (int i = 0; i < 64; i++)
        fake_send(call, WIRE_TEXT, buf_str(&text));
    fake_say(call, WIRE_USAGE, FAKE_USAGE);
    fake_say(call, WIRE_STOP, "{\"reason\":\"length\"}");
    buf_free(&text);
}

static inline void fake_answer(uint32_t call)
{
    fake_breach(call);
    if (fake_is("mute"))
        return;
    if (fake_is("flood")) {
        fake_flood(call);
        return;
    }
    fake_say(call, WIRE_START, FAKE_START);
    if (fake_is("slow") || fake_is("two-slots")) {
        fake_slots[fake_slots[0].call != 0].call = call;
        return;
    }
    fake_say(call, WIRE_TEXT, "hello ");
    if (fake_is("crash") && usleep(200 * 1000) == 0)
        fake_die(SIGSEGV);
    if (fake_is("exit"))
        _exit(9);
    fake_say(call, WIRE_TEXT, "w\xc3\xb6rld");
    fake_say(call, WIRE_USAGE, FAKE_USAGE);
    fake_say(call, WIRE_STOP, "{\"reason\":\"stop\"}");
}

/* {"fds":[...],"env":"...","group":true}: what this process was given. */
static inline void fake_describe(uint32_t call)
{
    extern char **environ;
    char text[4096] = "{\"fds\":[";
    DIR *d = opendir("/proc/self/fd");
    const struct dirent *entry;
    for (bool first = true; d && (entry = readdir(d));) {
        if (entry->d_name[0] == '.' || atoi(entry->d_name) == dirfd(d))
            continue;
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s", first ? "" : ",", entry->d_name);
        first = false;
    }
    closedir(d);
    strcat(text, "],\"env\":[");
    for (char **e = environ; *e; e++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s\"%.*s\"", e == environ ? "" : ",",
            (int)strcspn(*e, "="), *e);
    snprintf(text + strlen(text), sizeof text - strlen(text), "],\"group\":%s}",
        getpgrp() == getpid() ? "true" : "false");
    fake_say(call, WIRE_RESULT, text);
}

static inline void fake_tensor(uint32_t call)
{
    float values[4] = {1, 2, 3, 4};
    fake_send(call, WIRE_DATA, (struct str){(char *)values, sizeof values});
    fake_send(call, WIRE_DATA, (struct str){(char *)values, fake_is("odd-data") ? 7 : sizeof values});
    fake_say(call, WIRE_RESULT, "{}");
}

static inline void fake_control(const struct wire_frame *f)
{
    for (int i = 0; i < 2; i++) {
        if (fake_slots[i].call != f->call)
            continue;
        fake_slots[i].paused = f->type == WIRE_PAUSE;
        if (f->type == WIRE_CANCEL)
            fake_slots[i].call = 0;
    }
    if (f->type == WIRE_CANCEL && (fake_is("slow") || fake_is("two-slots")))
        fake_say(f->call, WIRE_ERROR, "{\"code\":-10,\"message\":\"cancelled\"}");
}

/* A piece of text for each running chat; false when there is none. */
static inline bool fake_tick(bool send)
{
    bool any = false;
    for (int i = 0; i < 2; i++) {
        if (fake_slots[i].call == 0 || fake_slots[i].paused)
            continue;
        any = true;
        if (send)
            fake_say(fake_slots[i].call, WIRE_TEXT, "tick ");
    }
    return any;
}

static inline void fake_frame(const struct wire_frame *f)
{
    switch (f->type) {
    case WIRE_LOAD:
        fake_load();
        break;
    case WIRE_CHAT:
        fake_answer(f->call);
        break;
    case WIRE_PAUSE:
    case WIRE_RESUME:
    case WIRE_CANCEL:
        fake_control(f);
        break;
    case WIRE_TENSOR:
        fake_tensor(f->call);
        break;
    case WIRE_TOKENIZE:
        fake_say(f->call, WIRE_RESULT, fake_is("odd-result") ? "[1,2" : "{\"ids\":[1,2]}");
        break;
    case WIRE_RENDER:
        fake_say(f->call, WIRE_ERROR, "{\"code\":-1,\"message\":\"the template says no\"}");
        break;
    default:
        fake_describe(f->call);
    }
}

static inline int fake_worker_main(const char *mode)
{
    fake_mode = mode;
    buf_init(&fake_in, 2 * LIMIT_WIRE_FRAME);
    for (;;) {
        struct pollfd socket = {.fd = WIRE_FD, .events = POLLIN};
        int ready = poll(&socket, 1, fake_tick(false) ? 5 : -1);
        if (ready == 0)
            fake_tick(true);
        if (ready <= 0)
            continue;
        char *to = buf_reserve(&fake_in, 65536);
        ssize_t n = to ? read(WIRE_FD, to, 65536) : 0;
        if (n <= 0)
            return 0;
        buf_commit(&fake_in, (size_t)n);
        struct wire_frame f;
        size_t offset = 0;
        while (wire_take(&fake_in, &offset, &f, NULL) > 0)
            fake_frame(&f);
        buf_consume(&fake_in, offset);
    }
}

#endif
