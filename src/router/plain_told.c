/* Numbers told in words: "four five three nine ...", "double four", "zero six douze trente-quatre", in eight
 * languages. A run of enough number words becomes digits, so that what has a form or check digits is found as
 * if it had been written so; what merely counts, or stands beside other words, stays.
 *
 *   card: four five three nine, double six ...      card: 453966...
 *         |               |                               |  |   joints: each digit is its word's
 */
#include <string.h>

#include "router/detect_id.h"
#include "router/detect_lexicon.h"
#include "router/plain.h"

enum {
    MOST = 48 /* signs of a number */,
    LEAST_WORDS = 5,
    LEAST_BESIDE = 4 /* words, beside the other digits of a card or an IBAN */,
    LEAST_DIGITS = 7,
    CARD_LEAST = 15,
    LONG = 19,
    IBAN_LEAST = 15,
    GAP = 3
};

/* What a word says: up to 99 its number. */
enum { TWICE = 100, THRICE, LINK, PART, PLUS, TELLS };

static const struct {
    unsigned char says;
    const char *words;
} lists[] = {{0, "zero oh o nought null nul cero"}, {1, "one eins ein un une uno una een jeden jedna um uma"},
    {2, "two zwei zwo deux dos due twee dwa dwie dois duas"}, {3, "three drei trois tres tre drie trzy"},
    {4, "four vier quatre cuatro quattro quatro cztery"}, {5, "five funf fuenf cinq cinco cinque vijf piec"},
    {6, "six sechs seis sei zes szesc meia"}, {7, "seven sieben sept siete sette zeven siedem sete"},
    {8, "eight acht huit ocho otto osiem oito"}, {9, "nine neun neuf nueve nove negen dziewiec"},
    {10, "ten zehn dix diez dieci tien dziesiec dez"}, {11, "eleven elf onze once undici jedenascie"},
    {12, "twelve zwolf zwoelf douze doce dodici twaalf dwanascie doze"},
    {13, "thirteen dreizehn treize trece tredici dertien trzynascie treze"},
    {14, "fourteen vierzehn quatorze catorce quattordici veertien czternascie catorze"},
    {15, "fifteen funfzehn fuenfzehn quinze quince quindici vijftien pietnascie"},
    {16, "sixteen sechzehn seize dieciseis sedici zestien szesnascie dezesseis dezasseis"},
    {17, "seventeen siebzehn diecisiete diciassette zeventien siedemnascie dezessete dezassete"},
    {18, "eighteen achtzehn dieciocho diciotto achttien osiemnascie dezoito"},
    {19, "nineteen neunzehn diecinueve diciannove negentien dziewietnascie dezenove dezanove"},
    {20, "twenty vingt vingts veinte dwadziescia vinte"}, {21, "veintiuno"}, {22, "veintidos"},
    {23, "veintitres"}, {24, "veinticuatro"}, {25, "veinticinco"}, {26, "veintiseis"}, {27, "veintisiete"},
    {28, "veintiocho"}, {29, "veintinueve"}, {30, "thirty trente treinta trzydziesci"},
    {40, "forty quarante cuarenta czterdziesci quarenta"},
    {50, "fifty cinquante cincuenta piecdziesiat cinquenta"},
    {60, "sixty soixante sesenta szescdziesiat sessenta"}, {70, "seventy septante setenta siedemdziesiat"},
    {80, "eighty huitante octante ochenta osiemdziesiat oitenta"},
    {90, "ninety nonante noventa dziewiecdziesiat"},
    {TWICE, "double doppel doble doppio doppia dubbel podwojne podwojna podwojny duplo dobro"},
    {THRICE, "triple dreifach triplo tripla tripel potrojne potrojna potrojny"}, {LINK, "and y et e en und"},
    {PART, "then dash hyphen space dann strich bindestrich puis tiret luego guion poi trattino dan streepje "
           "potem myslnik depois traco"},
    {PLUS, "plus mas piu mais"}};

