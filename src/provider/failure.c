#include "provider/failure.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum { DAY_MS = 24 * 60 * 60 * 1000 };

/* What the providers call their errors, as the status they would have come with. */
static const struct {
    const char *type;
    int status;
} type_statuses[] = {
    {"invalid_request_error", 400},
    {"authentication_error", 401},
    {"billing_error", 402},
    {"insufficient_quota", 429},
    {"permission_error", 403},
    {"not_found_error", 404},
    {"request_too_large", 413},
    {"rate_limit_error", 429},
    {"rate_limit_exceeded", 429},
    {"api_error", 500},
    {"server_error", 500},
    {"timeout_error", 504},
    {"overloaded_error", 529},
    {"context_length_exceeded", 400},
    /* Amazon's, in its event stream */
    {"validationException", 400},
    {"accessDeniedException", 403},
    {"modelTimeoutException", 408},
    {"throttlingException", 429},
    {"internalServerException", 500},
    {"modelStreamErrorException", 502},
    {"serviceUnavailableException", 503},
};

static int status_of_type(struct str type)
{
    for (size_t i = 0; i < sizeof type_statuses / sizeof *type_statuses; i++)
        if (str_is(type, type_statuses[i].type))
            return type_statuses[i].status;
    return 0;
}

/* Ours to mend: the key, the account, the model's name or the address is wrong. */
static const char *configuration_fault(int status)
{
    switch (status) {
    case 401:
    case 403:
        return "refused this gateway's credentials: check its api_key";
    case 402:
        return "wants to be paid: check the account's balance";
    case 404:
        return "does not know the model or the address: check the model's name and base_url";
    case 407:
        return "is behind a proxy that wants a login: check base_url and the proxy";
    default:
        return status >= 300 && status < 400 && status != 304
                   ? "sent a redirect, which is not followed: correct its base_url"
                   : NULL;
    }
}

static void classify(struct chat_failure *f, int status)
{
    f->status = status;
    f->retryable = true;
    f->code = ERROR_UNAVAILABLE;
    if (status == 429)
        f->code = ERROR_BUSY;
    else if (status == 408 || status == 504)
        f->code = ERROR_TIMEOUT;
    else if (status == 413)
        f->code = ERROR_LIMIT;
    else if (status >= 400 && status < 500 && status != 409 && status != 424 && status != 425 &&
             !configuration_fault(status))
        f->code = ERROR_INVALID;
    if (f->code == ERROR_INVALID || f->code == ERROR_LIMIT)
        f->retryable = false;
}

/* Appends text of a stranger's: one line, bounded, the key blotted out wherever it stands. */
static void append_clean(char *out, size_t size, struct str text, struct str api_key)
{
    size_t used = strlen(out);
    for (size_t i = 0; i < text.len && used + 5 < size;) {
        uint32_t c;
        if (api_key.len > 0 && str_starts(str_slice(text, i, text.len), api_key)) {
            memcpy(out + used, "***", 3);
            used += 3;
            i += api_key.len;
            continue;
        }
        size_t n = str_utf8_decode(str_slice(text, i, text.len), &c);
        if (n == 0 || c < ' ' || c == 0x7f) {
            out[used++] = n == 0 ? '?' : ' ';
            i++;
            continue;
        }
        memcpy(out + used, text.data + i, n);
        used += n;
        i += n;
    }
    out[used] = '\0';
}

static void clear(struct provider_failure *f)
{
    memset(f, 0, sizeof *f);
    f->failure.retry_after_ms = -1;
}

static void point(struct provider_failure *f)
{
    f->failure.message = str_from(f->message);
    f->failure.type = str_from(f->type);
}

/* {"error":{"message","type","code"}} {"error":"text"} {"message","type"} {"detail":"text"}
 * {"errors":[{"message"}]} */
static const json_t *error_of(const json_t *document)
{
    const json_t *error = json_object_get(document, "error");
    const json_t *first = json_array_get(json_object_get(document, "errors"), 0);
    return json_is_object(error) ? error : json_is_object(first) ? first : document;
}

/* What a server of FastAPI's (vLLM, Mistral) says of members: {"detail":[{"loc":[...],"msg"}]}, which may
 * stand in "message", too. */
