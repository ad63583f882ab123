/* Anthropic's errors, whose types go by the status. */
#include "api/anthropic_out.h"

static const struct {
    int status, becomes;
    const char *type;
} errors[] = {{401, 401, "authentication_error"}, {402, 402, "billing_error"}, {403, 403, "permission_error"},
    {404, 404, "not_found_error"}, {413, 413, "request_too_large"}, {429, 429, "rate_limit_error"},
    {503, 529, "overloaded_error"}, {504, 504, "timeout_error"}, {529, 529, "overloaded_error"}};

int anthropic_error_write(int status, struct str message, struct str request_id, struct buf *out)
{
    struct json_writer w;
    const char *type = status >= 500 ? "api_error" : "invalid_request_error";
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        if (errors[i].status != status)
            continue;
        type = errors[i].type;
        status = errors[i].becomes;
        break;
    }
    json_writer_init(&w, out);
    json_object_begin(&w);
    json_member_str(&w, "type", STR("error"));
    json_key(&w, "error");
    json_object_begin(&w);
    json_member_str(&w, "type", str_from(type));
    json_member_str(&w, "message", message);
    json_object_end(&w);
    json_member_str(&w, "request_id", request_id);
    json_object_end(&w);
    return status;
}
