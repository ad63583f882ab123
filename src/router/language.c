/* Which language a text is in: its script, then the small words that every sentence has. */
#include "router/facts.h"

#include <pthread.h>

#include "router/byte_map.h"

const char *const facts_languages[] = {"en", "de", "fr", "es", "it", "nl", "pl", "pt", "ru", "uk", "el", "ar",
    "he", "hi", "zh", "ja", "ko", "th", "other", NULL};

bool facts_language_exists(struct str code)
{
    for (const char *const *l = facts_languages; *l; l++)
        if (str_is(code, *l))
            return true;
    return false;
}

static const struct {
    const char *code;
    const char *words; /* with a space before and after each */
} latin[] = {
    {"en", " the and is of to in that it you for what how with are this be on not can have was a my i do "
           "which from "},
    {"de", " der die das und ist nicht ich ein eine zu den mit für auf wie was von sich es im dem auch wir "
           "sie bitte kannst "},
    {"fr", " le la les et est un une des du que je vous pour dans qui ne pas sur avec ce il nous sont mon "
           "comment au de quelle quel y à cette elle nos "},
    {"es", " el la los las y es un una de que en por para con no se su como lo del mi qué cómo más está son "
           "al "},
    {"it", " il la lo gli e è un una di che in per con non si mi del della come sono questo cosa ho al nel "
           "più dei "},
    {"nl", " de het een en is van ik je dat niet in op te voor met zijn er maar wat hoe aan ook naar kan "
           "mijn dit om "},
    {"pl",
        " i w na nie się jest to że z do jak co mi o a dla czy po od tym przez mój jestem są ten być oraz "},
    {"pt", " o a os as e é um uma de que em para com não se por do da como mais meu você está são no na isso "
           "dos "},
};
enum { N_LATIN = sizeof latin / sizeof *latin };

enum script { CYRILLIC, GREEK, ARABIC, HEBREW, DEVANAGARI, HAN, KANA, HANGUL, THAI, N_SCRIPTS };

static enum script script_of(uint32_t c)
{
    static const struct {
        uint32_t from, to;
        enum script script;
    } blocks[] = {{0x370, 0x3FF, GREEK}, {0x400, 0x52F, CYRILLIC}, {0x590, 0x5FF, HEBREW},
        {0x600, 0x6FF, ARABIC}, {0x900, 0x97F, DEVANAGARI}, {0xE00, 0xE7F, THAI}, {0x3040, 0x30FF, KANA},
        {0x4E00, 0x9FFF, HAN}, {0x3400, 0x4DBF, HAN}, {0xAC00, 0xD7A3, HANGUL}};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        if (c >= blocks[i].from && c <= blocks[i].to)
            return blocks[i].script;
    return N_SCRIPTS;
}

/* The script that holds more than a third of the letters, or NULL. Japanese mixes Kana with Han. */
static const char *by_script(struct str text)
{
    static const char *const codes[N_SCRIPTS] = {"ru", "el", "ar", "he", "hi", "zh", "ja", "ko", "th"};
    size_t count[N_SCRIPTS + 1] = {0}, letters = 0, ukrainian = 0;
    for (size_t block = 0, next = 0; block < text.len; block += 64) {
        uint64_t here[BYTE_CLASSES];
        byte_map_block(str_slice(text, block, block + 64), here);
        letters += (size_t)__builtin_popcountll(here[BYTE_LOWER] | here[BYTE_UPPER]);
        for (uint64_t bits = here[BYTE_HIGH]; bits; bits &= bits - 1) {
            uint32_t c;
            size_t i = block + byte_first(bits);
            size_t n = i < next ? 0 : str_utf8_decode(str_slice(text, i, text.len), &c);
            if (n == 0)
                continue;
            next = i + n;
            letters++;
            count[script_of(c)]++;
            ukrainian += c == 0x456 || c == 0x457 || c == 0x454 || c == 0x491;
        }
    }
    if (count[KANA] * 10 > letters)
        return "ja";
    for (size_t s = 0; s < N_SCRIPTS; s++)
        if (letters > 0 && count[s] * 3 > letters)
            return s == CYRILLIC && ukrainian * 50 > count[s] ? "uk" : codes[s];
    return NULL;
}

/* ---- The small words by their hash, with a bit for each language that has them. ---- */
enum { TABLE_SIZE = 1024 };
static struct {
    uint64_t hash; /* 0: free */
    unsigned languages;
} table[TABLE_SIZE];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static size_t slot_of(uint64_t hash)
{
    size_t i = hash % TABLE_SIZE;
    while (table[i].hash != hash && table[i].hash != 0)
        i = (i + 1) % TABLE_SIZE;
    return i;
}

static void table_make(void)
{
    for (unsigned l = 0; l < N_LATIN; l++)
        for (struct str rest = str_trim(str_from(latin[l].words)), word; str_split(&rest, ' ', &word);) {
            size_t slot = slot_of(str_hash(word));
            table[slot].hash = str_hash(word);
            table[slot].languages |= 1u << l;
        }
}

/* A letter or apostrophe in lower case (ASCII), NUL for what ends a word. */
static char in_word(char c)
{
    if ((c | 32) >= 'a' && (c | 32) <= 'z')
        return (char)(c | 32);
    return (c & '\x80') || c == '\'' ? c : '\0';
}

static void words_count(struct str text, size_t score[N_LATIN])
{
    char word[17]; /* they are all shorter */
    size_t n = 0;
    for (size_t i = 0; i <= text.len; i++) {
        char c = i < text.len ? in_word(text.data[i]) : '\0';
        if (c) {
            if (n < sizeof word)
                word[n++] = c;
            continue;
        }
        unsigned languages =
            n > 0 && n < sizeof word ? table[slot_of(str_hash((struct str){word, n}))].languages : 0;
        for (size_t l = 0; languages; l++, languages >>= 1)
            score[l] += languages & 1;
        n = 0;
    }
}

const char *facts_language_of(struct str text)
{
    const char *script = by_script(text);
    if (script)
        return script;
    size_t score[N_LATIN] = {0}, best = 0;
    pthread_once(&once, table_make);
    words_count(text, score);
    for (size_t l = 1; l < N_LATIN; l++)
        if (score[l] > score[best])
            best = l;
    return score[best] > 0 ? latin[best].code : "other";
}
