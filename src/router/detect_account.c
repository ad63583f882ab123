/* Bank accounts and coin addresses: what carries its own check. */
#include "router/detect_id.h"

#include <string.h>

#include <sodium.h>

static const struct detect_type iban = {"IBAN_CODE", ROUTER_FINANCIAL, "a bank account number (IBAN)", 8};
static const struct detect_type crypto = {"CRYPTO", ROUTER_FINANCIAL, "a coin address", 8};
const struct detect_family detect_accounts_family = {"structured", DETECT_TYPES(&iban, &crypto)};

/* The SWIFT registry's shape of what follows the two check digits: n digits, a capitals, c either; a number
 * says how many. */
static const struct {
    char country[3];
    char shape[14];
} iban_shapes[] = {{"AD", "8n12c"}, {"AE", "19n"}, {"AL", "8n16c"}, {"AT", "16n"}, {"AZ", "4a20c"},
    {"BA", "16n"}, {"BE", "12n"}, {"BG", "4a6n8c"}, {"BH", "4a14c"}, {"BI", "23n"}, {"BR", "23n1a1c"},
    {"BY", "4c4n16c"}, {"CH", "5n12c"}, {"CR", "18n"}, {"CY", "8n16c"}, {"CZ", "20n"}, {"DE", "18n"},
    {"DJ", "23n"}, {"DK", "14n"}, {"DO", "4c20n"}, {"EE", "16n"}, {"EG", "25n"}, {"ES", "20n"}, {"FI", "14n"},
    {"FK", "2a12n"}, {"FO", "14n"}, {"FR", "10n11c2n"}, {"GB", "4a14n"}, {"GE", "2a16n"}, {"GI", "4a15c"},
    {"GL", "14n"}, {"GR", "7n16c"}, {"GT", "24c"}, {"HN", "4a20n"}, {"HR", "17n"}, {"HU", "24n"},
    {"IE", "4a14n"}, {"IL", "19n"}, {"IQ", "4a15n"}, {"IS", "22n"}, {"IT", "1a10n12c"}, {"JO", "4a4n18c"},
    {"KW", "4a22c"}, {"KZ", "3n13c"}, {"LB", "4n20c"}, {"LC", "4a24c"}, {"LI", "5n12c"}, {"LT", "16n"},
    {"LU", "3n13c"}, {"LV", "4a13c"}, {"LY", "21n"}, {"MC", "10n11c2n"}, {"MD", "20c"}, {"ME", "18n"},
    {"MK", "3n10c2n"}, {"MN", "16n"}, {"MR", "23n"}, {"MT", "4a5n18c"}, {"MU", "4a19n3a"}, {"NI", "4a20n"},
    {"NL", "4a10n"}, {"NO", "11n"}, {"OM", "3n16c"}, {"PK", "4a16c"}, {"PL", "24n"}, {"PS", "4a21c"},
    {"PT", "21n"}, {"QA", "4a21c"}, {"RO", "4a16c"}, {"RS", "18n"}, {"RU", "14n15c"}, {"SA", "2n18c"},
    {"SC", "4a20n3a"}, {"SD", "14n"}, {"SE", "20n"}, {"SI", "15n"}, {"SK", "20n"}, {"SM", "1a10n12c"},
    {"SO", "19n"}, {"ST", "21n"}, {"SV", "4a20n"}, {"TL", "19n"}, {"TN", "20n"}, {"TR", "5n1c16c"},
    {"UA", "6n19c"}, {"VA", "18n"}, {"VG", "4a16n"}, {"XK", "16n"}, {"YE", "4a4n18c"}};

enum { IBAN_MOST = 34 };

static char upper(char c)
{
    return detect_is_lower(c) ? (char)(c - 'a' + 'A') : c;
}

static const char *iban_shape(char c0, char c1)
{
    for (size_t i = 0; i < sizeof iban_shapes / sizeof *iban_shapes; i++)
        if (iban_shapes[i].country[0] == c0 && iban_shapes[i].country[1] == c1)
            return iban_shapes[i].shape;
    return NULL;
}

static size_t shape_length(const char *shape)
{
    size_t total = 0, run = 0;
    for (; *shape; shape++) {
        if (detect_is_digit(*shape)) {
            run = run * 10 + (size_t)(*shape - '0');
        } else {
            total += run;
            run = 0;
        }
    }
    return total;
}

static bool shape_fits(const char *shape, const char *text)
{
    size_t run = 0;
    for (; *shape; shape++) {
        if (detect_is_digit(*shape)) {
            run = run * 10 + (size_t)(*shape - '0');
            continue;
        }
        for (; run > 0; run--, text++)
            if ((*shape == 'n' && !detect_is_digit(*text)) || (*shape == 'a' && !detect_is_upper(*text)))
                return false;
    }
    return true;
}

