/* What begins with a digit, '+' or '(': payment cards, telephone numbers, US social security numbers. */
#include <string.h>
#include <strings.h>

#include "router/detect_id.h"

static const struct detect_type card = {"CREDIT_CARD", ROUTER_FINANCIAL, "a card number", 8};
static const struct detect_type phone = {"PHONE_NUMBER", ROUTER_PII, "a telephone number", 2};
static const struct detect_type ssn = {"US_SSN", ROUTER_PII, "a US social security number", 6};
const struct detect_family detect_numbers_family = {"structured", DETECT_TYPES(&card, &phone, &ssn)};

/* Groups of digits with single separators between them:
 *
 *   "0151 555-01234"  ->  groups 4, 3, 5; separators -, ' ', '-'; digits "015155501234"           */
enum { MAX_DIGITS = 20, MAX_GROUPS = 8 };
struct number {
    char digits[MAX_DIGITS + 1];
    size_t n_digits;
    struct {
        size_t digits, end; /* how many, and the byte after the last */
        char separator;     /* before the group; NUL for the first */
    } group[MAX_GROUPS];
    size_t n_groups;
    size_t start;
    bool cut; /* the digits went on beyond what fits */
};

size_t detect_separator(const struct detect_scan *s, size_t at, char *kind)
{
    char c = detect_byte(s, at), c1 = detect_byte(s, at + 1), c2 = detect_byte(s, at + 2);
    *kind = c;
    if (c == ' ' || c == '-' || c == '.' || c == '/')
        return 1;
    *kind = ' ';
    if (c == '\xC2' && c1 == '\xA0') /* no-break space */
        return 2;
    if (c == '\xE2' && c1 == '\x80' && (c2 == '\x89' || c2 == '\xAF')) /* thin spaces */
        return 3;
    *kind = '-';
    if (c == '\xE2' && c1 == '\x80' && c2 >= '\x90' && c2 <= '\x94') /* hyphens and dashes */
        return 3;
    return 0;
}

/* Takes one run of digits into a new group; false if there is none or no room. */
static bool group_read(const struct detect_scan *s, struct number *n, size_t at, char separator)
{
    size_t end = at;
    while (detect_is_digit(detect_byte(s, end)) && end - at <= MAX_DIGITS)
        end++;
    if (end == at)
        return false;
    if (n->n_groups == MAX_GROUPS || n->n_digits + (end - at) > MAX_DIGITS) {
        n->cut = true;
        return false;
    }
    memcpy(n->digits + n->n_digits, s->text.data + at, end - at);
    n->n_digits += end - at;
    n->group[n->n_groups].digits = end - at;
    n->group[n->n_groups].end = end;
    n->group[n->n_groups].separator = separator;
    n->n_groups++;
    return true;
}

/* Reads on from `at` after the groups already there. A group that runs into a letter is not one. */
static void groups_read(const struct detect_scan *s, struct number *n, size_t at, char separator)
{
    while (group_read(s, n, at, separator)) {
        size_t end = n->group[n->n_groups - 1].end;
        size_t skip = detect_separator(s, end, &separator);
        if (skip == 0)
            break;
        at = end + skip;
    }
}

static void groups_drop(struct number *n, size_t keep)
{
    while (n->n_groups > keep)
        n->n_digits -= n->group[--n->n_groups].digits;
    n->digits[n->n_digits] = '\0';
}

static struct str digits_of(const struct number *n)
{
    return (struct str){n->digits, n->n_digits};
}

/* May a number end here? Not inside a word or a longer run of digits. */
static bool ends(const struct detect_scan *s, size_t at)
{
    char c = detect_byte(s, at);
    return !detect_is_alnum(c) && c != '_';
}

/* Words that announce a number, in the order of their first letters; where each letter's begin (ASCII case
 * does not tell). */
