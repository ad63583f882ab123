/* Every bound that protects the program from its input, in one place. Sizes in bytes unless they say otherwise. */
#ifndef WEIR_BASE_LIMITS_H
#define WEIR_BASE_LIMITS_H

#define KIB ((size_t)1024)
#define MIB (KIB * 1024)
#define GIB (MIB * 1024)

enum {
    LIMIT_JSON_DEPTH = 64,           /* nesting of any JSON we read */
    LIMIT_JSON_VALUES = 1 << 21,     /* values in it, some 100 bytes each; an array counts as 4, an object as 8 */
    LIMIT_MESSAGES = 4096,           /* messages in a request */
    LIMIT_PARTS = 1024,              /* parts in a message */
    LIMIT_TOOLS = 512,               /* tool definitions in a request */
    LIMIT_INPUTS = 2048,             /* texts to embed, or documents to rank, in a request */
    LIMIT_STOPS = 16,                /* stop strings in a request */
    LIMIT_BREAKERS = 64,             /* texts that break sequences (DRY) */
    LIMIT_BREAKER = 40,              /* bytes of such a text */
    LIMIT_TOKENS = 1 << 20,          /* tokens with their log-probabilities in an answer */
    LIMIT_TOP_LOGPROBS = 100,        /* alternatives to each */
    LIMIT_BIASES = 4096,             /* tokens in a logit_bias */
    LIMIT_CONNECTIONS = 16384,       /* inbound connections, whole process */
    LIMIT_TARGETS = 16,              /* targets in one decision */
    LIMIT_STORE_ROWS = 1 << 16,      /* rows waiting to be written */
    LIMIT_ENTITIES = 4096,           /* findings kept for one request */
    LIMIT_MODEL_NAME = 256,
    LIMIT_MODEL_PARTS = 1024,        /* files of a split model */
    LIMIT_MODEL_PAIRS = 1 << 16,     /* metadata pairs in a model file */
    LIMIT_MODEL_TENSORS = 1 << 20,   /* tensors in a model */
    LIMIT_VOCABULARY = 1 << 24,      /* tokens in a vocabulary */
    LIMIT_TOKEN = 4096               /* bytes a token's text may have */
};

#define LIMIT_HTTP_HEADER (32 * KIB)
#define LIMIT_HTTP_BODY (32 * MIB)          /* inbound; larger is 413 */
#define LIMIT_REQUEST_MEMORY (256 * MIB)    /* one request's arena */
#define LIMIT_PROVIDER_EVENT (4 * MIB)      /* one server-sent event from a provider */
#define LIMIT_PROVIDER_BODY (64 * MIB)      /* a whole answer from a provider */
#define LIMIT_CONFIG (4 * MIB)
#define LIMIT_WIRE_FRAME (64 * MIB)         /* one frame between gateway and worker */
#define LIMIT_STORE_ROW (1 * MIB)           /* one row of the state */
#define LIMIT_STORE_RESPONSE (16 * MIB)     /* a response with its whole conversation, in the state */
#define LIMIT_STORE_QUEUE (64 * MIB)        /* rows waiting to be written, together */
#define LIMIT_TEMPLATE_SOURCE (1 * MIB)
#define LIMIT_TEMPLATE_OUTPUT (32 * MIB)

#endif
