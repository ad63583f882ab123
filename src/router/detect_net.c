/* E-mail, passwords in URLs, IP and MAC addresses. */
#include "router/detect.h"

#include <arpa/inet.h>
#include <string.h>

static const struct detect_type email = {"EMAIL_ADDRESS", ROUTER_PII, "an e-mail address", 4};
static const struct detect_type url_password = {"BASIC_AUTH_URL", ROUTER_SECRET, "a password in a URL", 9};
static const struct detect_type ip = {"IP_ADDRESS", ROUTER_PII, "an IP address", 3};
static const struct detect_type mac = {"MAC_ADDRESS", ROUTER_PII, "a MAC address", 3};
const struct detect_family detect_net_family = {"structured", DETECT_TYPES(&email, &url_password, &ip, &mac)};

/* ---- E-mail (RFC 5321 and 6531, as people write it). ---- */
static bool is_local(char c)
{
    return detect_is_alnum(c) || detect_is_one_of(c, "!#$%&'*+/=?^_`{|}~.-");
}

static bool is_domain(char c)
{
    return detect_is_alnum(c) || c == '-' || c == '.' || (c & '\x80');
}

static bool label_is_top(struct str label)
{
    if (label.len < 2 || label.len > 63)
        return false;
    if (label.len > 4 && str_is_nocase(str_slice(label, 0, 4), "xn--"))
        return true;
    for (size_t i = 0; i < label.len; i++)
        if (!detect_is_alpha(label.data[i]) && !(label.data[i] & '\x80'))
            return false;
    return true;
}

/* The longest front of `text` that is a host with a top-level domain; 0 if none is. */
static size_t host_length(struct str text)
{
    size_t best = 0, labels = 0, from = 0;
    for (size_t i = 0; i <= text.len; i++) {
        if (i < text.len && text.data[i] != '.')
            continue;
        struct str label = str_slice(text, from, i);
        size_t ascii = 0; /* "com" of "com" followed by text of another script */
        while (ascii < label.len && !(label.data[ascii] & '\x80'))
            ascii++;
        if (label.len == 0 || label.data[0] == '-')
            break;
        if (labels > 0 && label_is_top(ascii ? str_slice(label, 0, ascii) : label))
            best = from + (ascii ? ascii : label.len);
        labels++;
        from = i + 1;
    }
    return best;
}

/* "logo@2x.png" is a picture. */
static bool is_picture(struct str host)
{
    size_t dot = str_find_char(host, '.');
    return dot == 2 && detect_is_digit(host.data[0]) && host.data[1] == 'x';
}

static bool is_service(struct str local)
{
    static const char *const names[] = {
        "git", "noreply", "no-reply", "donotreply", "do-not-reply", "mailer-daemon", "postmaster", NULL};
    for (const char *const *n = names; *n; n++)
        if (str_is_nocase(local, *n))
            return true;
    return false;
}

void detect_email_at(struct detect_scan *s, size_t at)
{
    size_t start = at, end = at + 1;
    while (start > 0 && at - start < 64 && is_local(s->text.data[start - 1]))
        start--;
    while (start < at && strchr(".'`/=&?#*{|-", s->text.data[start]))
        start++;
    /* What stands before a '=' or '/' belongs to a query or a path. */
    for (size_t i = at; i-- > start;)
        if (strchr("=/&?#|", s->text.data[i])) {
            start = i + 1;
            break;
        }
    if (start == at || s->text.data[at - 1] == '.')
        return;
    while (end - at <= 254 && end < s->text.len && is_domain(s->text.data[end]))
        end++;
    struct str host = str_slice(s->text, at + 1, end);
    host.len = host_length(host);
    if (host.len == 0 || is_picture(host))
        return;
    struct str local = str_slice(s->text, start, at);
    double score = detect_known_host(host) ? 0.2 : is_service(local) ? 0.3 : 1.0;
    detect_add(s, &email, start, at + 1 + host.len, score);
}