static const json_t *detail_find(const json_t *document)
{
    const json_t *detail = json_object_get(document, "detail");
    return detail ? detail : json_object_get(json_object_get(document, "message"), "detail");
}

static struct str detail_of(const json_t *document)
{
    const json_t *detail = detail_find(document);
    return json_is_array(detail) ? json_text(json_array_get(detail, 0), "msg") : json_str(detail);
}

/* Of which member it says that: the last of "loc". */
static struct str detail_place(const json_t *document)
{
    const json_t *place = json_object_get(json_array_get(detail_find(document), 0), "loc");
    return json_str(json_array_get(place, json_array_size(place) - 1));
}

static struct str message_of(const json_t *document)
{
    const struct str said[] = {json_text(error_of(document), "message"), json_text(document, "error"),
        json_str(json_array_get(json_object_get(document, "errors"), 0)), json_text(document, "Message"),
        detail_of(document)};
    for (size_t i = 0; i < sizeof said / sizeof *said; i++)
        if (said[i].len > 0)
            return said[i];
    return STR_NONE;
}

static struct str type_of(const json_t *document)
{
    const json_t *error = error_of(document);
    struct str type = json_text(error, "type"), code = json_text(error, "code");
    if (error == document && str_is(type, "error"))
        type = STR_NONE;
    if (type.len == 0 && code.len == 0)
        return json_text(error, "status"); /* Google */
    /* OpenAI's code says more than its type where there is one. */
    return status_of_type(code) || type.len == 0 ? code : type;
}

/* A prompt that is longer than the model's context: another target may have a larger one. */
static bool is_too_long(const json_t *document)
{
    /* OpenAI and its relatives; llama.cpp's server */
    static const char *const types[] = {"context_length_exceeded", "exceed_context_size_error"};
    /* Those who have no word of their own for it, by what they say, beginnings of sentences left out: vLLM,
     * DeepSeek and OpenRouter; Anthropic; Together; Google; Amazon; xAI; Mistral; Cohere */
    static const char *const phrases[] = {"maximum context length", "prompt is too long",
        "exceed context limit", "longer than the model's context length",
        "exceeds the maximum number of tokens allowed", "nput is too long for requested model",
        "oo many input tokens", "maximum prompt length", "too large for model with", "oo many tokens"};
    struct str type = type_of(document), message = message_of(document);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (str_is(type, types[i]))
            return true;
    for (size_t i = 0; i < sizeof phrases / sizeof *phrases; i++)
        if (str_find(message, str_from(phrases[i])) != SIZE_MAX)
            return true;
    return false;
}

/* Google says 400 of a key it does not know, and of an account or a country that it does not serve. */
static int status_meant(int status, const json_t *document)
{
    const json_t *error = error_of(document), *details = json_object_get(error, "details");
    if (status != 400)
        return status;
    for (size_t i = 0; i < json_array_size(details); i++)
        if (str_is(json_text(json_array_get(details, i), "reason"), "API_KEY_INVALID"))
            return 401;
    return str_is(json_text(error, "status"), "FAILED_PRECONDITION") ? 503 : status;
}

/* Google's google.rpc.RetryInfo: {"retryDelay": "34.07s"}; -1: it does not say. */
static int64_t retry_inside(const json_t *document)
{
    const json_t *details = json_object_get(error_of(document), "details");
    for (size_t i = 0; i < json_array_size(details); i++) {
        struct str delay = json_text(json_array_get(details, i), "retryDelay");
        if (str_ends(delay, STR("s")))
            return provider_retry_after(STR_NONE, str_slice(delay, 0, delay.len - 1), 0);
    }
    return -1;
}

static int status_inside(const json_t *document)
{
    const json_t *error = error_of(document), *code = json_object_get(error, "code");
    int64_t status = json_is_integer(code) ? json_integer_value(code) : 0;
    if (status < 400 || status > 599)
        status = status_of_type(type_of(document));
    if (status == 0)
        status = status_of_type(json_text(error, "type"));
    return (int)status;
}

bool provider_is_error(const struct json_item *document)
{
    const struct json_item *error = json_item_get(document, "error");
    return (error && !json_item_is(error, JSON_ITEM_NULL)) ||
           json_item_length(json_item_get(document, "errors")) > 0 ||
           str_is(json_item_text(document, "object"), "error") ||
           str_is(json_item_text(document, "type"), "error");
}