struct word_list {
    const char *words[40];
    uint8_t first[33];
};
static struct word_list card_words = {.words = {"card", "cards", "cc", "carte", "carta", "cartão", "karte",
                                          "kaart", "karta", "maestro", "tarjeta"}},
                        ssn_words = {.words = {"ssn", "ssns"}}, social_words = {.words = {"social"}},
                        security_words = {.words = {"security"}},
                        phone_words = {
                            .words = {"cell", "cellphone", "cellulare", "call", "contact", "desk", "dial",
                                "fax", "gsm", "handy", "kom", "komórka", "mobile", "mobil", "móvil", "movil",
                                "messages", "numer", "office", "phone", "portable", "ph", "ring", "rufnummer",
                                "sms", "signal", "tel", "telephone", "telefon", "téléphone", "telefono",
                                "teléfono", "telefone", "telefoon", "text", "telemóvel", "whatsapp"}};

void detect_number_init(void)
{
    struct word_list *const lists[] = {&card_words, &ssn_words, &social_words, &security_words, &phone_words};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        for (size_t letter = 0, n = 0; letter < 32; letter++) {
            lists[i]->first[letter] = (uint8_t)n;
            while (lists[i]->words[n] && ((size_t)lists[i]->words[n][0] & 31) == letter)
                n++;
            lists[i]->first[letter + 1] = (uint8_t)n;
        }
}

/* Is one of `list` among the 32 bytes before? */
static bool announced(const struct detect_scan *s, size_t at, const struct word_list *list)
{
    size_t i = at > 32 ? at - 32 : 0;
    while (i < at) {
        while (i < at && !detect_is_alpha(s->text.data[i]) && !(s->text.data[i] & '\x80'))
            i++;
        size_t begin = i;
        while (i < at && (detect_is_alpha(s->text.data[i]) || (s->text.data[i] & '\x80')))
            i++;
        size_t letter = begin < i ? (size_t)s->text.data[begin] & 31 : 0;
        for (size_t w = list->first[letter]; w < list->first[letter + 1]; w++)
            if (str_is_nocase(str_slice(s->text, begin, i), list->words[w]))
                return true;
    }
    return false;
}

/* ---- Cards (ISO/IEC 7812): who may have issued it, how it is written, Luhn's check digit. ---- */
static bool issuer_plausible(struct str digits)
{
    static const struct {
        int from, to; /* of the first four digits */
        size_t least, most;
    } issuers[] = {
        {1000, 1999, 15, 15}, /* UATP; 1800 JCB */
        {2131, 2131, 15, 15}, /* JCB */
        {2200, 2204, 16, 19}, /* Mir */
        {2221, 2720, 16, 16}, /* Mastercard */
        {3000, 3059, 14, 19}, {3095, 3095, 14, 19}, {3600, 3699, 14, 19}, {3800, 3999, 14, 19}, /* Diners */
        {3400, 3499, 15, 15}, {3700, 3799, 15, 15}, /* American Express */
        {3528, 3589, 16, 19},                       /* JCB */
        {3500, 3599, 16, 16}, {4000, 4999, 13, 13}, {4000, 4999, 16, 16}, {4000, 4999, 19, 19}, /* Visa */
        {5100, 5599, 16, 16}, /* Mastercard */
        {5000, 5099, 12, 19}, {5600, 5899, 12, 19},
        {6000, 6999, 12, 19},                       /* Maestro, Discover, UnionPay, RuPay */
        {8100, 8199, 16, 19}, {9792, 9792, 16, 16}, /* RuPay, Troy */
    };
    int head = 0;
    for (size_t i = 0; i < 4; i++)
        head = head * 10 + (digits.data[i] - '0');
    for (size_t i = 0; i < sizeof issuers / sizeof *issuers; i++)
        if (head >= issuers[i].from && head <= issuers[i].to && digits.len >= issuers[i].least &&
            digits.len <= issuers[i].most)
            return true;
    return false;
}

