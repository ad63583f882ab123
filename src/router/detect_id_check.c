/* Check digits of national numbers, as their issuers publish them. */
#include "router/detect_id.h"

#include <string.h>

static int digit(char c)
{
    return c - '0';
}

/* The sum of value[i] * weights[i]; the weights are digits, 'A' is 10. */
static int weighted(const char *value, const char *weights)
{
    int sum = 0;
    for (; *weights; weights++, value++)
        sum += digit(*value) * (*weights == 'A' ? 10 : digit(*weights));
    return sum;
}

static int two(const char *value)
{
    return digit(value[0]) * 10 + digit(value[1]);
}

/* A day of that month, in any year. */
static bool day_of(int day, int month)
{
    static const int days[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return month >= 1 && month <= 12 && day >= 1 && day <= days[month - 1];
}

bool detect_check_luhn(const char *value, size_t n)
{
    int sum = 0;
    for (size_t i = 0; i < n; i++) {
        int d = digit(value[n - 1 - i]);
        if (i % 2 == 1)
            d = d * 2 > 9 ? d * 2 - 9 : d * 2;
        sum += d;
    }
    return sum % 10 == 0 && strspn(value, "0") < n;
}

/* Verhoeff (1969): the dihedral group of order ten. */
bool detect_check_verhoeff(const char *value, size_t n)
{
    static const char permute[8][11] = {"0123456789", "1576283094", "5803796142", "8916043527", "9453126870",
        "4286573901", "2793806415", "7046913258"};
    int c = 0;
    for (size_t i = 0; i < n; i++) {
        int d = digit(permute[i % 8][digit(value[n - 1 - i])]);
        int low = c % 5 + (c < 5 ? d % 5 : -(d % 5)) + 5;
        c = low % 5 + ((c < 5) == (d < 5) ? 0 : 5);
    }
    return c == 0;
}

bool detect_check_aba(const char *value, size_t n)
{
    return n == 9 && weighted(value, "371371371") % 10 == 0;
}

bool detect_check_abn(const char *value, size_t n)
{
    return n == 11 && value[0] > '0' &&
           ((digit(value[0]) - 1) * 10 + weighted(value + 1, "13579") + digit(value[6]) * 11 +
               digit(value[7]) * 13 + digit(value[8]) * 15 + digit(value[9]) * 17 + digit(value[10]) * 19) %
                   89 ==
               0;
}

bool detect_check_acn(const char *value, size_t n)
{
    return n == 9 && (10 - weighted(value, "87654321") % 10) % 10 == digit(value[8]);
}

bool detect_check_medicare(const char *value, size_t n)
{
    return n == 10 && weighted(value, "13791379") % 10 == digit(value[8]);
}

bool detect_check_tfn(const char *value, size_t n)
{
    return n == 9 && weighted(value, "14375869A") % 11 == 0;
}

/* German health insurance: the letter as two digits, every second doubled. */
bool detect_check_kvnr(const char *value, size_t n)
{
    int letter = value[0] - 'A' + 1, sum = 0;
    char digits[12] = {(char)('0' + letter / 10), (char)('0' + letter % 10)};
    memcpy(digits + 2, value + 1, 8);
    for (int i = 0; i < 10; i++) {
        int d = digit(digits[i]) * (i % 2 + 1);
        sum += d / 10 + d % 10;
    }
    return n == 10 && sum % 10 == digit(value[9]);
}

/* ICAO 9303: letters count from ten, weights 7, 3, 1. */
bool detect_check_mrz(const char *value, size_t n)
{
    static const int weights[] = {7, 3, 1};
    int sum = 0;
    for (size_t i = 0; i + 1 < n; i++)
        sum += (detect_is_digit(value[i]) ? digit(value[i]) : value[i] - 'A' + 10) * weights[i % 3];
    return sum % 10 == digit(value[n - 1]);
}

/* The old series of T and eight digits bears none. */
bool detect_check_id_card(const char *value, size_t n)
{
    return (value[0] == 'T' && strspn(value + 1, "0123456789") == n - 1) || detect_check_mrz(value, n);
}

bool detect_check_lanr(const char *value, size_t n)
{
    return n == 9 && (10 - weighted(value, "494949") % 10) % 10 == digit(value[6]);
}

bool detect_check_not_zero(const char *value, size_t n)
{
    return strspn(value, "0") < n;
}

bool detect_check_plz(const char *value, size_t n)
{
    return n == 5 && strcmp(value, "01001") >= 0 && strcmp(value, "99998") <= 0;
}

/* German pension insurance: the letter as two digits, digit sums of the products. */
bool detect_check_vsnr(const char *value, size_t n)
{
    static const int weights[] = {2, 1, 2, 5, 7, 1, 2, 1, 2, 1, 2, 1};
    int letter = value[8] - 'A' + 1, day = two(value + 2), sum = 0;
    char digits[13] = {0};
    memcpy(digits, value, 8);
    digits[8] = (char)('0' + letter / 10);
    digits[9] = (char)('0' + letter % 10);
    memcpy(digits + 10, value + 9, 2);
    for (int i = 0; i < 12; i++) {
        int product = digit(digits[i]) * weights[i];
        sum += product / 10 + product % 10;
    }
    return n == 12 && day_of(day > 50 ? day - 50 : day, two(value + 4)) && sum % 10 == digit(value[11]);
}

/* ISO 7064 mod 11,10; no digit more than three times. */
bool detect_check_steuer_id(const char *value, size_t n)
{
    int product = 10, count[10] = {0};
    for (int i = 0; i < 10; i++) {
        int sum = (digit(value[i]) + product) % 10;
        product = (sum == 0 ? 10 : sum) * 2 % 11;
        if (++count[digit(value[i])] > 3)
            return false;
    }
    return n == 11 && value[0] > '0' && (11 - product) % 10 == digit(value[10]);
}

/* Spain: the number modulo 23 names the letter; a leading X, Y, Z counts as 0, 1, 2. */
bool detect_check_nie(const char *value, size_t n)
{
    long number = value[0] >= 'X' ? value[0] - 'X' : digit(value[0]);
    for (size_t i = 1; i + 1 < n; i++)
        number = number * 10 + digit(value[i]);
    return "TRWAGMYFPDXBNJZSQVHLCKE"[number % 23] == value[n - 1];
}

/* Finland: nine digits modulo 31; `value` has no '-' or '+', but may have the letter of the century. */
bool detect_check_fi(const char *value, size_t n)
{
    const char *serial = value + n - 4;
    long number = 0;
    if (!day_of(two(value), two(value + 2)) ||
        (two(value) == 29 && two(value + 2) == 2 && two(value + 4) % 4 != 0))
        return false;
    for (int i = 0; i < 6; i++)
        number = number * 10 + digit(value[i]);
    for (int i = 0; i < 3; i++)
        number = number * 10 + digit(serial[i]);
    return "0123456789ABCDEFHJKLMNPRSTUVWXY"[number % 31] == serial[3];
}

bool detect_check_brn(const char *value, size_t n)
{
    return n == 10 &&
           (10 - (weighted(value, "137137135") + digit(value[8]) * 5 / 10) % 10) % 10 == digit(value[9]);
}

bool detect_check_rrn(const char *value, size_t n)
{
    return n == 13 && day_of(two(value + 4), two(value + 2));
}

bool detect_check_dea(const char *value, size_t n)
{
    return n == 9 && weighted(value + 2, "121212") % 10 == digit(value[8]);
}

bool detect_check_ph_tin(const char *value, size_t n)
{
    return n >= 9 && weighted(value, "98765432") % 11 == digit(value[8]);
}

bool detect_check_pesel(const char *value, size_t n)
{
    return n == 11 && day_of(two(value + 4), two(value + 2) % 20) &&
           (10 - weighted(value, "1379137913") % 10) % 10 == digit(value[10]);
}

/* Sweden: a day (or a co-ordination number's day + 60); the last ten by Luhn. */
bool detect_check_se(const char *value, size_t n)
{
    const char *ten = value + n - 10;
    int day = two(ten + 4);
    return n >= 10 && day_of(day > 60 ? day - 60 : day, two(ten + 2)) && detect_check_luhn(ten, 10);
}

bool detect_check_th(const char *value, size_t n)
{
    int sum = 0;
    for (int i = 0; i < 12; i++)
        sum += digit(value[i]) * (13 - i);
    return n == 13 && value[1] != '0' && (11 - sum % 11) % 10 == digit(value[12]);
}

bool detect_check_tr(const char *v, size_t n)
{
    int odd = digit(v[0]) + digit(v[2]) + digit(v[4]) + digit(v[6]) + digit(v[8]);
    int even = digit(v[1]) + digit(v[3]) + digit(v[5]) + digit(v[7]);
    return n == 11 && v[0] > '0' && (odd * 7 - even + 100) % 10 == digit(v[9]) &&
           (odd + even + digit(v[9])) % 10 == digit(v[10]);
}

bool detect_check_nhs(const char *value, size_t n)
{
    return n == 10 && (11 - weighted(value, "A98765432") % 11) % 11 == digit(value[9]) &&
           strspn(value, "0") < n;
}

/* Luhn over the number with the prefix 80840. */
bool detect_check_npi(const char *value, size_t n)
{
    char whole[16] = "80840";
    memcpy(whole + 5, value, 10);
    return n == 10 && strspn(value, "1") < 9 && detect_check_luhn(whole, 15);
}

bool detect_check_za(const char *value, size_t n)
{
    bool leap = two(value) % 4 == 0;
    return n == 13 && day_of(two(value + 4), two(value + 2)) && (leap || memcmp(value + 2, "0229", 4) != 0) &&
           value[10] <= '2' && value[11] >= '8' && detect_check_luhn(value, n);
}

bool detect_check_bsn(const char *value, size_t n)
{
    return n == 9 && (weighted(value, "98765432") - digit(value[8])) % 11 == 0 && strspn(value, "0") < n;
}

bool detect_check_nir(const char *value, size_t n)
{
    int rest = 0;
    for (int i = 0; i < 13; i++)
        rest = (rest * 10 + digit(value[i])) % 97;
    return n == 15 && 97 - rest == two(value + 13);
}

bool detect_check_cpf(const char *value, size_t n)
{
    int first = weighted(value, "A98765432") * 10 % 11 % 10;
    int second = (weighted(value + 1, "A98765432") + digit(value[0]) * 11) * 10 % 11 % 10;
    return n == 11 && first == digit(value[9]) && second == digit(value[10]) && strspn(value, "0") < n;
}

bool detect_check_ahv(const char *value, size_t n)
{
    return n == 13 && weighted(value, "1313131313131") % 10 == 0;
}

/* Italy: letters and digits at odd places count by a table of their own. */
bool detect_check_fiscal(const char *value, size_t n)
{
    static const int odd[] = {
        1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23};
    int sum = 0;
    for (size_t i = 0; i < 15; i++) {
        int place = detect_is_digit(value[i]) ? digit(value[i]) : value[i] - 'A';
        sum += i % 2 == 0 ? odd[place] : place;
    }
    return n == 16 && value[15] == 'A' + sum % 26;
}
