/* What the members of JSON say together, for a second look: a key in camelCase is read as the words it is
 * made of, and the parts of one name or address as one line.
 *
 *   {"doorCode": "58B21"}                                                        door code: 58B21
 *   {"firstName": "Ada", "lastName": "Brockhaus"}                                name: Ada Brockhaus
 *   {"street": "Am Wehr", "houseNumber": 8, "zip": "80469", "city": "München"}   Am Wehr 8, 80469 München
 */
#include "router/detect.h"
#include "router/plain.h"

#include <string.h>

enum { KEY_MOST = 40, VALUE_MOST = 120, BLANKS = 64 };

enum part { GIVEN, FAMILY, STREET, NUMBER, ZIP, CITY, PARTS };

/* Keys in small letters, without '_' and '-'. */
static const struct {
    const char *key;
    enum part part;
} keys[] = {{"firstname", GIVEN}, {"givenname", GIVEN}, {"forename", GIVEN}, {"vorname", GIVEN},
    {"prenom", GIVEN}, {"nombre", GIVEN}, {"nome", GIVEN}, {"voornaam", GIVEN}, {"imie", GIVEN},
    {"primeironome", GIVEN}, {"lastname", FAMILY}, {"surname", FAMILY}, {"familyname", FAMILY},
    {"nachname", FAMILY}, {"familienname", FAMILY}, {"nom", FAMILY}, {"nomdefamille", FAMILY},
    {"apellido", FAMILY}, {"apellidos", FAMILY}, {"cognome", FAMILY}, {"achternaam", FAMILY},
    {"nazwisko", FAMILY}, {"sobrenome", FAMILY}, {"apelido", FAMILY}, {"street", STREET},
    {"streetname", STREET}, {"strasse", STREET}, {"rue", STREET}, {"calle", STREET}, {"via", STREET},
    {"straat", STREET}, {"ulica", STREET}, {"rua", STREET}, {"addressline1", STREET}, {"line1", STREET},
    {"housenumber", NUMBER}, {"houseno", NUMBER}, {"streetnumber", NUMBER}, {"number", NUMBER},
    {"no", NUMBER}, {"hausnummer", NUMBER}, {"nr", NUMBER}, {"numero", NUMBER}, {"civico", NUMBER},
    {"huisnummer", NUMBER}, {"numer", NUMBER}, {"nrdomu", NUMBER}, {"zip", ZIP}, {"zipcode", ZIP},
    {"postcode", ZIP}, {"postalcode", ZIP}, {"plz", ZIP}, {"postleitzahl", ZIP}, {"codepostal", ZIP},
    {"codigopostal", ZIP}, {"cap", ZIP}, {"kodpocztowy", ZIP}, {"cep", ZIP}, {"city", CITY}, {"town", CITY},
    {"ort", CITY}, {"stadt", CITY}, {"ville", CITY}, {"ciudad", CITY}, {"citta", CITY}, {"plaats", CITY},
    {"woonplaats", CITY}, {"miasto", CITY}, {"cidade", CITY}};

struct member {
    struct str key, value;
    size_t end;
};

static size_t blanks_skip(struct str s, size_t i)
{
    for (size_t n = 0; n < BLANKS && i < s.len && strchr(" \t\r\n", s.data[i]); n++)
        i++;
    return i;
}

/* The member whose key's quote stands at i: its value is a string without escapes or a number, and short. */
static bool member_read(struct str s, size_t i, struct member *out)
{
    size_t end = ++i;
    while (end < s.len && end - i < KEY_MOST &&
           (detect_is_alnum(s.data[end]) || s.data[end] == '_' || s.data[end] == '-'))
        end++;
    out->key = str_slice(s, i, end);
    if (plain_byte(s, end) != '"' || end == i)
        return false;
    i = blanks_skip(s, end + 1);
    if (plain_byte(s, i) != ':')
        return false;
    i = blanks_skip(s, i + 1);
    bool quoted = plain_byte(s, i) == '"';
    i += quoted;
    for (end = i; end < s.len && end - i < VALUE_MOST; end++)
        if (quoted ? s.data[end] == '"' || s.data[end] == '\\' || s.data[end] == '\n'
                   : !detect_is_digit(s.data[end]) && s.data[end] != '.')
            break;
    out->value = str_slice(s, i, end);
    out->end = end;
    return end > i && (!quoted || plain_byte(s, end) == '"');
}

static bool is_camel(struct str key)
{
    for (size_t i = 1; i < key.len; i++)
        if (detect_is_upper(key.data[i]) && detect_is_lower(key.data[i - 1]))
            return true;
    return false;
}

/* "doorCode" and "58B21": "door code: 58B21". */
static void words_append(struct buf *out, const struct member *m)
{
    for (size_t i = 0; i < m->key.len; i++) {
        char c = m->key.data[i];
        if (i > 0 && detect_is_upper(c) && detect_is_lower(m->key.data[i - 1]))
            buf_append_char(out, ' ');
        buf_append_char(out, (char)(detect_is_upper(c) ? c | 0x20 : c == '_' || c == '-' ? ' ' : c));
    }
    buf_append_text(out, ": ");
    buf_append_str(out, m->value);
    buf_append_char(out, '\n');
}

static enum part part_of(struct str key)
{
    char folded[KEY_MOST + 1];
    size_t n = 0;
    for (size_t i = 0; i < key.len; i++)
        if (key.data[i] != '_' && key.data[i] != '-')
            folded[n++] = (char)(detect_is_upper(key.data[i]) ? key.data[i] | 0x20 : key.data[i]);
    folded[n] = '\0';
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (keys[i].key[0] == folded[0] && strcmp(keys[i].key, folded) == 0)
            return keys[i].part;
    return PARTS;
}

static void line_append(struct buf *out, const char *before, struct str a, struct str b)
{
    buf_append_text(out, before);
    buf_append_str(out, a);
    buf_append_text(out, a.len && b.len ? " " : "");
    buf_append_str(out, b);
}

/* Says what has been gathered of one person or place: numbers stand before a street or behind it. */
static void parts_say(struct str part[PARTS], struct buf *out)
{
    if (part[GIVEN].len && part[FAMILY].len) {
        line_append(out, "name: ", part[GIVEN], part[FAMILY]);
        buf_append_char(out, '\n');
    }
    if (part[STREET].len && (part[NUMBER].len || part[ZIP].len || part[CITY].len)) {
        line_append(out, "address: ", part[STREET], part[NUMBER]);
        line_append(out, ", ", part[ZIP], part[CITY]);
        line_append(out, "\naddress: ", part[NUMBER], part[STREET]);
        line_append(out, ", ", part[CITY], part[ZIP]);
        buf_append_char(out, '\n');
    }
    memset(part, 0, PARTS * sizeof *part);
}

int router_plain_members(const struct byte_map *m, struct buf *out, bool *changed)
{
    struct str part[PARTS] = {0};
    size_t behind = 0;
    for (size_t block = 0; block < m->n_blocks && !out->failed; block++)
        for (uint64_t bits = m->bits[block * BYTE_CLASSES + BYTE_SIGN]; bits; bits &= bits - 1) {
            struct member member;
            size_t i = block * 64 + byte_first(bits);
            if (i >= m->text.len || i < behind || m->text.data[i] != '"' || !member_read(m->text, i, &member))
                continue;
            enum part which = part_of(member.key);
            if (which < PARTS) {
                if (part[which].len)
                    parts_say(part, out);
                part[which] = member.value;
            } else if (is_camel(member.key))
                words_append(out, &member);
            behind = member.end;
        }
    parts_say(part, out);
    *changed = out->len > 0;
    return out->failed;
}