/* ---- scheme://user:password@host ---- */
static bool is_stock_password(struct str password)
{
    static const char *const words[] = {"password", "pass", "passwd", "pwd", "user", "username", "secret",
        "changeme", "root", "admin", "postgres", "guest", "test", "token", NULL};
    for (const char *const *w = words; *w; w++)
        if (str_is_nocase(password, *w))
            return true;
    return detect_placeholder(password);
}

void detect_url_at(struct detect_scan *s, size_t at)
{
    enum { LONGEST = 256 };
    size_t begin = at + 3, colon = 0, i = begin;
    for (; i < s->text.len && i - begin < LONGEST; i++) {
        char c = s->text.data[i];
        if (c == ':' && colon == 0)
            colon = i;
        else if (c == '@')
            break;
        else if ((unsigned char)c <= ' ' || strchr("/\"'<>()\\", c))
            return;
    }
    if (detect_byte(s, i) != '@' || colon == 0 || i - colon < 2)
        return;
    struct str password = str_slice(s->text, colon + 1, i);
    if (!is_stock_password(password))
        detect_add(s, &url_password, begin, i, 0.9);
}

/* ---- IP ---- */
static bool boundary_after(const struct detect_scan *s, size_t at)
{
    char c = detect_byte(s, at);
    return !detect_is_alnum(c) && c != '_' && !(c == '.' && detect_is_alnum(detect_byte(s, at + 1)));
}

/* Loopback, private, documentation and other networks that name nobody (RFC 1918, 5737, 6890); addresses of
 * public resolvers; what is more likely a version. */
static bool ipv4_is_nobody(const unsigned char a[4])
{
    if (a[0] == 0 || a[0] == 10 || a[0] == 127 || a[0] >= 224 || (a[0] == 100 && (a[1] & 0xC0) == 64))
        return true;
    if ((a[0] == 172 && (a[1] & 0xF0) == 16) || (a[0] == 192 && a[1] == 168) || (a[0] == 169 && a[1] == 254))
        return true;
    if ((a[0] == 192 && a[1] == 0 && (a[2] == 2 || a[2] == 0)) ||
        (a[0] == 198 && a[1] == 51 && a[2] == 100) || (a[0] == 203 && a[1] == 0 && a[2] == 113) ||
        (a[0] == 198 && (a[1] & 0xFE) == 18))
        return true;
    return (a[2] == 0 && a[3] == 0) || (a[0] < 10 && a[1] < 10 && a[2] < 10 && a[3] < 10);
}

static bool ipv6_is_nobody(const unsigned char a[16])
{
    static const unsigned char zero[16];
    if (memcmp(a, zero, 10) == 0) /* unspecified, loopback, an IPv4 address in disguise */
        return memcmp(a + 10, zero, 5) == 0 || ipv4_is_nobody(a + 12);
    bool documentation = a[0] == 0x20 && a[1] == 0x01 && a[2] == 0x0d && a[3] == 0xb8;
    return documentation || a[0] == 0xff || (a[0] == 0xfe && (a[1] & 0xC0) == 0x80) || (a[0] & 0xFE) == 0xFC;
}

static void ipv4_check(struct detect_scan *s, size_t at)
{
    size_t end = at, dots = 0;
    while (end - at < 16 &&
           (detect_is_digit(detect_byte(s, end)) ||
               (detect_byte(s, end) == '.' && dots < 3 && detect_is_digit(detect_byte(s, end + 1)))))
        dots += s->text.data[end++] == '.';
    if (dots != 3 || end - at > 15 || !boundary_after(s, end) || (at > 0 && s->text.data[at - 1] == '.'))
        return;
    char text[16];
    unsigned char raw[4];
    memcpy(text, s->text.data + at, end - at);
    text[end - at] = '\0';
    if (inet_pton(AF_INET, text, raw) == 1)
        detect_add(s, &ip, at, end, ipv4_is_nobody(raw) ? 0.3 : 0.7);
}

