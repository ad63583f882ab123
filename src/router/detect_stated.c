/* Statements that are a value beside a word: a dose, a password that is asked about, a date of birth. */
#include "router/detect_context.h"

static struct str text_of(const struct detect_context *c, size_t from, size_t to)
{
    return str_slice(c->scan->text, c->words[from].start, c->words[to - 1].end);
}

/* "200mg", "0.5 mcg". */
static bool is_dose(const struct detect_context *c, size_t i)
{
    static const char *const units[] = {"mg", "mcg", "mikrogramm", "milligramm", "milligrams"};
    struct str word = text_of(c, i, i + 1);
    size_t digits = 0;
    if (!(c->words[i].flags & WORD_DIGIT))
        return false;
    while (digits < word.len && detect_is_digit(word.data[digits]))
        digits++;
    if (digits == word.len && i + 1 < c->n_words && c->words[i + 1].start - c->words[i].end <= 1)
        word = text_of(c, i + 1, i + 2);
    else
        word = str_slice(word, digits, word.len);
    for (size_t u = 0; u < sizeof units / sizeof *units; u++)
        if (str_is_nocase(word, units[u]))
            return true;
    return false;
}

/* "My son, 9, is on 200mg lamotrigine": whatever it is that somebody takes. */
bool detect_dose(const struct detect_context *c, const struct detect_atom *who, struct detect_atom *out)
{
    enum { WITHIN = 9 };
    for (size_t i = who->to; i < c->n_words && i < who->to + WITHIN; i++) {
        if (c->words[i].sentence != c->words[who->from].sentence || detect_word_is(&c->words[i], CUE(topic)))
            return false;
        if (is_dose(c, i)) {
            *out = (struct detect_atom){CUE(health), who->from, i + 1};
            return true;
        }
    }
    return false;
}

/* "WPA2-Enterprise", "ChaCha20-Poly1305": what is asked about most. */
static bool is_technique(struct str value)
{
    static const char *const begins[] = {"aes", "argon2", "bcrypt", "blake", "chacha", "core-i", "curve",
        "ecdsa", "ed25519", "iphone", "oauth", "openvpn", "pbkdf2", "postgres", "python", "rsa", "rtx",
        "scrypt", "secp", "sha", "ssl", "tls", "ubuntu", "usb", "windows", "wpa", "x25519"};
    bool is = false;
    for (size_t i = 0; i < sizeof begins / sizeof *begins && !is; i++)
        is = str_is_nocase(str_slice(value, 0, strlen(begins[i])), begins[i]);
    return is;
}

/* Small letters and digits, and so long as only what somebody made up is: "Harrowgate-Otter7". */
static bool may_be_password(struct str value)
{
    enum { LEAST = 9, MOST = 64 };
    size_t small = 0, digits = 0;
    for (size_t i = 0; i < value.len; i++) {
        small += detect_is_lower(value.data[i]);
        digits += detect_is_digit(value.data[i]);
    }
    return value.len >= LEAST && value.len <= MOST && small > 1 && digits > 0 && !is_technique(value);
}

/* The bytes between blanks that the word at i is in, or some of them where they are too many for a password.
 */
static struct str token_of(const struct detect_context *c, size_t i)
{
    enum { ENOUGH = 80 };
    const struct str text = c->scan->text;
    size_t from = c->words[i].start, to = c->words[i].end;
    while (from > 0 && to - from < ENOUGH && !detect_is_one_of(text.data[from - 1], " \t\r\n\"'`(,:"))
        from--;
    while (to < text.len && to - from < ENOUGH && !detect_is_one_of(text.data[to], " \t\r\n\"'`),:?"))
        to++;
    return str_slice(text, from, to);
}

/* "Is Harrowgate-Otter7 strong enough?", "... est assez solide": its words stand right before. */
bool detect_rated(const struct detect_context *c, const struct detect_atom *rated, struct str *password)
{
    size_t at = rated->from;
    while (at > 0 && rated->from - at < 2 && detect_word_is(&c->words[at - 1], CUE(copula)))
        at--;
    if (at == 0 || c->words[at - 1].sentence != c->words[rated->from].sentence)
        return false;
    *password = token_of(c, at - 1);
    return may_be_password(*password);
}

