#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"
#include "base/rand.h"
#include "router/detect.h"

static struct error err;

static struct router_findings look(struct arena *a, struct str text)
{
    struct router_findings f = {0};
    if (router_detect(a, STR_NONE, text, &f, &err))
        fail_msg("detection failed: %s", err.message);
    return f;
}

/* Finds exactly one sure finding of the type over the whole of `value`, which stands in `text`. */
static void found(const char *type, const char *text, const char *value)
{
    struct arena *a = arena_create(16 * MIB);
    struct router_findings f = look(a, str_from(text));
    size_t at = str_find(str_from(text), str_from(value)), hits = 0;
    assert_true(at != SIZE_MAX);
    size_t start = str_utf8_count(str_slice(str_from(text), 0, at)),
           end = start + str_utf8_count(str_from(value));
    for (size_t i = 0; i < f.n_entities; i++)
        hits += strcmp(f.entities[i].type, type) == 0 && f.entities[i].start == start &&
                f.entities[i].end == end && f.entities[i].score >= DETECT_SURE;
    if (hits != 1 || !f.sensitive)
        fail_msg("%s: %zu findings at '%s' in '%s' (%zu in all)", type, hits, value, text, f.n_entities);
    arena_free(a);
}

/* No sure finding of the type. */
static void absent(const char *type, const char *text)
{
    struct arena *a = arena_create(16 * MIB);
    struct router_findings f = look(a, str_from(text));
    for (size_t i = 0; i < f.n_entities; i++)
        if (strcmp(f.entities[i].type, type) == 0 && f.entities[i].score >= DETECT_SURE)
            fail_msg("%s found in '%s'", type, text);
    arena_free(a);
}

/* Listed, but known to belong to nobody. */
static void unsure(const char *type, const char *text)
{
    struct arena *a = arena_create(16 * MIB);
    struct router_findings f = look(a, str_from(text));
    assert_false(f.sensitive);
    assert_int_equal(f.n_entities, 1);
    assert_string_equal(f.entities[0].type, type);
    assert_true(f.entities[0].score < DETECT_SURE);
    arena_free(a);
}

static void harmless(const char *text)
{
    struct arena *a = arena_create(16 * MIB);
    struct router_findings f = look(a, str_from(text));
    if (f.sensitive)
        fail_msg("'%s': %s", text, f.entities[0].type);
    arena_free(a);
}

static void cards(void **state)
{
    (void)state;
    found("CREDIT_CARD", "card=5425-7764-1895-2421|exp", "5425-7764-1895-2421");
    found("CREDIT_CARD", "the amex 3714 882394 71988 or", "3714 882394 71988");
    found("CREDIT_CARD", "4539730525397182", "4539730525397182");
    found("CREDIT_CARD",
        "a\xC2\xA0"
        "4539\xC2\xA0"
        "7305\xC2\xA0"
        "2539\xC2\xA0"
        "7182",
        "4539\xC2\xA0"
        "7305\xC2\xA0"
        "2539\xC2\xA0"
        "7182");
    found("CREDIT_CARD", "{\"note\":\"x\\n4539730525397182\"}", "4539730525397182");
    found("CREDIT_CARD", "my card: 45397305 25397182", "45397305 25397182"); /* said to be one */
    absent("CREDIT_CARD", "parts 45397305 25397182");
    found("CREDIT_CARD", "it is 4539  7305  2539  7182 ok", "4539  7305  2539  7182");
    found("CREDIT_CARD", "it is 4539 - 7305 - 2539 - 7182.", "4539 - 7305 - 2539 - 7182");
    found("CREDIT_CARD", "it is 4539 \xE2\x80\x93 7305 \xE2\x80\x93 2539 \xE2\x80\x93 7182",
        "4539 \xE2\x80\x93 7305 \xE2\x80\x93 2539 \xE2\x80\x93 7182");
    found("CREDIT_CARD", "4539_7305_2539_7182", "4539_7305_2539_7182");
    found("CREDIT_CARD", "card_4539730525397182_front.png", "4539730525397182");
    absent("CREDIT_CARD", "4539  7305  2539  7183");
    absent("CREDIT_CARD", "4539, 7305, 2539, 7182");
    absent("CREDIT_CARD", "4539  7305 2539 7182");
    absent("CREDIT_CARD", "4539 7305 2539 7183"); /* Luhn */
    absent("CREDIT_CARD", "4539 2948 1359 6800");
    absent("CREDIT_CARD", "x4539730525397182");       /* within a word */
    absent("CREDIT_CARD", "45397305253971820000000"); /* within a longer number */
    absent("CREDIT_CARD", "4539-7305 2539-7182");     /* mixed separators */
    unsure("CREDIT_CARD", "4111 1111 1111 1111");
    unsure("CREDIT_CARD", "4242424242424242");
    harmless("Add these: 4111 + 1111 + 1111 + 1112");
}