/* One run; fours with a shorter last group; 4-6-5 and 4-6-4; one kind of separator. */
static bool card_grouping(const struct number *n)
{
    if (n->n_groups == 1)
        return true;
    for (size_t i = 2; i < n->n_groups; i++)
        if (n->group[i].separator != n->group[1].separator)
            return false;
    if (n->n_groups == 3 && n->group[0].digits == 4 && n->group[1].digits == 6)
        return n->group[2].digits == 5 || n->group[2].digits == 4;
    for (size_t i = 0; i + 1 < n->n_groups; i++)
        if (n->group[i].digits != 4)
            return false;
    return n->group[n->n_groups - 1].digits <= 4;
}

/* Where it is said to be one, it may be written as anybody likes: 8-8, 5-5-6, in pairs. */
static bool card_announced(const struct detect_scan *s, const struct number *n)
{
    for (size_t i = 2; i < n->n_groups; i++)
        if (n->group[i].separator != n->group[1].separator)
            return false;
    return announced(s, n->start, &card_words);
}

static bool card_check(struct detect_scan *s, const struct number *whole)
{
    for (size_t keep = whole->n_digits < 12 ? 0 : whole->n_groups; keep > 0; keep--) {
        struct number n = *whole;
        groups_drop(&n, keep);
        size_t end = n.group[keep - 1].end;
        if (n.n_digits > 19 || (keep == whole->n_groups && !ends(s, end)))
            continue;
        if (n.n_digits < 12 || (n.n_digits == 12 && !announced(s, n.start, &card_words)))
            return false;
        if (!(card_grouping(&n) || card_announced(s, &n)) || !issuer_plausible(digits_of(&n)) ||
            !detect_check_luhn(n.digits, n.n_digits))
            continue;
        detect_add(s, &card, n.start, end, detect_known_card(digits_of(&n)) ? 0.3 : 1.0);
        return true;
    }
    return false;
}

/* "4539 - 5787 - 6362 - 1486": four groups with the same wider gap between each. */
static void card_wide_check(struct detect_scan *s, const struct number *first)
{
    enum { GROUPS = 4, GROUP = 4, GAP = 5 };
    char digits[GROUPS * GROUP];
    size_t at = first->start, end = first->group[0].end, gap = 0;
    while (gap <= GAP &&
           (detect_is_one_of(detect_byte(s, end + gap), " -_.|") || detect_byte(s, end + gap) & '\x80'))
        gap++;
    if (gap == 0 || gap > GAP)
        return;
    for (size_t g = 0; g < GROUPS; g++, at += GROUP + gap) {
        for (size_t i = 0; i < GROUP; i++) {
            digits[g * GROUP + i] = detect_byte(s, at + i);
            if (!detect_is_digit(digits[g * GROUP + i]))
                return;
        }
        if (g > 0 && memcmp(s->text.data + at - gap, s->text.data + end, gap) != 0)
            return;
    }
    const struct str all = {digits, sizeof digits};
    at -= gap;
    if (ends(s, at) && issuer_plausible(all) && detect_check_luhn(digits, sizeof digits))
        detect_add(s, &card, first->start, at, detect_known_card(all) ? 0.3 : 1.0);
}

/* ---- US social security numbers: 3-2-4 or announced, no area 000, 666 or 900-999, no group 00, no serial
 * 0000. ---- */
static bool ssn_plausible(const char *d)
{
    return memcmp(d, "000", 3) != 0 && memcmp(d, "666", 3) != 0 && d[0] != '9' &&
           memcmp(d + 3, "00", 2) != 0 && memcmp(d + 5, "0000", 4) != 0;
}

/* Nine digits in one run, where a word before them says what they are. */
static bool ssn_bare_check(struct detect_scan *s, const struct number *n)
{
    const char *d = n->digits;
    size_t end = n->group[0].end;
    if (n->group[0].digits != 9 || !ends(s, end) || !ssn_plausible(d) ||
        !(announced(s, n->start, &ssn_words) ||
            (announced(s, n->start, &social_words) && announced(s, n->start, &security_words))))
        return false;
    detect_add(s, &ssn, n->start, end, detect_known_ssn((struct str){d, 9}) ? 0.2 : 0.6);
    return true;
}