/* Does a sentence go on about something else: "... is my password manager"? */
static bool is_compound(const struct detect_context *c, size_t to)
{
    enum { SHORT = 4 }; /* for, voor, para, von */
    return to < c->n_words && !(c->words[to - 1].flags & (WORD_STOP | WORD_COMMA | WORD_LINE)) &&
           detect_word_length(&c->words[to]) > SHORT;
}

/* "Hutkoffer2014! is her password for ...", "... est mon mot de passe": it stands before what it is. */
bool detect_named_behind(
    const struct detect_context *c, const struct detect_atom *password, struct str *value)
{
    enum { WHOSE = 3, LEAST = 6 };
    size_t at = password->from, digits = 0, small = 0;
    bool whose = false;
    while (at > 1 && password->from - at < WHOSE && !detect_word_is(&c->words[at - 1], CUE(copula))) {
        at--;
        whose = whose || (c->words[at].kinds | c->words[at].begins) & (CUE(mine) | CUE(theirs));
    }
    if (!whose || at < 2 || !detect_word_is(&c->words[at - 1], CUE(copula)) || is_compound(c, password->to) ||
        c->words[at - 1].sentence != c->words[password->from].sentence)
        return false;
    *value = token_of(c, at - 2);
    for (size_t i = 0; i < value->len; i++) {
        small += detect_is_alpha(value->data[i]);
        digits += detect_is_digit(value->data[i]);
    }
    return value->len >= LEAST && small > 1 && digits > 0 && !is_technique(*value);
}

/* "My bank pin, 6093", "her phone's passcode 4417": the value stands right behind. */
bool detect_owned(const struct detect_context *c, const struct detect_atom *password)
{
    enum { BEFORE = 3 };
    const uint64_t whose = CUE(mine) | CUE(theirs) | CUE(kin);
    for (size_t i = password->from; i-- > 0 && password->from - i <= BEFORE &&
                                    c->words[i].sentence == c->words[password->from].sentence;)
        if ((c->words[i].kinds | c->words[i].begins) & whose)
            return true;
    return false;
}

/* Does a form's blank stand between that nobody filled in, or a sum? "Born at ______", "Contract 4+4"; not
 * "born: __3.4.1980__". */
static bool is_apart(const struct detect_context *c, size_t from, size_t to)
{
    const struct str gap = str_slice(c->scan->text, c->words[from].end, c->words[to].start);
    const bool blank = str_find(gap, STR("___")) != SIZE_MAX && !str_ends(gap, STR("_"));
    return blank || (c->words[from].flags & WORD_DIGIT && c->words[to].flags & WORD_DIGIT &&
                        str_find_char(gap, '+') != SIZE_MAX);
}

static bool is_letter_of(const struct detect_context *c, size_t i, char letter)
{
    const struct detect_word *w = &c->words[i];
    return detect_word_length(w) == 1 && c->scan->text.data[w->start] == letter &&
           detect_is_one_of(detect_byte(c->scan, w->end), ".)");
}

/* "A. 1935 B. 2000": what one is to choose from; not "as twin B. on 12.03.1985". */
static bool is_choice(const struct detect_context *c, size_t i)
{
    enum { WITHIN = 6 };
    bool second = false;
    for (size_t k = i + 2; is_letter_of(c, i, 'A') && k < c->n_words && k < i + WITHIN && !second; k++)
        second = is_letter_of(c, k, 'B');
    return second;
}