/* Words that are made of a ten and a one: "vierundvierzig", "vierenveertig", "quarantaquattro". */
static const struct {
    const char *tens, *ones, *between;
    bool ten_first;
} made[] = {{"zwanzig dreissig vierzig funfzig sechzig siebzig achtzig neunzig",
                "ein zwei drei vier funf sechs sieben acht neun", "und", false},
    {"twintig dertig veertig vijftig zestig zeventig tachtig negentig",
        "een twee drie vier vijf zes zeven acht negen", "en", false},
    {"venti trenta quaranta cinquanta sessanta settanta ottanta novanta",
        "uno due tre quattro cinque sei sette otto nove", "", true}};

enum { PLACES = 1024 /* some 330 words */ };
static struct {
    uint64_t hash;
    unsigned char says;
} known[PLACES];

static size_t place_of(uint64_t hash)
{
    size_t at = hash % PLACES;
    while (known[at].hash != 0 && known[at].hash != hash)
        at = (at + 1) % PLACES;
    return at;
}

static void word_know(struct str word, unsigned says)
{
    const uint64_t hash = detect_word_hash(word);
    const size_t at = place_of(hash);
    known[at].hash = hash;
    known[at].says = (unsigned char)says;
}

static void made_know(size_t which, struct str ten, unsigned tens)
{
    char word[32];
    struct str ones = str_from(made[which].ones), one;
    word_know(ten, tens);
    for (unsigned n = 1; str_split(&ones, ' ', &one); n++) {
        const bool cut = made[which].ten_first && (n == 1 || n == 8); /* "quarantuno", "quarantotto" */
        const struct str first = made[which].ten_first ? str_slice(ten, 0, ten.len - cut) : one;
        const struct str last = made[which].ten_first ? one : ten, between = str_from(made[which].between);
        memcpy(word, first.data, first.len);
        memcpy(word + first.len, between.data, between.len);
        memcpy(word + first.len + between.len, last.data, last.len);
        word_know((struct str){word, first.len + between.len + last.len}, tens + n);
    }
}

void plain_told_init(void)
{
    struct str words, word;
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        for (words = str_from(lists[i].words); str_split(&words, ' ', &word);)
            word_know(word, lists[i].says);
    for (size_t i = 0; i < sizeof made / sizeof *made; i++) {
        unsigned tens = 20;
        for (words = str_from(made[i].tens); str_split(&words, ' ', &word); tens += 10)
            made_know(i, word, tens);
    }
}

/* ---- A number that is being told. ---- */
struct sign {
    char c;
    bool parted; /* a comma, a line's end or "then" stands before it */
    size_t start, end;
};

struct told {
    struct str text;
    struct buf *out;
    struct plain_joints *joints;
    size_t kept;            /* what stands before is in `out` */
    struct sign sign[MOST]; /* of the number so far */
    size_t n, n_words;      /* its signs; the number words among what they were told with */
    size_t digits;
    unsigned times; /* "double" */
    size_t times_start;
    size_t ten;      /* the sign of a ten that a one may follow; SIZE_MAX: none */
    bool link, part; /* "and" behind a ten; the next sign stands apart */
    bool counts;     /* "one two three" */
    unsigned last;   /* number, for that */
    int step;
    size_t end; /* the last word's */
};

static void told_begin(struct told *t)
{
    t->n = t->n_words = t->digits = 0;
    t->times = 1;
    t->ten = SIZE_MAX;
    t->link = t->part = false;
    t->counts = true;
    t->step = 0;
}

/* May it be a number that somebody has? "One, two, three, four ..." is none. */
static bool told_says(const struct told *t)
{
    const size_t least = t->digits >= CARD_LEAST ? LEAST_BESIDE : LEAST_WORDS;
    return t->n_words >= least && t->digits >= LEAST_DIGITS && !t->counts;
}

static void char_put(struct told *t, char c, size_t there)
{
    plain_joint_add(t->joints, t->out->len, there);
    buf_append_char(t->out, c);
}

/* Where the area ends of the national telephone number that begins with that sign; 0: none does, as in an
 * IBAN. */
static size_t area_end(const struct told *t, size_t from)
{
    enum { AREA = 4, LEAST = 9, MOST_OF_IT = 11, LETTERS = 3 /* "I", "OK" beside it */ };
    size_t n = 0;
    while (from + n < t->n && detect_is_digit(t->sign[from + n].c))
        n++;
    const bool fits = n >= LEAST && n <= MOST_OF_IT && t->n - t->digits <= LETTERS;
    return fits && t->sign[from].c == '0' && t->sign[from + 1].c != '0' ? from + AREA : 0;
}

