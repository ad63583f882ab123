/* The endpoints: who may ask, which shape is spoken, where it goes.
 *
 *   http_request -> guard (Host, Origin, key) -> table of paths -> *_in -> exchange -> *_out -> http answer
 *
 * Whole conversations all take the path of call.c in the shape (shape.h) that the table names; errors, also
 * the guard's, take the shape of the API they answer.
 */
#ifndef WEIR_API_API_H
#define WEIR_API_API_H

#include "api/shape.h"
#include "exchange/exchange.h"
#include "http/http.h"

/* One per loop. */
struct api_shard {
    struct exchange_shard *exchange;
    struct govern_keys *keys; /* NULL: auth is none */
    bool loopback;            /* the listener is: Host and Origin are checked */
    struct access_log *log;   /* NULL: none */
    const struct str *hosts;  /* further names accepted then */
    size_t n_hosts;
    int64_t started_s;
    const char *files;       /* the folder of clients' files; NULL: there is none */
    struct batches *batches; /* all shards' */
};

/* The http_handler; ctx is the shard. */
void api_handle(void *shard, struct http_request *r);
/* The http_refuser: in the shape that the path speaks, or else what the client says of itself. */
int api_refuse(void *shard, struct http_request *r, int status, struct str why, struct buf *body);

/* ---- For the files of this room ---- */
enum { API_REQUEST_ID = 72, API_ROW_ID = 104 };
struct api_call {
    struct api_shard *shard;
    struct http_request *http;
    const struct api_shape *shape;
    char request_id[API_REQUEST_ID]; /* the client's, where it gave a good one */
    char row_id[API_ROW_ID];         /* the ledger's: it also tells apart what a client called the same */
    bool id_given;
    struct access_entry *entry; /* of the access log; NULL: none. Lives as long as `http` */
    bool identified;
    struct govern_identity identity;
    struct responses_fetched *fetched; /* what its body names; NULL: nothing was read yet */
    bool gone; /* its client left meanwhile (api_on_gone): nobody waits for an answer */
};
/* For http_request_on_gone; ctx: a struct api_call that waits for the state. */
void api_on_gone(void *ctx);
/* An error in the call's shape; finishes the request. */
void api_error(const struct api_call *c, int status, struct str message);
void api_no_model(const struct api_call *c, struct str message); /* a 404 whose code names the model */
/* A header whose value may be any text: what is no text there becomes '?', and it is cut where it is long. */
void api_header(struct http_request *r, const char *name, struct str value);
void api_id_headers(const struct api_call *c); /* the request's id */
void api_rates_headers(const struct api_call *c, const struct budget_rates *r);
void api_reply_json(const struct api_call *c, int status, const struct buf *body);

bool api_model_allowed(const struct api_call *c, struct str model); /* may the caller ask for it? */
struct str api_key_id(const struct api_call *c);   /* whose key it is; empty with auth: none */
bool api_admin_required(const struct api_call *c); /* false: the call has been answered with a 403 */
int64_t api_content_ms(const struct api_call *c);  /* how long content may be kept; 0: not at all */

void api_chat(const struct api_call *c); /* what goes through an exchange, in the call's shape */
/* The body and the headers, as `shape` has them, into a request in the arena. */
int api_request_read(const struct api_call *c, const struct api_shape *shape, struct arena *a,
    struct chat_request **out, struct exchange_origin *origin, struct error *err) MUST_USE;
/* The shape that is spoken at an endpoint's path, or NULL. */
const struct api_shape *api_shape_of(struct str path);
/* router_context's `header`. */
struct str api_header_give(void *http_request, const char *name, int index);
/* The header x-weir-boundary: it can only tighten. */
int api_boundary_read(struct http_request *r, bool *local, struct error *err) MUST_USE;
void api_files_create(const struct api_call *c);
void api_files_list(const struct api_call *c);
void api_files_get(const struct api_call *c);
void api_files_delete(const struct api_call *c);
void api_batches_create(const struct api_call *c);
void api_batches_list(const struct api_call *c);
void api_batches_get(const struct api_call *c);
void api_batches_cancel(const struct api_call *c);
void api_responses_kept(const struct api_call *c);
void api_responses_delete(const struct api_call *c);
void api_responses_act(const struct api_call *c);
void api_openai_models(const struct api_call *c);
void api_explain(const struct api_call *c);
void api_feedback(const struct api_call *c);
void api_feedback_kept(const struct api_call *c);
void api_keys_get(const struct api_call *c);
void api_keys_post(const struct api_call *c);
void api_keys_delete(const struct api_call *c);
void api_teams_get(const struct api_call *c);
void api_teams_post(const struct api_call *c);
void api_teams_delete(const struct api_call *c);
void api_budget_gauges(const struct exchange_shard *shard, struct buf *out);
void api_metrics(const struct api_call *c);
void api_ready(const struct api_call *c);
void api_web_index(const struct api_call *c);
void api_web_style(const struct api_call *c);
void api_web_script(const struct api_call *c);
void api_web_icon(const struct api_call *c);

#endif