static void ibans(void **state)
{
    (void)state;
    found("IBAN_CODE", "statement_DE74370400440817264953.pdf", "DE74370400440817264953");
    found("IBAN_CODE", "auf DE12 1720 7490 3344 1389 28. Danke", "DE12 1720 7490 3344 1389 28");
    found("IBAN_CODE", "SE3326258910396924575005", "SE3326258910396924575005");
    found("IBAN_CODE", "my iban is gb42nawi04454264788619", "gb42nawi04454264788619");
    absent("IBAN_CODE", "DE12 1720 7490 3344 1389 29");
    absent("IBAN_CODE", "DE12 1720 7490 3344 1389 2");
    absent("IBAN_CODE", "ZZ12 1720 7490 3344 1389 28");
    unsure("IBAN_CODE", "DE89 3704 0044 0532 0130 00");
}

static void social_security(void **state)
{
    (void)state;
    found("US_SSN", "ssn 536-22-8145.", "536-22-8145");
    found("US_SSN", "{\"ssn\":536228145}", "536228145");
    found("US_SSN", "My social security number is 536228145.", "536228145");
    absent("US_SSN", "order 536228145");
    absent("US_SSN", "ssn 5362281456");
    absent("US_SSN", "ssn 000228145");
    absent("US_SSN", "000-22-8145");
    absent("US_SSN", "666-22-8145");
    absent("US_SSN", "912-22-8145");
    absent("US_SSN", "536-00-8145");
    absent("US_SSN", "536-22-0000");
    absent("US_SSN", "536-22.8145");
    absent("US_SSN", "123-45-6789");
    absent("US_SSN", "078-05-1120");
}

static void telephones(void **state)
{
    (void)state;
    found("PHONE_NUMBER", "call me on (937) 555-0164 before", "(937) 555-0164");
    found("PHONE_NUMBER", "+44 7700 900 877", "+44 7700 900 877");
    found("PHONE_NUMBER", "Tel. 0151 55501234. Auszug", "0151 55501234");
    found("PHONE_NUMBER", "07700 900 263", "07700 900 263");
    found("PHONE_NUMBER", "+41 (0)96 471 07 95", "+41 (0)96 471 07 95");
    found("PHONE_NUMBER", "fax: 345-899-3560x4587", "345-899-3560x4587");
    found("PHONE_NUMBER", "06 39 98 01 57", "06 39 98 01 57");
    found("PHONE_NUMBER", "phone: 612345678", "612345678");
    absent("PHONE_NUMBER", "12345678");
    absent("PHONE_NUMBER", "01.02.2024 10:30");
    absent("PHONE_NUMBER", "2024-01-02 03:04:05");
    absent("PHONE_NUMBER", "version 10.20.30.40");
    absent("PHONE_NUMBER", "1234567890123456");
    absent("PHONE_NUMBER", "c++17 and x+12345678901");
    absent("PHONE_NUMBER", "550e8400-e29b-41d4-a716-446655440000");
}