static bool ssn_check(struct detect_scan *s, const struct number *n)
{
    if (n->n_groups < 3 || n->group[0].digits != 3 || n->group[1].digits != 2 || n->group[2].digits != 4)
        return false;
    char separator = n->group[1].separator;
    size_t end = n->group[2].end;
    const char *d = n->digits;
    if (separator != n->group[2].separator || (separator != '-' && separator != ' ') || !ends(s, end))
        return false;
    if (!ssn_plausible(d))
        return false;
    if (separator == '-' && detect_byte(s, end) == '-' && detect_is_digit(detect_byte(s, end + 1)))
        return false;
    bool known = detect_known_ssn((struct str){d, 9});
    detect_add(s, &ssn, n->start, end, known ? 0.2 : separator == '-' ? 0.85 : 0.6);
    return true;
}

/* ---- Telephone numbers (ITU-T E.164, national habits). ---- */

/* Digits after the country code. Codes not here: 6 to 12. */
static const struct {
    const char *code;
    size_t least, most;
} countries[] = {{"1", 10, 10}, {"7", 10, 10}, {"20", 8, 10}, {"27", 9, 9}, {"30", 10, 10}, {"31", 9, 9},
    {"32", 8, 9}, {"33", 9, 9}, {"34", 9, 9}, {"36", 8, 9}, {"39", 6, 11}, {"40", 9, 9}, {"41", 9, 9},
    {"43", 6, 13}, {"44", 9, 10}, {"45", 8, 8}, {"46", 7, 10}, {"47", 8, 8}, {"48", 9, 9}, {"49", 6, 12},
    {"51", 8, 9}, {"52", 10, 11}, {"54", 10, 11}, {"55", 10, 11}, {"56", 9, 9}, {"57", 8, 10}, {"58", 10, 10},
    {"60", 8, 10}, {"61", 9, 9}, {"62", 8, 12}, {"63", 8, 10}, {"64", 8, 10}, {"65", 8, 8}, {"66", 8, 9},
    {"81", 9, 10}, {"82", 8, 10}, {"84", 9, 10}, {"86", 10, 11}, {"90", 10, 10}, {"91", 10, 10},
    {"92", 9, 10}, {"98", 10, 10}};

/* How many of `digits` may belong to the number of that country; false for a code that nobody has. */
static bool country_lengths(const char *digits, size_t *least, size_t *most)
{
    for (size_t i = 0; i < sizeof countries / sizeof *countries; i++) {
        size_t code = strlen(countries[i].code);
        if (strncmp(digits, countries[i].code, code) == 0) {
            *least = code + countries[i].least;
            *most = code + countries[i].most;
            return true;
        }
    }
    static const char three_digits[] =
        " 21 22 23 24 25 26 29 35 37 38 42 50 59 67 68 69 80 85 87 88 96 97 99 ";
    char two[5] = {' ', digits[0], digits[1], ' ', '\0'};
    *least = 9;
    *most = 15;
    if (strstr(three_digits, two))
        return true;
    static const char others[] = " 53 93 94 95 ";
    return strstr(others, two) != NULL;
}

static bool nanp_plausible(const char *d)
{
    bool area = d[0] >= '2' && d[1] <= '8', exchange = d[3] >= '2' && !(d[4] == '1' && d[5] == '1');
    return area && exchange;
}

/* Lines that belong to services, not to people. */
static bool nanp_toll_free(const char *d)
{
    return d[0] == '8' && d[1] == d[2] && (d[1] == '0' || (d[1] >= '3' && d[1] <= '8'));
}

