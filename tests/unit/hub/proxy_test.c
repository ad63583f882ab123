#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "hub/internal.h"

static void the_list_of_no_proxy_is_read_as_curl_reads_it(void **state)
{
    static const struct {
        const char *list, *origin;
        bool past;
    } table[] = {
        {"", "https://huggingface.co", false},
        {"*", "https://huggingface.co", true},
        {"huggingface.co", "https://huggingface.co", true},
        {"HuggingFace.co", "https://cdn.huggingface.co:8443", true},
        {".huggingface.co,other", "https://huggingface.co", true},
        {"other, *.huggingface.co", "https://cdn.huggingface.co", true},
        {"face.co", "https://huggingface.co", false},
        {"huggingface.co.evil", "https://huggingface.co", false},
        {"huggingface.co:443", "https://huggingface.co", true},
        {"huggingface.co:80", "https://huggingface.co", false},
        {"mirror:8443", "https://mirror:8443", true},
        {"10.0.0.5", "https://10.0.0.5:8443", true},
        {"localhost 127.0.0.1", "http://127.0.0.1:9", true},
        {"::1", "http://[::1]:9", true},
        {"[::1]:9", "http://[::1]:9", true},
        {"[::1]:8", "http://[::1]:9", false},
        {", ,:,.,[,*.,]", "https://huggingface.co", false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        const struct hub_options o = {.proxy = STR("http://proxy:3128"),
            .proxy_plain = STR("http://127.0.0.1:3128"),
            .no_proxy = str_from(table[i].list)};
        if ((hub_proxy_of(&o, str_from(table[i].origin)).len == 0) != table[i].past)
            fail_msg("%s %s", table[i].list, table[i].origin);
    }
}

static void each_scheme_has_its_own_and_one_elsewhere_has_no_way_here(void **state)
{
    const struct hub_options o = {.proxy = STR("http://a:1"), .proxy_plain = STR("http://127.0.0.1:2")},
                             elsewhere = {.proxy_plain = STR("http://a:1")};
    (void)state;
    assert_true(str_is(hub_proxy_of(&o, STR("https://huggingface.co")), "http://a:1"));
    assert_true(str_is(hub_proxy_of(&o, STR("http://127.0.0.1:80")), "http://127.0.0.1:2"));
    assert_int_equal(hub_proxy_of(&elsewhere, STR("http://127.0.0.1:80")).len, 0);
    assert_int_equal(hub_proxy_of(&elsewhere, STR("https://huggingface.co")).len, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_list_of_no_proxy_is_read_as_curl_reads_it),
        cmocka_unit_test(each_scheme_has_its_own_and_one_elsewhere_has_no_way_here),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