static void addresses(void **state)
{
    (void)state;
    found("EMAIL_ADDRESS", "to r.tarkowska@lipowa-poczta.pl: yes", "r.tarkowska@lipowa-poczta.pl");
    found("EMAIL_ADDRESS", "über anna@münchen.de.", "anna@münchen.de");
    found("EMAIL_ADDRESS", "x?mail=a.b@c.io&y", "a.b@c.io");
    found("IP_ADDRESS", "from 41.173.96.26,", "41.173.96.26");
    found("IP_ADDRESS", "6e40:4041:c617:e898:c11:40d2:c669:2eb4", "6e40:4041:c617:e898:c11:40d2:c669:2eb4");
    found("MAC_ADDRESS", "00:1A:2B:3C:4D:5E", "00:1A:2B:3C:4D:5E");
    unsure("EMAIL_ADDRESS", "jane@example.com");
    unsure("IP_ADDRESS", "192.168.2.1");
    unsure("IP_ADDRESS", "203.0.113.7");
    unsure("IP_ADDRESS", "2001:db8::1");
    harmless(
        "logo@2x.png std::cout face::dead 12:30:45 1.2.3.4.5 x[1::2] 256.1.1.1 info@presidio. user@host");
}

static void coins(void **state)
{
    (void)state;
    found("CRYPTO", "to 16Yeky6GMjeNkAiNcBY7ZhrLoMSgg1BoyZ!", "16Yeky6GMjeNkAiNcBY7ZhrLoMSgg1BoyZ");
    found("CRYPTO", "bc1p5d7rjq7g6rdk2yhzks9smlaqtedr4dekq08ge8ztwac72sfr9rusxg3297",
        "bc1p5d7rjq7g6rdk2yhzks9smlaqtedr4dekq08ge8ztwac72sfr9rusxg3297");
    absent("CRYPTO", "16Yeky6GMjeNkAiNcBY7ZhrLoMSgg1BoyY");
    absent("CRYPTO", "bc1p5d7rjq7g6rdk2yhzks9smlaqtedr4dekq08ge8ztwac72sfr9rusxg3298");
}

/* Rules that ask for a sign behind the first run, and those whose digits go on over signs. */
static void numbers_with_signs_and_without(void **state)
{
    (void)state;
    found("US_MBI", "mbi 1EG4-TE5-MK73,", "1EG4-TE5-MK73");
    found("US_MBI", "mbi 1EG4-TE5MK73,", "1EG4-TE5MK73");
    found("US_MBI", "mbi 1EG4TE5MK73,", "1EG4TE5MK73");
    found("IT_IDENTITY_CARD", "carta d'identit\xC3\xA0 AA 8402716", "AA 8402716");
    found("IT_IDENTITY_CARD", "carta d'identit\xC3\xA0 AA8402716", "AA8402716");
    found("BR_CPF", "cpf 529.982.247-25", "529.982.247-25");
    found("DE_TAX_NUMBER", "Steuernummer 93/815/08152", "93/815/08152");
    found("TR_LICENSE_PLATE", "plaka 34 ABC 871", "34 ABC 871");
    found("US_DRIVER_LICENSE", "driver license 4187-739-902", "4187-739-902");
    found("UK_NHS", "NHS 943-476-5919", "943-476-5919");
}

/* Made up here from parts, so that scanners of repositories stay calm. */
static void secret_found(
    const char *type, const char *before, const char *head, const char *tail, const char *after)
{
    char text[1024], value[512];
    snprintf(value, sizeof value, "%s%s", head, tail);
    snprintf(text, sizeof text, "%s%s%s", before, value, after);
    found(type, text, value);
}

