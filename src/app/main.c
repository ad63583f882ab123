/* weir VERB ...: one program, one table of verbs. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "app/verbs.h"

struct verb {
    const char *name;
    int (*run)(int argc, char **argv); /* NULL: not a verb but the heading of those that follow */
    const char *summary;
};

static const struct verb verbs[] = {
    {"Serve and ask", NULL, NULL},
    {"serve", verb_serve, "start the gateway"},
    {"chat", verb_chat, "talk with a model in the terminal"},
    {"run", verb_run, "one answer on standard output"},
    {"batch", verb_batch, "the requests of a file (JSONL), run without a server"},
    {"embed", verb_embed, "texts to embeddings (JSONL)"},
    {"rerank", verb_rerank, "documents by how well they answer a query (JSONL)"},
    {"Models", NULL, NULL},
    {"pull", verb_pull, "fetch a model from Hugging Face or Ollama's registry"},
    {"models", verb_models, "which models are here"},
    {"rm", verb_rm, "remove a fetched model"},
    {"show", verb_show, "whether a model file runs here; its metadata and tensors"},
    {"bench", verb_bench, "how fast a model runs here, beside what the machine could do"},
    {"tokenize", verb_tokenize, "texts to token ids (JSONL)"},
    {"detokenize", verb_detokenize, "token ids to texts (JSONL)"},
    {"render", verb_render, "a chat body to the model's prompt"},
    {"logits", verb_logits, "what a model predicts after given tokens"},
    {"Judge and route", NULL, NULL},
    {"detect", verb_detect, "what is sensitive in texts (JSONL)"},
    {"redact", verb_redact, "texts as they would leave masked (JSONL), and back"},
    {"fingerprint", verb_fingerprint, "documents that must not leave, as hashes to know them by"},
    {"score", verb_score, "how hard prompts are (JSONL)"},
    {"route", verb_route, "where requests would go, and why (JSONL); sends nothing"},
    {"replay", verb_replay, "what other rules would have done with the ledger's requests"},
    {"eval", verb_eval, "models on your own samples: quality, cost, latency"},
    {"calibrate", verb_calibrate, "the complexity score fitted to your own graded prompts"},
    {"Models of your own", NULL, NULL},
    {"train", verb_train, "a model of your own, from scratch"},
    {"finetune", verb_train, "a model taught your own conversations (LoRA)"},
    {"quantize", verb_train, "a model file in fewer bits, or other ones"},
    {"imatrix", verb_train, "what matters in a model's matrices, for quantize --imatrix"},
    {"perplexity", verb_train, "how well models foretell a text, and what quantising cost"},
    {"convert", verb_train, "a Hugging Face folder or PEFT adapter as a GGUF file"},
    {"export", verb_train, "a GGUF model or adapter as a Hugging Face folder"},
    {"merge", verb_train, "adapters folded into a model, or models made one"},
    {"Operate", NULL, NULL},
    {"keys", verb_keys, "create, limit, list and revoke API keys"},
    {"teams", verb_teams, "budgets and limits of teams, and of the whole gateway"},
    {"report", verb_report, "usage and cost by day, key, team or model"},
    {"advise", verb_advise, "local, cloud or hybrid, and when a machine of one's own pays"},
    {"audit", verb_audit, "what left, under which rule; that nobody changed the record"},
    {"purge", verb_purge, "delete kept content now"},
};

enum { N_VERBS = sizeof verbs / sizeof *verbs };

static void usage(FILE *to)
{
    fprintf(to, "usage: weir VERB [options]    (weir VERB --help tells more)\n");
    for (size_t i = 0; i < N_VERBS; i++)
        if (verbs[i].run)
            fprintf(to, "  %-12s %s\n", verbs[i].name, verbs[i].summary);
        else
            fprintf(to, "\n%s:\n", verbs[i].name);
    fprintf(to, "\nExit codes: 0 done, 1 the operation failed, 2 wrong usage or configuration.\n");
}

int main(int argc, char **argv)
{
    /* A peer that goes away, or a file that may not grow (ulimit -f), is an error of the write, not the end
     * of the program. */
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    if (argc < 2) {
        usage(stderr);
        return EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
        usage(stdout);
        return EXIT_DONE;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("weir %s\n", WEIR_VERSION);
        return EXIT_DONE;
    }
    for (size_t i = 0; i < N_VERBS; i++)
        if (verbs[i].run && strcmp(argv[1], verbs[i].name) == 0)
            return verbs[i].run(argc - 1, argv + 1);
    return verb_failf(EXIT_USAGE, "there is no verb '%s': weir --help lists them", argv[1]);
}