/* Two short numbers at least, or words of them, within seven words. */
bool detect_birth_date(
    const struct detect_context *c, const struct detect_atom *born, struct detect_atom *date)
{
    enum { WITHIN = 7, DIGITS = 4 };
    size_t parts = 0;
    *date = (struct detect_atom){CUE(dob), 0, 0};
    for (size_t i = born->to;
         i < c->n_words && i < born->to + WITHIN && !is_apart(c, i - 1, i) && !is_choice(c, i); i++)
        if (c->words[i].flags & WORD_DIGIT && detect_word_length(&c->words[i]) <= DIGITS) {
            date->from = parts++ ? date->from : i;
            date->to = i + 1;
        }
    return parts > 1;
}

/* Encyclopaedias write the month as a word, and of nobody who is the writer's. */
static bool is_of_a_figure(
    const struct detect_context *c, const struct detect_atom *born, const struct detect_atom *date)
{
    enum { AROUND = 24, MONTH = 3 };
    bool month = false;
    for (size_t i = date->from > born->to ? date->from - 1 : born->to; i < date->to; i++)
        month = month || (!(c->words[i].flags & WORD_DIGIT) && detect_word_length(&c->words[i]) >= MONTH);
    for (size_t i = date->from > AROUND ? date->from - AROUND : 0; i < c->n_words && i < date->to + AROUND;
         i++)
        if (c->words[i].sentence == c->words[date->from].sentence &&
            (c->words[i].kinds | c->words[i].begins) & (CUE(mine) | CUE(theirs) | CUE(kin)))
            return false;
    return month;
}

/* "Albert Einstein was born on ...": somebody known, on the same line and in the same sentence, and nobody
 * else named in between. */
static bool known_before(const struct detect_context *c, size_t at)
{
    enum { WITHIN = 5 };
    for (size_t i = at; i-- > 0 && at - i <= WITHIN && !(c->words[i].flags & (WORD_STOP | WORD_LINE));) {
        if (detect_atoms_cover(c, CUE(known), i, i + 1) > 0)
            return true;
        if (detect_word_is(&c->words[i], CUE(given) | CUE(surname) | CUE(both) | CUE(role)))
            return false;
    }
    return false;
}

bool detect_birth_told(
    const struct detect_context *c, const struct detect_atom *born, const struct detect_atom *date)
{
    enum { PLACE = 40 }; /* ", in Vienna" */
    static const char *const articles[] = {
        "a", "an", "the", "ein", "eine", "un", "une", "uno", "una", "een", "um", "uma"};
    const struct str text = c->scan->text;
    const size_t behind = c->words[date->to - 1].end;
    const size_t close = str_find_char(str_slice(text, behind, behind + PLACE), ')');
    size_t i = date->to;
    if (known_before(c, born->from))
        return true;
    if (close == SIZE_MAX || !is_of_a_figure(c, born, date) || c->words[born->from].start == 0 ||
        text.data[c->words[born->from].start - 1] != '(')
        return false;
    while (i < c->n_words && c->words[i].start < behind + close)
        i++;
    if (i + 1 >= c->n_words || !detect_word_is(&c->words[i], CUE(copula)))
        return false;
    for (size_t k = 0; k < sizeof articles / sizeof *articles; k++)
        if (str_is_nocase(text_of(c, i + 1, i + 2), articles[k]))
            return true;
    return false;
}

static bool is_among(const struct detect_context *c, size_t word, const char *const *list)
{
    const struct str text = word < c->n_words ? text_of(c, word, word + 1) : STR_NONE;
    while (*list && !str_is_nocase(text, *list))
        list++;
    return *list != NULL;
}

/* "has", "suffers": what a headline about one's own goes on with ("Husband Has ..."). */
static bool is_told_of(const struct detect_context *c, size_t word)
{
    static const char *const verbs[] = {"has", "had", "is", "was", "diagnosed", "suffers", "suffering",
        "takes", "taking", "needs", "got", "gets", "just", "died", "lost", "hat", "hatte", "ist", "war",
        "leidet", "nimmt", "a", "est", "souffre", "prend", "vient", "tiene", "tuvo", "est\xC3\xA1", "sufre",
        "padece", "toma", "ha", "\xC3\xA8", "soffre", "prende", "heeft", "lijdt", "slikt", "ma", "jest",
        "choruje", "cierpi", "bierze", "tem", "teve", "sofre", NULL};
    return is_among(c, word, verbs);
}

