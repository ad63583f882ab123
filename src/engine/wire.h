/* The protocol between the gateway and a worker, over one AF_UNIX stream socketpair.
 *
 *   0        4         8      10      12
 *   | length | call    | type | drawn | payload: `length` bytes |        little-endian, both on one machine
 *
 * `drawn`: of TEXT, TOKENS, REASONING and TOOL_CALL how many tokens were drawn since the last of these; else 0.
 *
 * The worker inherits the socket as descriptor WIRE_FD and the model's files, in order, as WIRE_MODEL_FD,
 * WIRE_MODEL_FD + 1, ..., behind them perhaps a spill file (spill_format.h). It serves exactly one model. Neither
 * side trusts the other's numbers: a frame over LIMIT_WIRE_FRAME, an unknown type or a call that is not open ends the connection.
 *
 * Calls: the gateway chooses `call` (1.., never reused on a connection) and opens it with a request frame; the
 * worker answers with any number of frames of that call, the last of which is RESULT, STOP or ERROR. Call 0 is
 * the connection itself: READY or ERROR once the model is loaded (or not).
 *
 *   gateway                                       worker
 *   LOAD (call 0, JSON)                     ->
 *                                           <-    PROGRESS* READY (call 0, JSON)   or ERROR (call 0)
 *   CHAT (call n, JSON)                     ->
 *                                           <-    START (TEXT | TOKENS | REASONING | TOOL_CALL | MEASURE)* USAGE STOP   or ERROR
 *   PAUSE / RESUME / CANCEL (call n)        ->    (CANCEL: answered by ERROR "cancelled" if still open)
 *   TOKENIZE DETOKENIZE RENDER LOGITS SHOW EMBED RERANK BENCH ->
 *                                           <-    RESULT (JSON)                    or ERROR
 *   TENSOR (call n, JSON {"name"})          ->
 *                                           <-    DATA* RESULT {}                  or ERROR
 */
#ifndef WEIR_ENGINE_WIRE_H
#define WEIR_ENGINE_WIRE_H

#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/str.h"

enum { WIRE_FD = 3, WIRE_MODEL_FD = 4, WIRE_MODEL_FILES_MAX = 256, WIRE_HEADER_BYTES = 12 };

enum wire_type {
    /* to the worker */
    WIRE_LOAD = 1,   /* {"threads","slots","context","batch","kv_bytes","kv_type","speculate","sampling","opening","adapters":[{"name","scale"}]}; the last
                        files are the adapters'. 0: choose. context 0: the model's own, at most 8192. speculate: false
                        where no tokens are to be drafted. draft: true: the file before the adapters' is a smaller
                        model that drafts. sampling: what NAME.params.json says. opening: the messages
                        that conversations begin with (engine.h: ENGINE_SYSTEM).
                        "spill_key" (hexadecimal), "spill_identity" (of the model's files and this program),
                        "spill_keep_ms": of the spill file, where there is one.
                        {"inspect":true}: parse the file only, for SHOW, TENSOR, TOKENIZE, RENDER */
    WIRE_CHAT,       /* chat_codec.h */
    WIRE_TOKENIZE,   /* {"text","add_special","parse_special"} -> {"ids":[...]} */
    WIRE_DETOKENIZE, /* {"ids":[...]} -> {"text"} */
    WIRE_RENDER,     /* an OpenAI chat body, {"template"}? beside it -> {"text"} */
    WIRE_LOGITS,     /* {"tokens":[...],"top","greedy"} -> {"n_vocab","logits":[[id,value]],"greedy":[ids]} */
    WIRE_SHOW,       /* {"fit"} -> metadata and tensors as `weir show --json` prints them; fit: true: whether the file
                        runs and how fast, too, for which the cores are measured for half a second */
    WIRE_TENSOR,     /* {"name"} -> DATA* */
    WIRE_EMBED,      /* {"text" or "tokens":[ids],"normalize","dimensions"?} -> {"embedding":[values],"tokens":count};
                        a list of lists where the model does not pool */
    WIRE_RERANK,     /* {"query","documents":[texts]} -> {"results":[{"index","relevance_score"}],"tokens":count}, the
                        best first */
    WIRE_BENCH,      /* {"limits":true} -> {"read","read_one","integers","halves","floats","isa","threads"}: bytes and
                        operations a second; or {"depth","streams","prompt","generate","repeat","seconds"} ->
                        {"prefill_s":[...],"decode_s":[...], and what a step has to do: session_bench.c}; or
                        {"copy","wrong","prompt","repeat","seconds"} -> {"plain_s":[...],"copy_s":[...],"drafted",
                        "drawn"} */
    WIRE_PAUSE, WIRE_RESUME, WIRE_CANCEL, /* no payload */
    /* from the worker */
    WIRE_READY = 64, /* {"architecture","name","n_vocab","context","slots","isa","threads","bytes",...} */
    WIRE_PROGRESS,   /* {"done","total"} bytes of weights touched while loading */
    WIRE_START,      /* {"prompt_tokens","cached_tokens"}: prefill begins */
    WIRE_TEXT,       /* UTF-8, whole characters */
    WIRE_REASONING,  /* the same */
    WIRE_TOOL_CALL,  /* {"index","id","name","arguments"}: a call, numbered from 0, and the beginning of its
                        arguments; {"index","arguments"}: more of the last call's */
    WIRE_TOKENS,     /* {"text", "tokens": chat_tokens.h}: TEXT, maybe empty, and the tokens that have become text
                        since the last ones; with log-probabilities asked for */
    WIRE_MEASURE,    /* {"logprob","entropy"}, in millionths of a nat: of the next token; at most as many as were asked
                        for, and none of a token that was the only one that fits the grammar. {"prompt"}, once, before
                        them, where it was asked for: the mean log-probability of the prompt's last tokens, likewise */
    WIRE_USAGE,      /* {"input_tokens","cached_tokens","output_tokens","reasoning_tokens","prefill_ns","decode_ns",
                        "drafted_tokens","drawn_tokens": of the drafted ones,"accepted_prediction_tokens",
                        "rejected_prediction_tokens"} */
    WIRE_STOP,       /* {"reason":"stop"|"length"|"tools","string"?}: the stop string that was met */
    WIRE_RESULT,     /* JSON */
    WIRE_DATA,       /* raw little-endian float32 */
    WIRE_ERROR       /* {"code": enum error_code, "message"} */
};

struct wire_frame {
    uint32_t call;
    enum wire_type type;
    uint16_t drawn;
    struct str payload; /* inside the reader's buffer, until the next wire_take */
};

/* Appends one frame; ERROR_LIMIT when the payload or the buffer's maximum does not allow it. */
int wire_append(struct buf *out, uint32_t call, enum wire_type type, struct str payload) MUST_USE;
int wire_append_drawn(
    struct buf *out, uint32_t call, enum wire_type type, uint16_t drawn, struct str payload) MUST_USE;
/* Takes the next frame out of `in` at *offset: 1 a frame, 0 more bytes are needed, negative: the peer broke the
 * protocol. The caller drops the consumed bytes (buf_consume(in, *offset)) when it is done with the frames. */
int wire_take(const struct buf *in, size_t *offset, struct wire_frame *frame, struct error *err) MUST_USE;

#endif
