/* Events of a stream of OpenAI's that are the last one but for a text. */
#include "fixture.h"

#define CHUNK(rest)                                                                                          \
    "data: {\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"model\":\"gpt-x\"," rest "}\n\n"
#define DELTA(delta) CHUNK("\"choices\":[{\"index\":0,\"delta\":" delta ",\"finish_reason\":null}]")
#define FINISH(reason) CHUNK("\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"" reason "\"}]")
#define DONE "data: [DONE]\n\n"
#define SSE "text/event-stream; charset=utf-8"

/* Events that are alike but for a text, and what is nearly that. */
static void test_events_like_the_last_one(void **state)
{
    static const char tool[] =
        "[{\"index\":0,\"id\":\"t\",\"function\":{\"name\":\"f\",\"arguments\":\"\"}}]";
    char stream[4096];
    (void)state;
    snprintf(stream, sizeof stream,
        "%s%s%s%s%s%s%s" /* the first says start, too */
        DELTA("{\"content\":\"z\",\"tool_calls\":%s}") DELTA("{\"content\":\"y\",\"tool_calls\":%s}")
            DELTA("{\"content\":\"x\",\"tool_calls\":%s}") DELTA("{\"content\":\"w\"}")
                DELTA("{\"reasoning\":\"r\"}") DELTA("{\"reasoning\":\"s\"}") "%s%s" DONE,
        DELTA("{\"content\":\"a\"}"), DELTA("{\"content\":\"b\"}"), DELTA("{\"content\":\"cc\"}"),
        DELTA("{\"content\":\"\"}"), DELTA("{\"content\":\"dd\"}"), DELTA("{\"content\":\"\\n\"}"),
        DELTA("{\"content\":\"e\"}"), tool, tool, tool, FINISH("stop"), FINISH("length"));
    assert_translates(provider_openai_event, SSE, str_from(stream),
        "start c1 gpt-x\ntext a\ntext b\ntext cc\ntext dd\ntext \n\ntext e\ntext z\ntool 0 t f \n"
        "text y\ntext x\ntext w\nreasoning r\nreasoning s\nstop 1\n");
}

/* A run of events that only say more text is told as if each were read, wherever it is cut. */
static void test_events_known_unread(void **state)
{
    static const char others[] = "data:"
                                 "{\"id\":\"c1\",\"model\":\"gpt-x\",\"choices\":[{\"index\":0,\"delta\":"
                                 "{\"content\":\"f\"}}]}\n\n: a comment\n\nevent: x\n";
    char stream[8192], twice[16400];
    (void)state;
    snprintf(stream, sizeof stream, "%s%s%s%s%s%s%s%s%s%s%s%s" DONE "%s", DELTA("{\"content\":\"a\"}"),
        DELTA("{\"content\":\"b\"}"), DELTA("{\"content\":\"c\"}"), DELTA("{\"content\":\"d \\\"q\\\"\\n\"}"),
        DELTA("{\"content\":\"\xc3\xa9\"}"), DELTA("{\"content\":\"\"}"), DELTA("{\"content\":\"e\"}"),
        others, DELTA("{\"content\":\"g\"}"), DELTA("{\"content\":\"h\"}"), DELTA("{\"content\":\"i\"}"),
        FINISH("stop"), DELTA("{\"content\":\"too late\"}"));
    assert_translates(provider_openai_event, SSE, str_from(stream),
        "start c1 gpt-x\ntext a\ntext b\ntext c\ntext d \"q\"\n\ntext \xc3\xa9\ntext e\ntext f\ntext g\ntext h\n"
        "text i\nstop 0\n");
    assert_cuts_do_not_matter(provider_openai_event, str_from(stream));
    snprintf(twice, sizeof twice,
        "%s%s%s%sdata: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\xff\"}}]}\n\n",
        DELTA("{\"content\":\"a\"}"), DELTA("{\"content\":\"b\"}"), DELTA("{\"content\":\"c\"}"),
        DELTA("{\"content\":\"d\"}"));
    assert_breaks(provider_openai_event, SSE, str_from(twice), "error ", "UTF-8");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_events_like_the_last_one),
        cmocka_unit_test(test_events_known_unread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