static void secrets(void **state)
{
    (void)state;
    secret_found("AWS_ACCESS_TOKEN", "why is ", "AKIA", "W4QIILMWJIOCCUP7", " denied");
    secret_found("GITHUB_PAT", "", "ghp_", "wWPw5k4aXcaT4fNP0UcnZwJUVFk6LO0pINUx", "");
    secret_found("GITLAB_PAT", "token: ", "glpat-", "x7Kq2mNv9RtZ4wLp8YcB", "\n");
    secret_found("STRIPE_ACCESS_TOKEN", "STRIPE=", "sk_live_", "yU54Sd6Q5vJ8OtkFcp6slGXS", "\n");
    secret_found("SLACK_BOT_TOKEN", "", "xoxb-", "263594206564-2343594206574-FGqddMF8t08v8N7Oq4i57vs1", "");
    secret_found("OPENAI_API_KEY", "key=\"", "sk-proj-",
        "Tg6o6lzp60dvs4CtjyYb5QN0HZoGuO8JnC22HsrvBa9Dn4p8T3BlbkFJU5sPctxv8stAc6DlBGrf", "\")");
    secret_found("GCP_API_KEY", "k = ", "AIza", "1bav6_iH3Ba7AjWN1HAqPgTqO-NgWJ6X7hG", "\n");
    secret_found("HUGGINGFACE_ACCESS_TOKEN", "", "hf_", "nnhf9kI060TOsLxhf3z4wR5LsdAtrxJa3m", "");
    secret_found("NPM_ACCESS_TOKEN", "", "npm_", "k3mVw8LpQz7RtXc2Ny5BvJ9hGd4Fs6Ta1UeW", "");
    secret_found("BASIC_AUTH_URL", "\"mongodb+srv://", "svc_reports:", "Zk7wQ2nLp9Rt",
        "@cluster0.q1x8v.mongodb.net/r\"");
    secret_found("GENERIC_API_KEY", "\"api_key\": \"", "q8Zt3Lm", "W9xK2vR7pB5nC1dF6", "\"");
    secret_found("GENERIC_SECRET", "password = '", "Sunf", "lower!1987", "'");
    secret_found("GENERIC_SECRET", "db_pass: ", "q{v(", "w9}T)k~z", "\n"); /* crossed brackets: no program */
    secret_found("CURL_AUTH_USER", "curl -u \"", "k8Zt3Lm", "W9xK2vR7:", "\" https://a.dev");
    secret_found("FACEBOOK_ACCESS_TOKEN", "app ", "158274930", "4716253|Xq7-mRt2LpZ9vKw4NbC8sDf1GhY", "\n");
    secret_found("GENERIC_SECRET", "if (\"", "q7{Rt", "}2x-Lm9", "\" === user.db_password) {");
    secret_found("GENERIC_SECRET", "when '", "Zk7wQ2nL", "p9!R", "' != $private_key:");
    secret_found("GITLAB_RRT", "", "GR1348941", "x7Kq2mNv9RtZ4wLp8YcBa3TgH6jd", "\n");
    secret_found("ARTIFACTORY_TOKEN", "artif-key:", "AP6", "k3mVw8LpQz7RtXc2Ny5Bv", "\n");
    secret_found("SLACK_LEGACY_BOT_TOKEN", "", "xoxb-", "263594206564-Xw937qtWSXJss1lFaKe", "");
    secret_found(
        "NUGET_CONFIG_PASSWORD", "<add key=\"ClearTextPassword\" value=\"", "Trout", "PondNine%", "\" />");
    secret_found("SIDEKIQ_SENSITIVE_URL", "http://", "c4feb4b3", ":d3adb35f", "@gems.contribsys.com/");
    secret_found("KUBERNETES_SECRET_YAML", "kind: Secret\nmetadata:\n  name: db\ndata:\n  # in base64\n  ",
        "key: ", "VHJvdXQtUG9uZC04OA==", "\n");
    secret_found("KUBERNETES_SECRET_YAML", "apiVersion: v1\ndata:\n  ", ".cfg: |\n    ",
        "VHJvdXQtUG9uZC04OA==", "\nmetadata:\n  name: db\nkind: 'Secret'\n");
    harmless("kind: ExternalSecret\ndata:\n  page: VHJvdXQtUG9uZC04OA==\n");
    harmless("kind: ConfigMap\ndata:\n  page: VHJvdXQtUG9uZC04OA==\n");
    harmless("if (\"cancel\" === secret_name || mode == 'read-only' && password) {");
    harmless("<add key=\"ClearTextPassword\" value=\"33f!!lloppa\" />");
    harmless("password = read(users[\"a\"].secret(0))");
    harmless("if (check(form.password[0], (hash))) { passwd = get({a: [b(1)]}); }");
    absent("AWS_ACCESS_TOKEN", "AKIAIOSFODNN7EXAMPLE");
    harmless("stripe.api_key = \"sk_test_xxxxxxxxxxxxxxxxxxxxxxxx\"");
    harmless("password = os.environ[\"DB_PASSWORD\"]");
    harmless("DATABASE_URL=postgres://user:password@localhost:5432/mydb");
    harmless("curl -H \"Authorization: Bearer $TOKEN\" https://api.github.com/user");
    harmless("ALTER USER app WITH PASSWORD 'changeme';");
    harmless("git bisect says the first bad commit is 147ba413d6bcf3dd45e39819fee9202d74acc93c.");
}

