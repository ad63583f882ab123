/* The command line's verbs: each is a file verb_NAME.c with one function. argv[0] is the verb. Returns the exit
 * code: 0 done, 1 failed, 2 wrong usage or configuration. Every verb answers --help on standard output. */
#ifndef WEIR_APP_VERBS_H
#define WEIR_APP_VERBS_H

#include "base/buf.h"

int verb_serve(int argc, char **argv);
int verb_run(int argc, char **argv);
int verb_chat(int argc, char **argv);
int verb_show(int argc, char **argv);
int verb_tokenize(int argc, char **argv);
int verb_detokenize(int argc, char **argv);
int verb_bench(int argc, char **argv);
int verb_embed(int argc, char **argv);
int verb_rerank(int argc, char **argv);
int verb_render(int argc, char **argv);
int verb_logits(int argc, char **argv);
int verb_detect(int argc, char **argv);
int verb_redact(int argc, char **argv);
int verb_fingerprint(int argc, char **argv);
int verb_score(int argc, char **argv);
int verb_route(int argc, char **argv);
int verb_replay(int argc, char **argv);
int verb_eval(int argc, char **argv);
int verb_calibrate(int argc, char **argv);
int verb_models(int argc, char **argv);
int verb_pull(int argc, char **argv);
int verb_rm(int argc, char **argv);
int verb_keys(int argc, char **argv);
int verb_teams(int argc, char **argv);
int verb_report(int argc, char **argv);
int verb_advise(int argc, char **argv);
int verb_audit(int argc, char **argv);
int verb_batch(int argc, char **argv);
int verb_purge(int argc, char **argv);
int verb_train(int argc, char **argv);

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

/* "weir: message" on standard error; returns `exit_code`. */
int verb_fail(int exit_code, const struct error *err);
int verb_failf(int exit_code, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Options, GNU style ("--name value", "--name=value", flags). Fills `value` slots; returns the number of positional
 * arguments moved to the front of argv[1..], or -1 after having said what is wrong. --help prints `help` and gives -2. */
struct verb_option {
    const char *name;   /* without dashes */
    const char **value; /* NULL: a flag */
    bool *flag;
};
int verb_options(int argc, char **argv, const struct verb_option *options, size_t n_options, const char *help);
/* Numbers of options, checked: false after having said what is wrong. */
bool verb_number(const char *name, const char *text, double least, double most, double *out);
bool verb_integer(const char *name, const char *text, long long least, long long most, long long *out);

/* Calls fn for each line of standard input (without its newline; lines up to 64 MiB); stops at the first
 * non-zero return, which it gives back. */
int verb_each_line(int (*fn)(void *ctx, struct str line, long long number), void *ctx);
/* Writes a line of standard output and frees it. */
int verb_line_print(struct buf *line) MUST_USE;

#endif
