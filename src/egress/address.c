/* Addresses as networks: which are inside, and what a configuration names as one ("10.0.0.0/8", "::1"). An
 * IPv4 address is its IPv6 form (::ffff:a.b.c.d). */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "egress/internal.h"

static const unsigned char mapped_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

#define V4(a, b, c, d, length)                                                                               \
    {                                                                                                        \
        {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d}, 96 + length, true                            \
    }

/* Not here on purpose: 0.0.0.0/8 and :: ("any"), 100.64.0.0/10 (shared with a carrier), multicast, and the
 * forms that carry an IPv4 address elsewhere (NAT64, 6to4, IPv4-compatible). */
static const struct egress_network private_networks[] = {
    V4(127, 0, 0, 0, 8),       /* loopback */
    V4(10, 0, 0, 0, 8),        /* RFC 1918 */
    V4(172, 16, 0, 0, 12),     /* RFC 1918 */
    V4(192, 168, 0, 0, 16),    /* RFC 1918 */
    V4(169, 254, 0, 0, 16),    /* link-local, RFC 3927 */
    {{[15] = 1}, 128, false},  /* ::1 */
    {{0xfc}, 7, false},        /* unique local, RFC 4193 */
    {{0xfe, 0x80}, 10, false}, /* link-local, RFC 4291 */
};

static bool address_bytes(const struct sockaddr *address, unsigned char out[16])
{
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *v4 = (const void *)address;
        memcpy(out, mapped_prefix, sizeof mapped_prefix);
        memcpy(out + 12, &v4->sin_addr, 4);
        return true;
    }
    if (address->sa_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const void *)address;
        memcpy(out, &v6->sin6_addr, 16);
        return true;
    }
    return false;
}

static bool text_bytes(const char *text, unsigned char out[16])
{
    memcpy(out, mapped_prefix, sizeof mapped_prefix);
    return inet_pton(AF_INET, text, out + 12) == 1 || inet_pton(AF_INET6, text, out) == 1;
}

static bool is_mapped(const unsigned char bytes[16])
{
    return memcmp(bytes, mapped_prefix, sizeof mapped_prefix) == 0;
}

static bool network_has(const struct egress_network *n, const unsigned char address[16])
{
    if (n->v4 != is_mapped(address))
        return false;
    int whole = n->prefix / 8, rest = n->prefix % 8;
    if (memcmp(n->bytes, address, (size_t)whole) != 0)
        return false;
    return rest == 0 || ((n->bytes[whole] ^ address[whole]) >> (8 - rest)) == 0;
}

bool egress_address_inside(const struct sockaddr *address, const struct egress_network *networks, size_t n)
{
    unsigned char bytes[16];
    if (!address_bytes(address, bytes))
        return false;
    for (size_t i = 0; i < sizeof private_networks / sizeof *private_networks; i++)
        if (network_has(&private_networks[i], bytes))
            return true;
    for (size_t i = 0; i < n; i++)
        if (network_has(&networks[i], bytes))
            return true;
    return false;
}

bool egress_host_is_loopback(struct str host)
{
    char bare[64];
    unsigned char bytes[16];
    if (str_is_nocase(host, "localhost") || str_is(host, "127.0.0.1")) /* nearly all */
        return true;
    if (host.len > 2 && host.data[0] == '[' && host.data[host.len - 1] == ']')
        host = str_slice(host, 1, host.len - 1);
    if (host.len >= sizeof bare)
        return false;
    snprintf(bare, sizeof bare, STR_FMT, STR_ARG(host));
    return text_bytes(bare, bytes) &&
           (network_has(&private_networks[0], bytes) || network_has(&private_networks[5], bytes));
}

int egress_network_parse(struct str cidr, struct egress_network *out, struct error *err)
{
    char address[64];
    size_t slash = str_find_char(cidr, '/');
    size_t len = slash == SIZE_MAX ? cidr.len : slash;
    int64_t prefix = -1;
    bool number = slash == SIZE_MAX || str_to_int64(str_slice(cidr, slash + 1, cidr.len), &prefix);
    if (len == 0 || len >= sizeof address || memchr(cidr.data, '\0', len) || !number)
        goto bad;
    memcpy(address, cidr.data, len);
    address[len] = '\0';
    if (!text_bytes(address, out->bytes))
        goto bad;
    out->v4 = is_mapped(out->bytes);
    bool dotted = !strchr(address, ':');
    int most = dotted ? 32 : 128;
    if (slash == SIZE_MAX)
        prefix = most;
    if (prefix < 0 || prefix > most)
        goto bad;
    out->prefix = (int)prefix + (dotted ? 96 : 0);
    /* A slip such as 0.0.0.0/0 would put the whole Internet inside the boundary. */
    if (out->prefix < (out->v4 ? 96 + 8 : 16))
        return error_set(err, ERROR_INVALID,
            "the network " STR_FMT " is too wide to be yours: name networks of at least /8 (IPv6: /16)",
            STR_ARG(cidr));
    return 0;
bad:
    return error_set(err, ERROR_INVALID,
        "'" STR_FMT "' is not a network: write it like 10.20.0.0/16 or fd00:1::/32", STR_ARG(cidr));
}