/* The signs of the IBAN that it begins with; 0: with none. */
static size_t iban_end(const struct told *t)
{
    char compact[MOST];
    for (size_t i = 0; i < t->n; i++)
        compact[i] = t->sign[i].c;
    for (size_t n = t->n; n >= IBAN_LEAST && detect_is_upper(compact[0]) && detect_is_upper(compact[1]); n--)
        if (detect_check_iban(compact, n))
            return n;
    return 0;
}

/* Where the card ends, or begins, that stands in a run of more digits: "... four eight six, one two three" is
 * its code. 0: none does. */
static size_t card_edge(const struct told *t, size_t from)
{
    enum { CARD = 16 };
    char digits[MOST];
    size_t n = 0;
    while (from + n < t->n && detect_is_digit(t->sign[from + n].c)) {
        digits[n] = t->sign[from + n].c;
        n++;
    }
    if (n <= CARD)
        return 0;
    if (digits[0] >= '2' && digits[0] <= '6' && detect_check_luhn(digits, CARD))
        return from + CARD;
    const size_t last = n - CARD;
    return digits[last] >= '2' && digits[last] <= '6' && detect_check_luhn(digits + last, CARD) ? from + last
                                                                                                : 0;
}

/* Letters stand apart from digits but in an IBAN, an area from the rest, and what is too long for a card
 * keeps its parts. */
static void signs_put(struct told *t)
{
    const size_t whole = iban_end(t);
    size_t area = 0;
    for (size_t i = 0; i < t->n; i++) {
        const struct sign *s = &t->sign[i];
        const bool digit = detect_is_digit(s->c), first = i == 0 || digit != detect_is_digit(s[-1].c);
        area = digit && first ? area_end(t, i) + card_edge(t, i) : area; /* no number has both */
        const bool apart = (first && s[-(i > 0)].c != '+') || i == area || (s->parted && t->digits > LONG);
        if (i > 0 && s->start != s[-1].start && (i == whole || (i > whole && apart)))
            char_put(t, ' ', s[-1].end);
        if (i == 0 || s->start != s[-1].start)
            plain_joint_add(t->joints, t->out->len, s->start);
        buf_append_char(t->out, s->c);
        if (i + 1 == t->n || s[1].start != s->start)
            plain_joint_add(t->joints, t->out->len, s->end);
    }
}

static void told_end(struct told *t)
{
    if (told_says(t)) {
        buf_append_str(t->out, str_slice(t->text, t->kept, t->sign[0].start));
        signs_put(t);
        t->kept = t->sign[t->n - 1].end;
    }
    told_begin(t);
}

static void sign_add(struct told *t, char c, size_t start, size_t end)
{
    if (t->n == MOST)
        told_end(t);
    t->sign[t->n++] = (struct sign){c, t->part, start, end};
    t->digits += detect_is_digit(c);
    t->part = false;
}

/* Does the number change the ten that was told before it: "forty five", "soixante-quinze"? */
static bool ten_goes_on(struct told *t, unsigned number, size_t end)
{
    struct sign *ten = t->ten == SIZE_MAX ? NULL : &t->sign[t->ten];
    const unsigned first = ten ? (unsigned)(ten->c - '0') : 0;
    const struct str word = ten ? str_slice(t->text, ten->start, ten->start + 3) : STR_NONE;
    const bool french =
        (first == 6 && str_is_nocase(word, "soi")) || (first == 8 && str_is_nocase(word, "qua"));
    if (!ten || number == 0 || number > (french ? 19 : 9))
        return false;
    ten[0].c = (char)('0' + first + number / 10);
    ten[1].c = (char)('0' + number % 10);
    ten[0].end = ten[1].end = end;
    t->ten = SIZE_MAX;
    return true;
}

