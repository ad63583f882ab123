/* Amazon's own examples of version 4: the numbers of its published test suite ("aws-sig-v4-test-suite") and
 * of the guide's IAM example. */
#include "fixture.h"

#include "provider/aws_sign.h"

#define TOKEN                                                                                                \
    "AQoDYXdzEPT//////////"                                                                                  \
    "wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfK"                   \
    "D8YUuwthAx7mSEI/qkPpKPi/"                                                                               \
    "kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx"                     \
    "6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+"                                             \
    "scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJ"                                                       \
    "abIQwj2ICCR/oLxBA=="

static const struct aws_credentials credentials = {
    STR("AKIDEXAMPLE"), STR("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"), STR("")};
static const int64_t when = INT64_C(1440938160000); /* 2015-08-30 12:36:00 UTC */

static const struct egress_header form = {STR("content-type"), STR("application/x-www-form-urlencoded")};
static const struct egress_header form_utf8 = {
    STR("content-type"), STR("application/x-www-form-urlencoded; charset=utf-8")};

static void test_the_published_vectors(void **state)
{
    static const struct {
        const char *method, *path, *query, *body, *token;
        const struct egress_header *header;
        const char *names, *signature;
    } vectors[] = {
        {"GET", "/", "", "", "", NULL, "host;x-amz-date",
            "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
        {"POST", "/", "", "", "", NULL, "host;x-amz-date",
            "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"},
        {"GET", "/", "Param1=value1&Param2=value2", "", "", NULL, "host;x-amz-date",
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"},
        {"GET", "/\xe1\x88\xb4", "", "", "", NULL, "host;x-amz-date",
            "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85"},
        {"POST", "/", "", "Param1=value1", "", &form, "content-type;host;x-amz-date",
            "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"},
        {"POST", "/", "", "", TOKEN, NULL, "host;x-amz-date;x-amz-security-token",
            "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        struct arena *a = arena_create(MIB);
        struct egress_header out[AWS_HEADERS_MAX];
        struct aws_credentials c = credentials;
        c.session_token = str_from(vectors[i].token);
        struct aws_request r = {.method = vectors[i].method,
            .host = STR("example.amazonaws.com"),
            .path = str_from(vectors[i].path),
            .query = str_from(vectors[i].query),
            .headers = vectors[i].header,
            .n_headers = vectors[i].header != NULL,
            .body = str_from(vectors[i].body),
            .region = STR("us-east-1"),
            .service = STR("service"),
            .wall_ms = when};
        size_t n = aws_sign(a, &c, &r, out);
        struct str expect = arena_printf(a,
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
            "SignedHeaders=%s, "
            "Signature=%s",
            vectors[i].names, vectors[i].signature);
        assert_int_equal(n, c.session_token.len > 0 ? 3 : 2);
        assert_string_equal(out[0].value.data, expect.data);
        assert_true(str_is(out[1].name, "X-Amz-Date"));
        assert_true(str_is(out[1].value, "20150830T123600Z"));
        arena_free(a);
    }
}

static void test_the_example_of_the_guide(void **state)
{
    struct arena *a = arena_create(MIB);
    struct egress_header out[AWS_HEADERS_MAX];
    (void)state;
    struct aws_request r = {.method = "GET",
        .host = STR("iam.amazonaws.com"),
        .path = STR("/"),
        .query = STR("Action=ListUsers&Version=2010-05-08"),
        .headers = &form_utf8,
        .n_headers = 1,
        .region = STR("us-east-1"),
        .service = STR("iam"),
        .wall_ms = when};
    assert_int_equal(aws_sign(a, &credentials, &r, out), 2);
    assert_non_null(strstr(
        out[0].value.data, "Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"));
    arena_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_published_vectors),
        cmocka_unit_test(test_the_example_of_the_guide),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