/* "Uncle Sam", "Papa Francesco", "Uncle Ben's rice"; not "Uncle Ben's cancer". */
static bool is_everybodys(const struct detect_context *c, const struct detect_atom *kin)
{
    static const char *const uncle[] = {"uncle", NULL}, *const sam[] = {"sam", NULL},
                             *const others[] = {"ben", "tom", NULL}, *const s[] = {"s", NULL},
                             *const papa[] = {"papa", NULL}, *const francesco[] = {"francesco", NULL};
    const size_t has = kin->to + 2;
    if (!is_among(c, kin->from, uncle))
        return is_among(c, kin->from, papa) && is_among(c, kin->to, francesco);
    if (is_among(c, kin->to, sam))
        return true;
    return is_among(c, kin->to, others) && is_among(c, kin->to + 1, s) &&
           !(has < c->n_words && (c->words[has].kinds | c->words[has].begins) & (CUE(ill) | CUE(health)));
}

/* "Uncle Rob", "oma Erna"; not who a convent calls so, nor Uncle Sam, unless he is ill himself. */
static bool has_name(const struct detect_context *c, const struct detect_atom *kin)
{
    static const char *const titles[] = {
        "mother", "father", "sister", "brother", "bruder", "schwester", NULL};
    return !is_among(c, kin->from, titles) &&
           detect_word_is(&c->words[kin->to], CUE(given) | CUE(both) | CUE(first)) &&
           (!is_everybodys(c, kin) || is_told_of(c, kin->to + 1));
}

/* "Mother Teresa", "Gran Canaria", "Sister chromatids", "Bro, why ...": not the writer's own. */
static bool is_other(const struct detect_context *c, const struct detect_atom *kin)
{
    static const char *const others[] = {"board", "bear", "bod", "brain", "c", "can", "cell", "cells",
        "chromatid", "chromatids", "comment", "companies", "company", "could", "do", "does", "how", "jokes",
        "nature", "pourquoi", "printer", "printers", "que", "qui", "should", "smear", "smears", "test",
        "tests", "tongue", "warum", "what", "when", "where", "which", "why", "wieso", NULL};
    const struct detect_word *next = &c->words[kin->to];
    if (next->flags & WORD_CAPITAL && !(next->flags & WORD_UPPER))
        return !((next->kinds | next->begins) & (CUE(ill) | CUE(health))) && !has_name(c, kin) &&
               !is_told_of(c, kin->to);
    return is_among(c, kin->to, others);
}

/* "dad has ...", "brother's lawyer": where a sentence begins so it is the writer's own; not "Mother: ...". */
bool detect_bare_kin(const struct detect_context *c, const struct detect_atom *a)
{
    return a->kinds & CUE(bare) && !(c->words[a->to - 1].flags & WORD_COLON) && a->to < c->n_words &&
           !detect_word_is(&c->words[a->to], CUE(particle)) && /* "wife of Bath" */
           !is_other(c, a) &&
           (a->from == 0 || c->words[a->from - 1].flags & (WORD_STOP | WORD_LINE | WORD_COLON | WORD_COMMA));
}

/* "password: SecureString! = null": a type that is declared, not a password that is told, and only where the
 * default says so: "password: TopSecretInput!" is one. */
static bool is_type(struct str word, struct str behind)
{
    static const char *const ends[] = {"String", "Int", "Bool", "Boolean", "Float", "Bytes", "Type", "Input"};
    bool is = false;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        is = is || str_ends(word, str_from(ends[i]));
    return is && str_starts(behind, STR("! ="));
}

/* "pass=ZubrzyceRano!": no digit, but a capital within and a sign behind, as words of texts and programs
 * seldom have. ('&' and '*' do stand behind those, in addresses and beside pointers.) */