/* "x459", "ext. 12" behind a number; returns where it ends. */
static size_t extension_end(const struct detect_scan *s, size_t at)
{
    static const char *const marks[] = {"x", " x", " ext. ", " ext.", " ext ", "ext"};
    char c = detect_byte(s, at) == ' ' ? detect_byte(s, at + 1) : detect_byte(s, at);
    if ((c | 0x20) != 'x' && (c | 0x20) != 'e')
        return at;
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++) {
        size_t from = at + strlen(marks[i]), digits = 0;
        if (!str_is_nocase(str_slice(s->text, at, from), marks[i]))
            continue;
        while (digits < 7 && detect_is_digit(detect_byte(s, from + digits)))
            digits++;
        if (digits > 0 && digits < 7 && ends(s, from + digits))
            return from + digits;
    }
    return at;
}

static bool phone_add(struct detect_scan *s, size_t start, size_t end, double score)
{
    end = extension_end(s, end);
    if (!ends(s, end))
        return false;
    detect_add(s, &phone, start, end, score);
    return true;
}

/* Skips " (0)", one separator, or brackets between the groups of an international number. */
static size_t international_gap(const struct detect_scan *s, size_t at, bool *zero)
{
    char kind;
    size_t from = at;
    at += detect_separator(s, at, &kind);
    *zero = detect_byte(s, at) == '(' && detect_byte(s, at + 1) == '0' && detect_byte(s, at + 2) == ')';
    if (*zero)
        at += 3;
    else if (detect_byte(s, at) == '(' || detect_byte(s, at) == ')')
        at++;
    if (at > from)
        at += detect_separator(s, at, &kind);
    return at;
}

/* "+41 (0)96 471 07 95", "0049 ...": the country code's digits begin at `at`. */
static bool international_check(struct detect_scan *s, size_t start, size_t at)
{
    struct number n = {.start = start};
    bool zero;
    while (group_read(s, &n, at, ' '))
        at = international_gap(s, n.group[n.n_groups - 1].end, &zero);
    size_t least, most;
    if (n.n_digits < 8 || n.digits[0] == '0' || !country_lengths(n.digits, &least, &most))
        return false;
    while (n.n_groups > 0 && n.n_digits > most)
        groups_drop(&n, n.n_groups - 1);
    if (n.n_groups == 0 || n.n_digits < least)
        return false;
    if (n.digits[0] == '1' && !nanp_plausible(n.digits + 1))
        return false;
    double score = n.digits[0] == '1' && nanp_toll_free(n.digits + 1) ? 0.3 : 0.75;
    return phone_add(s, start, n.group[n.n_groups - 1].end, score);
}

/* Day, month and year in any order, however grouped. */
static bool date_like(const struct number *n)
{
    size_t a = n->group[0].digits, b = n->n_groups > 1 ? n->group[1].digits : 0,
           c = n->n_groups > 2 ? n->group[2].digits : 0;
    return (a <= 2 && b <= 2 && b > 0 && c == 4) || (a == 4 && b > 0 && b <= 2 && c > 0 && c <= 2);
}

static bool nanp_check(struct detect_scan *s, const struct number *n)
{
    size_t first = n->n_groups > 3 &&
                   (strncmp(n->digits, "001", 3) == 0 ? n->group[0].digits == 3
                                                      : n->digits[0] == '1' && n->group[0].digits == 1);
    if (n->n_groups < first + 3 || n->group[first].digits != 3 || n->group[first + 1].digits != 3 ||
        n->group[first + 2].digits != 4)
        return false;
    const char *d = n->digits + (first ? n->group[0].digits : 0);
    if (!nanp_plausible(d))
        return false;
    return phone_add(s, n->start, n->group[first + 2].end, nanp_toll_free(d) ? 0.3 : 0.6);
}

/* A trunk 0 and an area: "0151 55501234", "06 39 98 01 57", "09-7625400". After the area one kind of
 * separator. */