/* ISO 7064 mod 97-10 over the number with its first four moved to the end, letters as 10..35. */
bool detect_check_iban(const char *compact, size_t n)
{
    unsigned rest = 0;
    for (size_t i = 0; i < n; i++) {
        char c = compact[(i + 4) % n];
        unsigned value = detect_is_digit(c) ? (unsigned)(c - '0') : (unsigned)(c - 'A') + 10;
        rest = (rest * (value > 9 ? 100 : 10) + value) % 97;
    }
    return rest == 1;
}

static void iban_check(struct detect_scan *s, size_t at)
{
    char c0 = detect_byte(s, at), c1 = detect_byte(s, at + 1);
    bool lower = detect_is_lower(c0);
    if (lower != detect_is_lower(c1))
        return;
    const char *shape = iban_shape(upper(c0), upper(c1));
    if (!shape)
        return;
    size_t want = 4 + shape_length(shape), n = 0;
    char compact[IBAN_MOST + 1];
    while (n < want) {
        char c = detect_byte(s, at), kind;
        size_t skip = n > 0 ? detect_separator(s, at, &kind) : 0;
        if (skip > 0 && kind != '/' && kind != '.') {
            at += skip;
            c = detect_byte(s, at);
        }
        if (!detect_is_alnum(c) || (lower ? detect_is_upper(c) : detect_is_lower(c)))
            return;
        compact[n++] = upper(c);
        at++;
    }
    if (detect_is_alnum(detect_byte(s, at)) || !shape_fits("2n", compact + 2) ||
        !shape_fits(shape, compact + 4) || !detect_check_iban(compact, n))
        return;
    size_t start = at;
    for (size_t left = n; left > 0; left--)
        while (!detect_is_alnum(detect_byte(s, --start)))
            ;
    detect_add(s, &iban, start, at, detect_known_iban((struct str){compact, n}) ? 0.3 : 1.0);
}

/* ---- Base58Check: 25 bytes, the last four the double SHA-256 of the others. ---- */
static int base58_value(char c)
{
    static const char alphabet[] = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    const char *at = c ? strchr(alphabet, c) : NULL;
    return at ? (int)(at - alphabet) : -1;
}

static bool base58_checks(struct str text)
{
    unsigned char raw[25] = {0}, hash[crypto_hash_sha256_BYTES];
    for (size_t i = 0; i < text.len; i++) {
        int carry = base58_value(text.data[i]);
        if (carry < 0)
            return false;
        for (size_t j = sizeof raw; j-- > 0;) {
            carry += 58 * raw[j];
            raw[j] = (unsigned char)(carry & 0xFF);
            carry >>= 8;
        }
        if (carry)
            return false;
    }
    crypto_hash_sha256(hash, raw, 21);
    crypto_hash_sha256(hash, hash, sizeof hash);
    return memcmp(hash, raw + 21, 4) == 0;
}

/* ---- Bech32 and Bech32m (BIP 173, BIP 350) with the prefix "bc". ---- */
static uint32_t bech32_step(uint32_t sum, uint32_t value)
{
    static const uint32_t generator[5] = {0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3};
    uint32_t top = sum >> 25;
    sum = (sum & 0x1ffffff) << 5 ^ value;
    for (int i = 0; i < 5; i++)
        sum ^= top >> i & 1 ? generator[i] : 0;
    return sum;
}

static bool bech32_checks(struct str text)
{
    static const char alphabet[] = "qpzry9x8gf2tvdw0s3jn54khce6mua7l";
    static const unsigned char expanded_prefix[] = {'b' >> 5, 'c' >> 5, 0, 'b' & 31, 'c' & 31};
    uint32_t sum = 1;
    for (size_t i = 0; i < sizeof expanded_prefix; i++)
        sum = bech32_step(sum, expanded_prefix[i]);
    for (size_t i = 3; i < text.len; i++) {
        char c = detect_is_upper(text.data[i]) ? (char)(text.data[i] + 32) : text.data[i];
        const char *at = strchr(alphabet, c);
        if (!at)
            return false;
        sum = bech32_step(sum, (uint32_t)(at - alphabet));
    }
    return sum == 1 || sum == 0x2bc830a3;
}

static void coin_check(struct detect_scan *s, size_t at, bool bech32)
{
    enum { LONGEST = 90 };
    size_t end = at;
    while (detect_is_alnum(detect_byte(s, end)) && end - at <= LONGEST)
        end++;
    struct str text = str_slice(s->text, at, end);
    if (bech32 ? text.len >= 14 && text.len <= LONGEST && bech32_checks(text)
               : text.len >= 26 && text.len <= 35 && base58_checks(text))
        detect_add(s, &crypto, at, end, 1.0);
}

void detect_account_at(struct detect_scan *s, size_t at)
{
    char c = detect_byte(s, at);
    if (detect_is_alpha(c) && detect_is_digit(detect_byte(s, at + 2)))
        iban_check(s, at);
    if (c == '1' || c == '3')
        coin_check(s, at, false);
    else if ((c == 'b' || c == 'B') && str_is_nocase(str_slice(s->text, at, at + 3), "bc1"))
        coin_check(s, at, true);
}
