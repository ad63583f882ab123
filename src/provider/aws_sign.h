/* Amazon's signature of a request, version 4 (AWS4-HMAC-SHA256).
 * Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html */
#ifndef WEIR_PROVIDER_AWS_SIGN_H
#define WEIR_PROVIDER_AWS_SIGN_H

#include "base/arena.h"
#include "egress/egress.h"

struct aws_credentials {
    struct str access_key, secret_key;
    struct str session_token; /* of temporary ones; empty: none */
};

struct aws_request {
    const char *method;
    struct str host;                     /* as it is sent, with a port where one is sent */
    struct str path, query;              /* as they are sent; the query sorted, without '?' */
    const struct egress_header *headers; /* to be signed beside host, x-amz-date and the session's token:
                                            lower-case names that sort before "host" */
    size_t n_headers;
    struct str body;
    struct str region, service;
    int64_t wall_ms;
};

enum { AWS_HEADERS_MAX = 3 };

/* Writes the headers Authorization, X-Amz-Date and, for temporary credentials, X-Amz-Security-Token; gives
 * how many. Texts live in `a`. */
size_t aws_sign(struct arena *a, const struct aws_credentials *c, const struct aws_request *r,
    struct egress_header out[AWS_HEADERS_MAX]);

#endif