static bool trunk_check(struct detect_scan *s, const struct number *whole)
{
    struct number n = *whole;
    for (size_t i = 2; i < n.n_groups; i++)
        if (i > 2 && n.group[i].separator != n.group[2].separator)
            groups_drop(&n, i);
    const size_t most = strncmp(n.digits, "015", 3) == 0 ? 12 : 11; /* German mobiles */
    while (n.n_groups > 1 && n.n_digits > most)
        groups_drop(&n, n.n_groups - 1);
    if (n.n_groups < 2 || n.n_digits < 9 || n.digits[0] != '0' || n.digits[1] == '0' ||
        n.group[0].digits < 2 || n.group[n.n_groups - 1].digits < 2 || date_like(&n))
        return false;
    return phone_add(s, n.start, n.group[n.n_groups - 1].end, detect_made_up(digits_of(&n)) ? 0.2 : 0.55);
}

static bool phone_check(struct detect_scan *s, const struct number *n)
{
    if (nanp_check(s, n) || trunk_check(s, n))
        return true;
    if (n->n_digits > 4 && n->digits[0] == '0' && n->digits[1] == '0' && n->group[0].digits >= 4 &&
        international_check(s, n->start, n->start + 2))
        return true;
    if (n->cut || n->n_digits < 7 || n->n_digits > 12 || n->n_groups > 5 || date_like(n) ||
        !announced(s, n->start, &phone_words))
        return false;
    /* 555-0100 to 555-0199 without an area are for films. */
    const size_t country = n->group[0].digits == 1 && n->digits[0] == '1'; /* "+1-555-0100" */
    bool film = n->n_digits == 7 + country && memcmp(n->digits + country, "55501", 5) == 0;
    return phone_add(s, n->start, n->group[n->n_groups - 1].end, film ? 0.2 : 0.6);
}

/* "(937) 555-0164", "(37) 788-063" */
static void bracket_check(struct detect_scan *s, size_t at)
{
    struct number n = {.start = at};
    char kind;
    if (!group_read(s, &n, at + 1, '\0') || n.n_digits < 2 || n.n_digits > 5 ||
        detect_byte(s, n.group[0].end) != ')')
        return;
    size_t from = n.group[0].end + 1;
    groups_read(s, &n, from + detect_separator(s, from, &kind), ' ');
    while (n.n_groups > 2 && n.n_digits > 12)
        groups_drop(&n, n.n_groups - 1);
    if (n.n_groups < 2 || n.n_digits < 8 || n.n_digits > 12 || n.cut)
        return;
    if (n.group[0].digits == 3 && n.n_digits == 10 && nanp_plausible(n.digits))
        phone_add(s, at, n.group[n.n_groups - 1].end, nanp_toll_free(n.digits) ? 0.3 : 0.7);
    else
        phone_add(s, at, n.group[n.n_groups - 1].end, 0.55);
}

void detect_number_at(struct detect_scan *s, size_t at)
{
    char c = detect_byte(s, at);
    if (c == '+') {
        if (!detect_begins(s, at) || (at > 0 && s->text.data[at - 1] == '+'))
            return;
        international_check(s, at, at + 1 + (detect_byte(s, at + 1) == '('));
        return;
    }
    if (c == '(') {
        bracket_check(s, at);
        return;
    }
    struct number n; /* its groups are there once they are read */
    n.n_digits = n.n_groups = 0;
    n.start = at;
    n.cut = false;
    groups_read(s, &n, at, '\0');
    if (n.n_groups == 1 && n.n_digits == 4)
        card_wide_check(s, &n);
    if (n.n_digits < 7 || card_check(s, &n))
        return;
    /* The rest of a longer code, such as a part of a UUID or of a date, is no number of its own. */
    char before = at > 0 ? detect_byte(s, at - 1) : ' ';
    if ((before == '-' || before == '.' || before == '/' || before == '+') && at > 1 &&
        detect_is_digit(detect_byte(s, at - 2)))
        return;
    if (!ssn_check(s, &n) && !ssn_bare_check(s, &n))
        phone_check(s, &n);
}
