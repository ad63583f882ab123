/* What a request wants done: cue words in the question, tools, and the shape of the conversation. */
#include "router/facts.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "router/detect_words.h"

const char *const facts_tasks[] = {"chat", "code", "math", "summarize", "extract", "classify", "translate",
    "rag", "agent", "embed", "rerank", NULL};

bool router_task_exists(struct str name)
{
    for (const char *const *t = facts_tasks; *t; t++)
        if (str_is(name, *t))
            return true;
    return false;
}

static const struct chat_message *last_user(const struct chat_request *r)
{
    for (size_t i = r->n_messages; i-- > 0;)
        if (r->messages[i].role == CHAT_USER)
            return &r->messages[i];
    return r->n_messages ? &r->messages[r->n_messages - 1] : NULL;
}

struct str facts_question(const struct chat_request *r, size_t most)
{
    const struct chat_message *m = r->has_prompt ? NULL : last_user(r);
    if (r->kind == CHAT_KIND_RERANK)
        return str_slice(r->query, 0, most);
    if (r->kind != CHAT_KIND_ANSWER || (r->has_prompt && r->n_inputs > 0))
        return r->n_inputs ? str_slice(r->inputs[0].text, 0, most) : STR_NONE;
    if (!m)
        return str_slice(r->prompt, 0, most);
    if (m->n_parts == 1)
        return str_slice(m->parts[0].text, 0, most);
    size_t total = 0;
    for (size_t i = 0; i < m->n_parts; i++)
        total += m->parts[i].text.len + 1;
    if (total > most)
        total = most;
    char *text = arena_try_alloc(r->arena, total + 1, 1);
    size_t n = 0;
    for (size_t i = 0; text && i < m->n_parts; i++) {
        struct str part = str_slice(m->parts[i].text, 0, total - n);
        if (part.len > 0)
            memcpy(text + n, part.data, part.len);
        n += part.len;
        if (n < total)
            text[n++] = '\n';
    }
    return (struct str){text, n};
}

/* Cues in lower case, a word's beginning each; in the languages that Weir knows. */
static const struct cue {
    const char *task;
    int weight;
    const char *words; /* comma-separated */
} cues[] = {
    {"translate", 6,
        "translate,translation,übersetz,Übersetz,traduis,tradui,traduc,traduci,vertaal,przetłumacz,tłumacz,"
        "traduz,how do you say,how do i say,wie sagt man,comment dit-on,cómo se dice,como se diz,come si dice,"
        "hoe zeg je,jak powiedzieć"},
    {"summarize", 6,
        "summar,tl;dr,tldr,zusammenfass,fasse,résum,resum,riassum,riepilog,samenvat,vat "
        "samen,streść,podsumuj,key points,main points,takeaways,gist of,in a nutshell,condense,"
        "kernaussagen,points clés,puntos clave,punti chiave,pontos principais"},
    {"classify", 5,
        "classify,classif,categor,sentiment,label each,klassifizier,ordne,clasific,sklasyfikuj,which of the "
        "following categories,which category,positive or negative,positiv oder negativ,spam or,is this spam,"
        "label the,tag each"},
    {"extract", 5,
        "extract,pull out,list all,find all,extrahier,extrai,extraer,estrai,haal,wyodrębnij,as json,into "
        "json,to csv,as csv,mentioned in,list every,json object,nenne alle,liste alle"},
    {"code", 4,
        "code,function,python,javascript,typescript,rust,java,golang,c++,sql,regex,bash,compile,stack "
        "trace,traceback,refactor,unit "
        "test,api,debug,script,program,bug,exception,dockerfile,kubernetes,git ,html,css,react "
        "component,react hook,react app,react native,reactjs,react.js,php,kotlin,npm,pip "
        "install,segfault,linux"},
    {"code", 6, "```,def ,#include,select *,import ,public static,</,const ,fn ,func "},
    {"math", 4,
        "solve,equation,integral,derivative,prove,proof,theorem,calculate,compute,probability,how many,how "
        "much,percent,matrix,löse,berechne,calcul,résou,calcola,bereken,oblicz,algebra,geometry,triangle,"
        "polynomial,square root,fraction of,ratio of,ratio between,average,sum of,area of,km/h,mph,speed of,its speed,average speed,what speed"},
    {"math", 6, "\\frac,\\int,\\sum,x^2,mod "},
    {"rag", 5,
        "context:,documents:,sources:,passage:,based on the following,using the context,given the "
        "context,according to the,retrieved"},
};

