#include "train/watch.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "engine/worker/tensor.h"
#include "train/progress.h"

static volatile sig_atomic_t stopped;

static void stop(int number)
{
    stopped = 1;
    signal(number, SIG_DFL);
}

void watch_signals(void)
{
    signal(SIGINT, stop);
    signal(SIGTERM, stop);
}

bool watch_stopped(void)
{
    return stopped;
}

void watch_begin(struct watch *w)
{
    *w = (struct watch){.terminal = isatty(STDERR_FILENO) == 1, .shown_ns = clock_mono_ns()};
    watch_signals();
}

bool watch_go_on(void *watch, const char *name, uint64_t done, uint64_t total)
{
    enum { MS_TERMINAL = 100, MS_LINE = 10000 };
    struct watch *w = watch;
    const int64_t now = clock_mono_ns(), wait = (w->terminal ? MS_TERMINAL : MS_LINE) * (int64_t)1000000;
    if (now - w->shown_ns >= wait) {
        char shown[2 * TENSOR_NAME_MAX];
        snprintf(shown, sizeof shown, "%s", name);
        log_hide_controls(shown, strlen(shown));
        fprintf(stderr, "%s%3d%%  %s%s", w->terminal ? "\r\033[K" : "",
            (int)(100 * (double)done / (double)(total ? total : 1)), shown, w->terminal ? "" : "\n");
        w->shown_ns = now;
    }
    return !stopped;
}

void watch_end(const struct watch *w)
{
    if (w->terminal)
        fputs("\r\033[K", stderr);
}

bool watch_type(const char *text, const struct quantize_mix **out)
{
    *out = text ? quantize_mix_find(text) : NULL;
    if (!text || *out)
        return true;
    fprintf(stderr, "weir: '%s' is no type that can be written: see weir quantize --help\n", text);
    return false;
}

void watch_done(const char *path, uint64_t bytes, size_t tensors)
{
    char size[32];
    progress_size((double)bytes, size);
    printf("%s: %s, %zu tensors\n", path, size, tensors);
}
