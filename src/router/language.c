/* Which language a text is in: its script, then the small words that every sentence has. */
#include "router/facts.h"

#include <string.h>

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
    uint32_t c;
    for (size_t i = 0, n; i < text.len; i += n ? n : 1) {
        n = str_utf8_decode(str_slice(text, i, text.len), &c);
        if (n == 0 || (c < 0x80 && !((c | 32) >= 'a' && (c | 32) <= 'z')))
            continue;
        letters++;
        count[script_of(c)]++;
        ukrainian += c == 0x456 || c == 0x457 || c == 0x454 || c == 0x491;
    }
    if (count[KANA] * 10 > letters)
        return "ja";
    for (size_t s = 0; s < N_SCRIPTS; s++)
        if (letters > 0 && count[s] * 3 > letters)
            return s == CYRILLIC && ukrainian * 50 > count[s] ? "uk" : codes[s];
    return NULL;
}

static bool in_word(char c)
{
    return ((c | 32) >= 'a' && (c | 32) <= 'z') || (c & '\x80') || c == '\'';
}

static void word_count(const char *word, size_t n, int score[N_LATIN])
{
    char framed[20];
    if (n == 0 || n > 16)
        return;
    framed[0] = ' ';
    for (size_t i = 0; i < n; i++)
        framed[i + 1] = word[i] >= 'A' && word[i] <= 'Z' ? (char)(word[i] + 32) : word[i];
    framed[n + 1] = ' ';
    framed[n + 2] = '\0';
    for (size_t l = 0; l < N_LATIN; l++)
        score[l] += strstr(latin[l].words, framed) != NULL;
}

const char *facts_language_of(struct str text)
{
    const char *script = by_script(text);
    if (script)
        return script;
    int score[N_LATIN] = {0};
    for (size_t i = 0; i < text.len;) {
        size_t begin = i;
        while (i < text.len && in_word(text.data[i]))
            i++;
        word_count(text.data + begin, i - begin, score);
        i += i == begin;
    }
    size_t best = 0;
    for (size_t l = 1; l < N_LATIN; l++)
        if (score[l] > score[best])
            best = l;
    return score[best] > 0 ? latin[best].code : "other";
}