bool detect_humped(const struct detect_context *c, const struct detect_word *w)
{
    const struct str text = c->scan->text, word = str_slice(text, w->start, w->end);
    bool hump = false;
    for (size_t i = 1; i < word.len; i++)
        hump = hump || (word.data[i - 1] >= 'a' && word.data[i - 1] <= 'z' && word.data[i] >= 'A' &&
                           word.data[i] <= 'Z');
    return hump && w->end < text.len && memchr("!#$%", text.data[w->end], 4) &&
           !is_type(word, str_slice(text, w->end, text.len));
}

/* "A 45-year-old woman", "an attorney": whom nobody knows. */
static bool is_introduced(const struct detect_context *c, size_t word)
{
    static const char *const somebody[] = {"woman", "man", "boy", "girl", "child", "infant", "baby",
        "toddler", "adolescent", "teenager", "person", "individual", "male", "female", "lady", "gentleman",
        "worker", "attorney", "lawyer", "farmer", "salesman", "saleswoman", NULL};
    static const char *const before[] = {"a", "an", "old", NULL};
    enum { MOST = 3, WITHIN = 3 };
    bool is = false;
    if (detect_word_length(&c->words[word]) <= MOST && is_among(c, word, before))
        for (size_t i = word + 1; i <= word + WITHIN && !is; i++)
            is = is_among(c, i, somebody);
    return is;
}

static bool is_asked_how_much(const struct detect_context *c, size_t word)
{
    static const char *const amounts[] = {"much", "many", NULL};
    return str_is_nocase(text_of(c, word, word + 1), "how") && is_among(c, word + 1, amounts);
}

bool detect_of_a_tale(const struct detect_context *c, size_t word, uint64_t whose, bool of_money)
{
    enum { BEFORE = 32, BEHIND = 64 };
    bool tale = false;
    for (size_t i = word; i-- > 0 && word - i <= BEFORE;) {
        if ((c->words[i].kinds | c->words[i].begins) & whose)
            return false;
        tale = tale || is_introduced(c, i);
    }
    for (size_t i = word; of_money && i < c->n_words && i < word + BEHIND && !tale; i++)
        tale = is_asked_how_much(c, i);
    return tale;
}

/* "I. Asthma", "(i) ...": a list's number stands before its item; "so do I. ...", "(I) am" is nobody's. */
static bool is_item(const struct detect_context *c, size_t word)
{
    static const char *const says[] = {"am", "m", "ve", "have", "had", "was", "feel", "felt", "suffer",
        "suffered", "take", "took", "got", "do", "did", "can", "will", "need", NULL};
    const struct detect_word *w = &c->words[word];
    const char behind = detect_byte(c->scan, w->end), before = detect_byte(c->scan, w->start - 1);
    if ((behind != ')' && behind != '.') || is_among(c, word + 1, says))
        return false;
    return word == 0 || before == '(' || before == '\n' ||
           w[-1].flags & (WORD_STOP | WORD_LINE | WORD_COLON | WORD_COMMA);
}

/* "type I error", "bipolar I disorder", "World War I"; not "at this stage I feel ...". */
static bool is_kind(const struct detect_context *c, size_t word)
{
    static const char *const numbered[] = {"type", "stage", "phase", "class", "war", "bipolar", "grade",
        "level", "part", "chapter", "group", NULL};
    static const char *const things[] = {"error", "errors", "disorder", "trial", "trials", "study", "studies",
        "clinical", "collagen", "and", "or", "to", "of", NULL};
    if (word == 0 || !is_among(c, word - 1, numbered))
        return false;
    return (word > 1 && str_is_nocase(text_of(c, word - 2, word - 1), "world")) || word + 1 == c->n_words ||
           !detect_is_one_of(detect_byte(c->scan, c->words[word].end), " '\xE2") ||
           is_among(c, word + 1, things) ||
           (c->words[word + 1].kinds | c->words[word + 1].begins) & (CUE(ill) | CUE(health));
}

bool detect_numeral(const struct detect_context *c, size_t word)
{
    return str_is_nocase(text_of(c, word, word + 1), "i") && (is_kind(c, word) || is_item(c, word));
}
