/* How a model's file wants tokens drawn, and that a request's own word counts more. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/limits.h"
#include "chat/chat_sampling.h"
#include "engine/worker/gguf_write.h"
#include "engine/worker/session_inner.h"

static void test_what_the_file_says(void **state)
{
    (void)state;
    struct gguf_writer w;
    struct buf file;
    struct gguf *g;
    struct error err = {0};
    struct chat_sampling said, asked;
    const int32_t all = -1;
    gguf_writer_init(&w);
    gguf_write_f32(&w, "general.sampling.temp", 0.25f);
    gguf_write_u32(&w, "general.sampling.top_k", 7);
    gguf_write_f32(&w, "general.sampling.penalty_repeat", 1.5f);
    gguf_write_u32(&w, "general.sampling.mirostat", 9);         /* there is no such version */
    gguf_write_str(&w, "general.sampling.top_p", STR("a lot")); /* no number */
    gguf_write_array(&w, "general.sampling.penalty_last_n", GGUF_INT32, &all, 1); /* nor this */
    buf_init(&file, MIB);
    assert_int_equal(gguf_writer_header(&w, &file, &err), 0);
    gguf_writer_free(&w);
    assert_int_equal(gguf_open_memory(file.data, file.len, &g, &err), 0);
    struct session s = {.n_stops = 0};
    session_sampling_read(g, NULL, &s);
    said = s.sampling;
    assert_true(s.n_stops == 0 && said.temperature == 0.25 && said.top_k == 7 && said.repeat_penalty == 1.5);
    assert_true(said.mirostat == -1 && isnan(said.top_p) && said.repeat_last_n == -1 && isnan(said.min_p));
    chat_sampling_init(&asked);
    asked.temperature = 0;
    chat_sampling_fill(&asked, &said);
    assert_true(
        asked.temperature == 0 && asked.top_k == 7 && asked.repeat_penalty == 1.5 && isnan(asked.top_p));
    /* What stands beside the file counts more; what cannot be true, or is no number, does not. */
    struct session beside = {.n_stops = 0};
    json_t *object = json_pack("{s:f, s:i, s:f, s:s, s:i, s:[s, s, s]}", "temperature", 0.75, "top_k", -7,
        "top_p", 0.5, "min_p", "x", "num_ctx", 64, "stop", "END", "", "\n\n");
    session_sampling_read(g, object, &beside);
    said = beside.sampling;
    assert_true(said.temperature == 0.75 && said.top_k == 7 && said.top_p == 0.5 && isnan(said.min_p));
    assert_int_equal(beside.n_stops, 2);
    assert_true(str_is(beside.stops[0], "END") && str_is(beside.stops[1], "\n\n"));
    arena_free(beside.stops_arena);
    json_decref(object);
    gguf_close(g);
    buf_free(&file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_what_the_file_says)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
