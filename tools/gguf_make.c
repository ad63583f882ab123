/* Makes a GGUF file with random weights: a llama, or a mixture of experts: `gguf_make --help`. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/limits.h"
#include "engine/worker/model_sample.h"

static const char usage[] =
    "usage: gguf_make OUT.gguf [options]\n"
    "  --layers N --embed N --heads N --kv-heads N --ffn N --vocab N --context N   the shape\n"
    "  --head-width N                             of heads that do not share --embed\n"
    "  --experts N --used N                       a mixture (Mixtral's); --ffn is each expert's\n"
    "  --arch llama|qwen3moe|glm4|glm4moe\n"
    "  --nextn                                    of the glm4s: one more layer, which drafts\n"
    "  --chain                                    layers add nothing: what follows a token depends on it "
    "alone\n"
    "  --type F32|F16|BF16|Q8_0|Q4_0|Q4_K|Q5_K|Q6_K                                of the matrices\n"
    "  --tokenizer llama|gpt2   --pre NAME        the pre-tokenizer of gpt2 (llama-bpe, qwen2, ...)\n"
    "  --chat-template FILE|none                  Jinja source; ChatML unless given\n"
    "  --fim                                      marks for filling in the middle\n"
    "  --tied                                     no output matrix of its own\n"
    "  --seed N\n";

static int fail(const char *what)
{
    fprintf(stderr, "gguf_make: %s\n%s", what, usage);
    return 2;
}

static bool parse_type(const char *name, enum tensor_type *type)
{
    for (uint32_t i = 0; i < TENSOR_TYPES; i++) {
        const struct tensor_type_info *info = tensor_type_info(i);
        if (info && strcmp(info->name, name) == 0) {
            *type = i;
            return true;
        }
    }
    return false;
}

/* The template stays allocated, and known to be, as long as the program runs. */
static const char *read_template(const char *path)
{
    static char *text;
    FILE *f = fopen(path, "r");
    free(text);
    text = f ? calloc(1, LIMIT_TEMPLATE_SOURCE + 1) : NULL;
    size_t n = text ? fread(text, 1, LIMIT_TEMPLATE_SOURCE, f) : 0;
    if (f)
        fclose(f);
    return n > 0 ? text : NULL;
}

static bool parse_number(const char *name, const char *text, struct model_sample *s)
{
    const struct {
        const char *name;
        uint32_t *to;
    } numbers[] = {{"--layers", &s->n_layers}, {"--embed", &s->n_embed}, {"--heads", &s->n_heads},
        {"--kv-heads", &s->n_kv_heads}, {"--ffn", &s->n_ffn}, {"--vocab", &s->n_vocab},
        {"--context", &s->n_context}, {"--head-width", &s->head_width}, {"--experts", &s->n_experts},
        {"--used", &s->n_used}};
    int64_t value;
    if (!str_to_int64(str_from(text), &value) || value < 0 || value > UINT32_MAX)
        return false;
    if (strcmp(name, "--seed") == 0) {
        s->seed = (uint64_t)value;
        return true;
    }
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (strcmp(name, numbers[i].name) == 0) {
            *numbers[i].to = (uint32_t)value;
            return true;
        }
    return false;
}

static bool parse_flag(const char *name, struct model_sample *s)
{
    const struct {
        const char *name;
        bool *to;
    } flags[] = {{"--tied", &s->tied}, {"--fim", &s->fim}, {"--nextn", &s->nextn}, {"--chain", &s->chain}};
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (strcmp(name, flags[i].name) == 0)
            return *flags[i].to = true;
    return false;
}

static bool parse_option(const char *name, const char *value, struct model_sample *s)
{
    if (strcmp(name, "--type") == 0)
        return parse_type(value, &s->type);
    if (strcmp(name, "--arch") == 0)
        s->architecture = value;
    else if (strcmp(name, "--tokenizer") == 0)
        s->tokenizer = value;
    else if (strcmp(name, "--pre") == 0)
        s->pre = value;
    else if (strcmp(name, "--chat-template") == 0 && strcmp(value, "none") == 0)
        s->chat_template = NULL;
    else if (strcmp(name, "--chat-template") == 0)
        return (s->chat_template = read_template(value)) != NULL;
    else
        return parse_number(name, value, s);
    return true;
}

int main(int argc, char **argv)
{
    struct model_sample s = model_sample_default();
    const char *out = NULL;
    struct error err;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0)
            return fputs(usage, stdout) < 0;
        if (parse_flag(argv[i], &s))
            continue;
        if (argv[i][0] != '-' && !out)
            out = argv[i];
        else if (i + 1 == argc || !parse_option(argv[i], argv[i + 1], &s))
            return fail(argv[i]);
        else
            i++;
    }
    if (!out)
        return fail("the file to write is missing");
    int fd = open(out, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0) {
        perror(out);
        return 1;
    }
    int rc = model_sample_write(&s, fd, &err);
    if (close(fd) != 0 && rc == 0)
        rc = error_set(&err, ERROR_IO, "the model file cannot be written");
    if (rc)
        fprintf(stderr, "gguf_make: %s\n", err.message);
    return rc ? 1 : 0;
}