static void private_keys(void **state)
{
    (void)state;
    char text[700], body[300];
    for (size_t i = 0; i < sizeof body - 1; i++)
        body[i] = i % 65 == 64
                      ? '\n'
                      : "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[i * 37 % 64];
    body[sizeof body - 1] = '\0';
    snprintf(text, sizeof text, "-----BEGIN RSA %s-----\n%s\n-----END RSA %s-----", "PRIVATE KEY", body,
        "PRIVATE KEY");
    found("PRIVATE_KEY", text, text);
    snprintf(text, sizeof text, "-----BEGIN OPENSSH %s-----\n%s", "PRIVATE KEY", body);
    found("PRIVATE_KEY", text, text); /* cut before its end */
    harmless("-----BEGIN PRIVATE KEY----- is how the header of a PEM file begins: what does each of its "
             "words mean?");
    harmless(
        "-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA\n-----END PUBLIC KEY-----");
}

/* Each was called a person's: beside a cue the card's digits were an account of their own, a date field's
 * first day a birthday, and "ChangeMe" too oddly written for a placeholder. */
static void examples_of_manuals_beside_a_cue(void **state)
{
    (void)state;
    harmless("the manual's card number 4242 4242 4242 4242, any future date");
    found("BANK_ACCOUNT", "account number 4242 4242 4248 4242, transfer today", "4242 4242 4248 4242");
    harmless("three rows for a unit test: id, dob 1900-01-01, code");
    harmless("DATABASE_URL=\"mysql://app:!ChangeMe!@127.0.0.1:3306/app\"");
    harmless("nome, codice fiscale RSSMRA80A01H501U come esempio");
    found("IT_FISCAL_CODE", "codice fiscale VRDGPP81B12F205D", "VRDGPP81B12F205D");
}

static void offsets_count_code_points(void **state)
{
    (void)state;
    struct arena *a = arena_create(MIB);
    struct router_findings f = look(a, STR("żółć 😀 a.b@c.pl"));
    assert_int_equal(f.n_entities, 1);
    assert_int_equal(f.entities[0].start, 7);
    assert_int_equal(f.entities[0].end, 15);
    assert_int_equal(f.categories, ROUTER_PII);
    arena_free(a);
}

static void findings_add_up_and_are_capped(void **state)
{
    (void)state;
    struct arena *a = arena_create(64 * MIB);
    struct router_findings f = look(a, STR("a.b@c.pl"));
    assert_int_equal(
        router_detect(a, STR("messages[1].content"), STR("DE12 1720 7490 3344 1389 28"), &f, &err), 0);
    assert_int_equal(f.n_entities, 2);
    assert_int_equal(f.categories, ROUTER_PII | ROUTER_FINANCIAL);
    assert_true(str_is(f.entities[1].where, "messages[1].content"));
    struct buf b;
    buf_init(&b, MIB);
    for (int i = 0; i < 30000; i++)
        buf_append_text(&b, "a@b.co ");
    f = look(a, buf_str(&b));
    assert_int_equal(f.n_entities, LIMIT_ENTITIES);
    assert_int_equal(f.n_entities + f.more, 30000);
    buf_free(&b);
    arena_free(a);
}

static void invalid_utf8_is_an_error(void **state)
{
    (void)state;
    struct arena *a = arena_create(MIB);
    struct router_findings f = {0};
    assert_int_equal(router_detect(a, STR_NONE, STR("abc \xff"), &f, &err), ERROR_INVALID);
    arena_free(a);
}