/* All cues are looked for at once. */
enum { MAX_CUES = 220 };
static struct {
    struct detect_words words;
    struct str cue[MAX_CUES];
    uint8_t of[MAX_CUES]; /* the row of `cues` */
    size_t n;
} table;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void table_make(void)
{
    struct error err = {0};
    for (size_t i = 0; i < sizeof cues / sizeof *cues; i++)
        for (struct str rest = str_from(cues[i].words), word; str_split(&rest, ',', &word); table.n++) {
            assert(table.n < MAX_CUES);
            table.cue[table.n] = word;
            table.of[table.n] = (uint8_t)i;
        }
    if (detect_words_build(&table.words, table.cue, table.n, &err))
        abort(); /* for want of memory, at the first question */
    detect_words_settle(&table.words);
}

static bool letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c & '\x80');
}

struct count {
    struct str text;
    int score[sizeof cues / sizeof *cues];
    bool met[MAX_CUES];
};

/* Each cue counts where it is first met: at a word's beginning, unless it is not a word. Near the beginning
 * or the end of the text it says more than in the midst of what was pasted. */
static bool cue_found(void *ctx, uint16_t cue, size_t at)
{
    struct count *c = ctx;
    for (uint16_t i = cue; i != DETECT_NO_WORD; i = table.words.shorter[i]) {
        size_t begin = at - table.cue[i].len;
        if (c->met[i] || (letter(table.cue[i].data[0]) && begin > 0 && letter(c->text.data[begin - 1])))
            continue;
        int weight = cues[table.of[i]].weight;
        c->met[i] = true;
        c->score[table.of[i]] += begin < 200 || c->text.len - begin < 200 ? weight : weight / 3;
    }
    return true;
}

static int scores_best(struct str text, const char **task)
{
    struct count c = {.text = text};
    int best = 0;
    pthread_once(&once, table_make);
    (void)detect_words_each(&table.words, text, cue_found, &c);
    for (size_t t = 0; facts_tasks[t]; t++) {
        int sum = 0;
        for (size_t i = 0; i < sizeof cues / sizeof *cues; i++)
            sum += strcmp(cues[i].task, facts_tasks[t]) == 0 ? c.score[i] : 0;
        if (sum > best) {
            best = sum;
            *task = facts_tasks[t];
        }
    }
    return best;
}

const char *facts_task_of(const struct chat_request *r, struct str question)
{
    enum { HEAD = 1500, TAIL = 500 };
    if (r->kind != CHAT_KIND_ANSWER)
        return r->kind == CHAT_KIND_EMBED ? "embed" : "rerank";
    for (size_t i = 0; i < r->n_messages; i++)
        if (r->messages[i].role == CHAT_TOOL || r->messages[i].n_tool_calls > 0)
            return "agent";
    if (json_array_size(json_object_get(r->vendor, "functions")) > 0)
        return "agent";
    if (r->n_tools > 0 && r->tool_choice != CHAT_TOOLS_NONE)
        return "agent";
    const char *task = "chat", *tail_task = "chat";
    int head = scores_best(str_slice(question, 0, HEAD), &task);
    if (question.len > HEAD &&
        scores_best(str_slice(question, question.len - TAIL, question.len), &tail_task) > head)
        task = tail_task;
    return task;
}