/* "::" stands in slices and scopes of code too: an address has a digit, and more than a group or two. */
static bool ipv6_plausible(const char *text)
{
    size_t digits = 0, groups = 0;
    for (const char *p = text; *p; p++) {
        digits += detect_is_digit(*p);
        groups += detect_is_hex(*p) && (p == text || !detect_is_hex(p[-1]));
    }
    return digits > 0 && (groups > 2 || text[0] == ':' || strncmp(text, "fe80", 4) == 0 ||
                             strncmp(text, "ff0", 3) == 0 || strncmp(text, "20", 2) == 0);
}

/* A zone ("%eth0") and a prefix length behind an address. */
static size_t ipv6_tail(const struct detect_scan *s, size_t end)
{
    size_t i = end;
    if (detect_byte(s, i) == '%')
        for (i++; i - end < 16 && detect_is_alnum(detect_byte(s, i)); i++)
            ;
    if (detect_byte(s, i) == '/' && detect_is_digit(detect_byte(s, i + 1)))
        for (i++; i - end < 24 && detect_is_digit(detect_byte(s, i)); i++)
            ;
    return i;
}

static void ipv6_check(struct detect_scan *s, size_t at)
{
    enum { LONGEST = 45 };
    size_t end = at, colons = 0;
    for (char c = detect_byte(s, end); end - at <= LONGEST && (detect_is_hex(c) || c == ':' || c == '.');
         c = detect_byte(s, ++end))
        colons += c == ':';
    while (end > at + 1 &&
           (s->text.data[end - 1] == '.' || (s->text.data[end - 1] == ':' && s->text.data[end - 2] != ':')))
        colons -= s->text.data[--end] == ':';
    if (colons < 2 || end - at > LONGEST || end - at < 3 || detect_is_alnum(detect_byte(s, end)) ||
        (at > 0 && (s->text.data[at - 1] == ':' || s->text.data[at - 1] == '.')))
        return;
    char text[LONGEST + 1];
    unsigned char raw[16];
    memcpy(text, s->text.data + at, end - at);
    text[end - at] = '\0';
    if (inet_pton(AF_INET6, text, raw) == 1 && ipv6_plausible(text))
        detect_add(s, &ip, at, ipv6_tail(s, end), ipv6_is_nobody(raw) ? 0.3 : 0.7);
}

/* ---- MAC: six pairs with ':' or '-', or Cisco's three fours. ---- */
static bool mac_check(struct detect_scan *s, size_t at)
{
    char separator = detect_byte(s, at + 2);
    size_t step = 3, end = at + 17;
    if (separator != ':' && separator != '-') {
        separator = '.';
        step = 5;
        end = at + 14;
    }
    bool all_same = true;
    for (size_t i = at; i < end; i++) {
        char c = detect_byte(s, i);
        if ((i - at) % step == step - 1 ? c != separator : !detect_is_hex(c))
            return false;
        all_same = all_same && (c == separator || c == detect_byte(s, at));
    }
    char after = detect_byte(s, end);
    if (detect_is_alnum(after) || (after == separator && detect_is_hex(detect_byte(s, end + 1))))
        return false;
    if (at > 0 && s->text.data[at - 1] == separator)
        return false;
    detect_add(s, &mac, at, end, all_same ? 0.2 : 0.6);
    return true;
}

void detect_address_at(struct detect_scan *s, size_t at)
{
    if (detect_byte(s, at) == ':') {
        if (detect_byte(s, at + 1) == ':')
            ipv6_check(s, at);
        return;
    }
    if (detect_is_digit(detect_byte(s, at)))
        ipv4_check(s, at);
    for (size_t i = 1; i <= 4; i++) {
        char c = detect_byte(s, at + i);
        if (c == ':') {
            if (!mac_check(s, at))
                ipv6_check(s, at);
            return;
        }
        if ((i == 2 && c == '-') || (i == 4 && c == '.')) {
            mac_check(s, at);
            return;
        }
        if (!detect_is_hex(c))
            return;
    }
}