void provider_failure_json(
    struct provider_failure *f, struct str provider, struct str api_key, int status, const json_t *document)
{
    clear(f);
    if (status == 0)
        status = status_inside(document);
    const int meant = status_meant(status, document);
    classify(&f->failure, meant);
    if (meant >= 500)
        f->failure.status = status; /* its server is not busy: asking it again mends nothing */
    f->failure.retry_after_ms = retry_inside(document);
    append_clean(f->type, sizeof f->type, type_of(document), api_key);
    if (f->failure.code == ERROR_INVALID && is_too_long(document)) {
        f->failure.code = ERROR_CONTEXT;
        f->failure.retryable = true;
        snprintf(f->type, sizeof f->type, "context_length_exceeded");
    }
    struct str message = message_of(document);
    const char *fault = configuration_fault(meant);
    int used = snprintf(f->message, sizeof f->message, "provider '%.*s' ",
        (int)str_slice(provider, 0, 64).len, provider.len ? provider.data : "");
    char *rest = f->message + used;
    size_t room = sizeof f->message - (size_t)used;
    /* What a provider says about a key may hold parts of it. */
    if (fault)
        snprintf(rest, room, "%s (HTTP %d)", fault, status);
    else if (status > 0)
        snprintf(rest, room, "answered HTTP %d%s", status, message.len ? ": " : "");
    else
        snprintf(rest, room, "reported an error%s", message.len ? ": " : "");
    if (status == 404 && message.len > 0)
        append_clean(f->message, sizeof f->message, STR(": "), STR_NONE);
    struct str place = !fault && message.len > 0 ? detail_place(document) : STR_NONE;
    append_clean(f->message, sizeof f->message, place, api_key);
    if (place.len > 0)
        append_clean(f->message, sizeof f->message, STR(": "), STR_NONE);
    if (!fault || status == 404)
        append_clean(f->message, sizeof f->message, message, api_key);
    point(f);
}

void provider_failure_status(struct provider_failure *f, struct str provider, struct str api_key, int status,
    struct str body, int64_t retry_after_ms)
{
    json_t *document = NULL;
    struct error ignored; /* a body that is no JSON tells nothing that a client should see */
    if (json_read(body, &document, &ignored) != 0)
        document = NULL;
    /* Google wraps the error of a stream in an array. */
    const json_t *first = json_is_array(document) ? json_array_get(document, 0) : document;
    provider_failure_json(f, provider, api_key, status, first);
    json_decref(document);
    if (retry_after_ms >= 0)
        f->failure.retry_after_ms = retry_after_ms;
}

void provider_failure_error(
    struct provider_failure *f, struct str provider, struct str api_key, int code, const char *message)
{
    clear(f);
    f->failure.code = code;
    f->failure.retryable = code != ERROR_INVALID && code != ERROR_CANCELLED;
    int used = snprintf(f->message, sizeof f->message,
        "provider '%.*s': ", (int)str_slice(provider, 0, 64).len, provider.len ? provider.data : "");
    if (used > 0)
        append_clean(f->message, sizeof f->message, str_from(message), api_key);
    point(f);
}

int64_t provider_retry_after(struct str ms, struct str seconds_or_date, int64_t now_wall_ms)
{
    double number;
    int64_t wait = -1;
    char date[64];
    struct tm tm = {0};
    if (str_to_double(ms, &number)) {
        wait = number < 0 || number > DAY_MS ? -1 : (int64_t)number;
    } else if (str_to_double(seconds_or_date, &number)) {
        wait = number < 0 ? -1 : number > DAY_MS / 1000 ? DAY_MS : (int64_t)(number * 1000);
    } else if (seconds_or_date.len > 0 && seconds_or_date.len < sizeof date) {
        memcpy(date, seconds_or_date.data, seconds_or_date.len);
        date[seconds_or_date.len] = '\0';
        const char *end = strptime(date, "%a, %d %b %Y %H:%M:%S GMT", &tm);
        if (end && *end == '\0') {
            int64_t then = (int64_t)timegm(&tm) * 1000;
            wait = then > now_wall_ms ? then - now_wall_ms : 0;
        }
    }
    return wait > DAY_MS ? DAY_MS : wait;
}