/* Values of every kind, and words that must not hide them. */
static const char *const values[] = {"r.tarkowska@lipowa-poczta.pl", "4539 7305 2539 7182",
    "DE12 1720 7490 3344 1389 28", "536-22-8145", "+44 7700 900 877", "(937) 555-0164", "41.173.96.26",
    "00:1A:2B:3C:4D:5E", "16Yeky6GMjeNkAiNcBY7ZhrLoMSgg1BoyZ", "https://bob:Zk7wQ2nLp9Rt@db.corp.io/x",
    "api_key=q8Zt3LmW9xK2vR7pB5nC1dF6"};
static const char *const words[] = {"example", "test", "sample", "placeholder", "the", "number", "is", "not",
    "real", "version", "order", "documentation", "RFC", "fake", "\n", "\t", "—", "日本", "über", "{", "\"",
    "dummy", "key", "=", "token:", "1", "42", "password", "EXAMPLE", "http", "-", "(", "see", "page",
    "secret", "AKIA", "sk-", "ghp_", "eyJ"};

static void words_append(struct buf *b, struct rand_pcg *r)
{
    for (uint32_t n = rand_pcg_u32(r) % 8; n > 0; n--)
        buf_appendf(b, "%s ", words[rand_pcg_u32(r) % (sizeof words / sizeof *words)]);
}

static void words_around_never_hide_a_finding(void **state)
{
    (void)state;
    struct rand_pcg r;
    struct buf b;
    rand_pcg_seed(&r, 11);
    buf_init(&b, MIB);
    for (int round = 0; round < 30000; round++) {
        const char *value = values[(size_t)round % (sizeof values / sizeof *values)];
        struct arena *a = arena_create(MIB);
        struct router_findings alone = look(a, str_from(value));
        assert_true(alone.sensitive);
        buf_clear(&b);
        words_append(&b, &r);
        buf_appendf(&b, "\n%s\n", value);
        words_append(&b, &r);
        struct router_findings among = look(a, buf_str(&b));
        if ((alone.categories & ~among.categories) != 0)
            fail_msg("'%s' is hidden in: %s", value, b.data);
        arena_free(a);
    }
    buf_free(&b);
}

static void an_escape_at_the_end_is_not_read_past(void **state)
{
    (void)state;
    char *text = malloc(6); /* its own size: a sanitizer sees what is read behind it */
    memcpy(text, "42 b\\n", 6);
    struct arena *a = arena_create(MIB);
    struct router_findings f = {0};
    assert_int_equal(router_detect(a, STR_NONE, (struct str){text, 6}, &f, &err), 0);
    assert_false(f.sensitive);
    arena_free(a);
    free(text);
}

static void types_have_names_and_are_found_by_them(void **state)
{
    (void)state;
    size_t n = 0;
    assert_int_equal(router_detect_init(&err), 0);
    for (const struct detect_type *t; (t = detect_type_at(n)) != NULL; n++) {
        assert_non_null(detect_type_find(str_from(t->name)));
        assert_string_not_equal(router_category_name(t->category), "UNKNOWN");
    }
    assert_true(n > 150);
    assert_null(detect_type_find(STR("NO_SUCH_TYPE")));
    assert_int_equal(router_category_from(STR("SECRET")), ROUTER_SECRET);
    assert_int_equal(router_category_from(STR("secret")), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cards),
        cmocka_unit_test(ibans),
        cmocka_unit_test(social_security),
        cmocka_unit_test(telephones),
        cmocka_unit_test(addresses),
        cmocka_unit_test(coins),
        cmocka_unit_test(numbers_with_signs_and_without),
        cmocka_unit_test(secrets),
        cmocka_unit_test(private_keys),
        cmocka_unit_test(examples_of_manuals_beside_a_cue),
        cmocka_unit_test(offsets_count_code_points),
        cmocka_unit_test(findings_add_up_and_are_capped),
        cmocka_unit_test(invalid_utf8_is_an_error),
        cmocka_unit_test(words_around_never_hide_a_finding),
        cmocka_unit_test(an_escape_at_the_end_is_not_read_past),
        cmocka_unit_test(types_have_names_and_are_found_by_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