static void number_add(struct told *t, unsigned number, size_t start, size_t end)
{
    const int step = (int)number - (int)t->last;
    t->n_words++;
    t->counts = t->counts && t->times == 1 && (t->n_words < 3 || step == t->step);
    t->step = t->n > 0 ? step : 0;
    t->last = number;
    if (t->times == 1 && ten_goes_on(t, number, end)) {
        t->counts = false;
    } else if (t->n > 0 && t->sign[t->n - 1].c == '4' && !t->part &&
               str_is_nocase(str_slice(t->text, start, start + 5), "vingt")) { /* "quatre-vingt" */
        t->sign[t->n - 1] = (struct sign){'8', false, t->sign[t->n - 1].start, end};
        sign_add(t, '0', t->sign[t->n - 1].start, end);
        t->ten = t->n - 2;
    } else {
        const size_t from = t->times > 1 ? t->times_start : start;
        for (unsigned i = 0; i < t->times; i++) {
            if (number > 9)
                sign_add(t, (char)('0' + number / 10), from, end);
            sign_add(t, (char)('0' + number % 10), from, end);
        }
        t->ten = t->times == 1 && number > 19 && number % 10 == 0 && t->n > 1 ? t->n - 2 : SIZE_MAX;
    }
    t->times = 1;
    t->link = false;
    t->end = end;
}

/* What is between two words of one number: blanks, a comma, a line's end, a hyphen. */
static bool gap_goes_on(struct told *t, size_t from, size_t to)
{
    if (to - from > GAP)
        return false;
    for (size_t i = from; i < to; i++) {
        if (!detect_is_one_of(t->text.data[i], " -,.\n/"))
            return false;
        if (detect_is_one_of(t->text.data[i], ",.\n/")) {
            t->part = true;
            t->ten = SIZE_MAX;
        }
    }
    return true;
}

/* "4" among words; "DE", "N L": of an IBAN. */
static bool signs_add(struct told *t, const struct detect_word *w)
{
    enum { LETTERS = 4 };
    const size_t length = w->end - w->start;
    if (length > LETTERS || t->times > 1)
        return false;
    for (size_t i = w->start; i < w->end; i++)
        if (!detect_is_digit(t->text.data[i]) && !detect_is_upper(t->text.data[i]))
            return false;
    for (size_t i = w->start; i < w->end; i++)
        sign_add(t, t->text.data[i], i, i + 1);
    t->counts = t->link = false;
    t->ten = SIZE_MAX;
    t->end = w->end;
    return true;
}

static void word_take(struct told *t, const struct detect_word *w)
{
    const size_t at = place_of(w->hash);
    const unsigned says = known[at].hash ? known[at].says : TELLS;
    if (t->n + (t->times > 1) > 0 && !gap_goes_on(t, t->end, w->start))
        told_end(t);
    if (says < TWICE) {
        number_add(t, says, w->start, w->end);
    } else if (says == TWICE || says == THRICE) {
        t->times = says == TWICE ? 2 : 3;
        t->times_start = w->start;
        t->end = w->end;
    } else if (says == LINK && t->ten != SIZE_MAX && !t->link) {
        t->link = true;
        t->end = w->end;
    } else if (says == PART && t->n > 0) {
        t->part = true;
        t->ten = SIZE_MAX;
        t->end = w->end;
    } else if (says == PLUS) {
        told_end(t);
        sign_add(t, '+', w->start, w->end);
        t->end = w->end;
    } else if (!signs_add(t, w)) {
        told_end(t);
    }
}

int router_plain_told(const struct byte_map *m, struct buf *out, struct plain_joints *joints, bool *changed)
{
    enum { AT_ONCE = 128 };
    struct detect_word words[AT_ONCE];
    struct told t = {.text = m->text, .out = out, .joints = joints};
    size_t at = 0, n;
    unsigned sentence = 0;
    told_begin(&t);
    do {
        n = detect_words_read(m, &at, &sentence, words, AT_ONCE);
        for (size_t i = 0; i < n && !out->failed; i++)
            word_take(&t, &words[i]);
    } while (n == AT_ONCE && !out->failed);
    told_end(&t);
    *changed = t.kept > 0;
    if (*changed)
        buf_append_str(out, str_slice(m->text, t.kept, m->text.len));
    return out->failed;
}
