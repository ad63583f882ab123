/* Values that documentation, standards and test suites have made public. */
#include "router/detect.h"

#include <string.h>
#include <strings.h>

#include "router/detect_words.h"

static bool among(struct str value, const char *const *list)
{
    for (; value.len > 0 && *list; list++)
        if (((value.data[0] ^ **list) & ~0x20) == 0 && str_is_nocase(value, *list))
            return true;
    return false;
}

static bool one_digit_repeated(struct str digits)
{
    for (size_t i = 1; i < digits.len; i++)
        if (digits.data[i] != digits.data[0])
            return false;
    return true;
}

/* Test numbers of the card networks and payment services. */
bool detect_known_card(struct str digits)
{
    static const char *const cards[] = {"4111111111111111", "4012888888881881", "4222222222222",
        "4242424242424242", "4000056655665556", "4000000000000002", "4000000000000010", "4007000000027",
        "4917610000000000", "4000000000003220", "4000002500003155", "4000002760003184", "5555555555554444",
        "5105105105105100", "5200828282828210", "5425233430109903", "2223003122003222", "2222420000001113",
        "2223000048400011", "378282246310005", "371449635398431", "378734493671000", "370000000000002",
        "374245455400126", "6011111111111117", "6011000990139424", "6011000400000000", "6011601160116611",
        "30569309025904", "38520000023237", "3056930009020004", "36227206271667", "3530111333300000",
        "3566002020360505", "3566000020000410", "5019717010103742", "6331101999990016", "6200000000000005",
        "6759649826438453", "122000000000003", "4988438843884305", "4166676667666746", "4646464646464644",
        "5454545454545454", "6304000000000000", "6771798021000008", "4444333322221111", "1234567812345670",
        NULL};
    return one_digit_repeated(digits) || among(digits, cards);
}

/* The examples of the SWIFT registry and of the encyclopaedias. */
bool detect_known_iban(struct str compact)
{
    static const char *const ibans[] = {"AD1200012030200359100100", "AE070331234567890123456",
        "AL47212110090000000235698741", "AT611904300234573201", "AT483200000012345864",
        "AZ21NABZ00000000137010001944", "BA391290079401028494", "BE68539007547034", "BE71096123456769",
        "BG80BNBG96611020345678", "BH67BMAG00001299123456", "BR9700360305000010009795493P1",
        "BR1800360305000010009795493C1", "BY13NBRB3600900000002Z00AB00", "CH9300762011623852957",
        "CH5604835012345678009", "CR05015202001026284066", "CY17002001280000001200527600",
        "CZ6508000000192000145399", "CZ9455000000001011038930", "DE89370400440532013000",
        "DE75512108001245126199", "DE02120300000000202051", "DK5000400440116243",
        "DO28BAGR00000001212453611324", "EE382200221020145685", "ES9121000418450200051332",
        "ES7921000813610123456789", "FI2112345600000785", "FI1410093000123458", "FO6264600001631634",
        "FR1420041010050500013M02606", "FR7630006000011234567890189", "FR7630001007941234567890185",
        "GB29NWBK60161331926819", "GB82WEST12345698765432", "GB33BUKB20201555555555",
        "GE29NB0000000101904917", "GI75NWBK000000007099453", "GL8964710001000206",
        "GR1601101250000000012300695", "GT82TRAJ01020000001210029690", "HR1210010051863000160",
        "HU42117730161111101800000000", "IE29AIBK93115212345678", "IE64IRCE92050112345678",
        "IL620108000000099999999", "IQ98NBIQ850123456789012", "IS140159260076545510730339",
        "IT60X0542811101000000123456", "JO94CBJO0010000000000131000302", "KW81CBKU0000000000001234560101",
        "KZ86125KZT5004100100", "LB62099900000001001901229114", "LC55HEMM000100010012001200023015",
        "LI21088100002324013AA", "LT121000011101001000", "LU280019400644750000", "LV80BANK0000435195001",
        "LY83002048000020100120361", "MC5811222000010123456789030", "MD24AG000225100013104168",
        "ME25505000012345678951", "MK07250120000058984", "MR1300020001010000123456753",
        "MT84MALT011000012345MTLCAST001S", "MU17BOMM0101101030300200000MUR", "NL91ABNA0417164300",
        "NL02ABNA0123456789", "NO9386011117947", "PK36SCBL0000001123456702", "PL61109010140000071219812874",
        "PS92PALS000000000400123456702", "PT50000201231234567890154", "QA58DOHB00001234567890ABCDEFG",
        "RO49AAAA1B31007593840000", "RS35260005601001611379", "SA0380000000608010167519",
        "SC18SSCB11010000000000001497USD", "SE4550000000058398257466", "SE3550000000054910000003",
        "SI56263300012039086", "SI56191000000123438", "SK3112000000198742637541",
        "SM86U0322509800000000270100", "ST23000100010051845310146", "SV62CENR00000000000000700025",
        "TL380080012345678910157", "TN5910006035183598478831", "TR330006100519786457841326",
        "UA213223130000026007233566001", "VA59001123000012345678", "VG96VPVG0000012345678901",
        "XK051212012345678906", NULL};
    return among(compact, ibans);
}

/* Used in advertisements and forms, never issued since. */
bool detect_known_ssn(struct str digits)
{
    static const char *const numbers[] = {
        "078051120", "219099999", "457555462", "123456789", "987654321", NULL};
    return one_digit_repeated(digits) || among(digits, numbers) ||
           (digits.len == 9 && memcmp(digits.data, "98765432", 8) == 0);
}

bool detect_known_date(struct str date)
{
    static const char *const dates[] = {"1900-01-01", "01/01/1900", "01.01.1900", "01-01-1900", NULL};
    return among(date, dates);
}

static bool domain_within(struct str host, const char *domain)
{
    size_t n = strlen(domain);
    if (host.len < n || strncasecmp(host.data + host.len - n, domain, n) != 0)
        return false;
    return host.len == n || host.data[host.len - n - 1] == '.';
}

bool detect_known_host(struct str host)
{
    static const char *const domains[] = {"example.com", "example.org", "example.net", "example.edu",
        "example", "test", "invalid", "localhost", "localdomain", "domain.com", "yourdomain.com",
        "yourcompany.com", "exemple.com", "exemple.fr", "exemple.org", "beispiel.de", "beispiel.com",
        "ejemplo.com", "ejemplo.es", "ejemplo.org", "esempio.it", "esempio.com", "exemplo.com",
        "exemplo.com.br", "exemplo.pt", "voorbeeld.nl", "voorbeeld.com", "przyklad.pl", "przyklad.com",
        "example.nl", "example.de", "example.fr", "example.es", "example.it", "example.pl", "example.pt",
        "example.eu", "example.co.uk", "example.com.br", NULL};
    for (const char *const *d = domains; *d; d++)
        if (domain_within(host, *d))
            return true;
    return false;
}

/* Five of one byte in a row, and that is much of it: "xxxxx", "*****", "00000" do not come out of a random
 * generator. */
static bool long_repeat(struct str s)
{
    size_t run = 1;
    for (size_t i = 1; i < s.len; i++) {
        run = s.data[i] == s.data[i - 1] ? run + 1 : 1;
        if (run > 4 && run * 4 >= s.len)
            return true;
    }
    return false;
}

/* What stands in no real secret. */
static const char *const placeholder_parts[] = {"example", "placeholder", "changeme", "change_me",
    "change-me", "redacted", "your_", "your-", "yourkey", "yourtoken", "yoursecret", "insert_", "insert-",
    "dummy", "sample", "fake", "my_secret", "mysecret", "not_a_real", "notreal", "process.env", "os.environ",
    "getenv", "...", "xxxx"};
/* "your key", "your token", "your password" in other languages: followed by no more than a few figures. */
static const char *const your_parts[] = {"dein-api", "dein_api", "dein-token", "dein_token", "dein-schl",
    "dein_schl", "dein-passwort", "dein_passwort", "dein-key", "dein_key", "ihr-api", "ihr_api", "ihr-token",
    "ihr_token", "ihr-schl", "ihr_schl", "ihr-passwort", "ihr_passwort", "ihr-key", "ihr_key", "votre-cl",
    "votre_cl", "votre-jeton", "votre_jeton", "votre-token", "votre_token", "votre-mot", "votre_mot",
    "votre-api", "votre_api", "ta-cle_", "ta_cle_", "ta-cle-", "ta_cle-", "tu-api", "tu_api", "tu-clave",
    "tu_clave", "tu-token", "tu_token", "tu-contra", "tu_contra", "su-api", "su_api", "su-clave", "su_clave",
    "su-token", "su_token", "su-contra", "su_contra", "sua-chave", "sua_chave", "sua-senha", "sua_senha",
    "sua-api", "sua_api", "seu-token", "seu_token", "seu-api", "seu_api", "tua-chiave", "tua_chiave",
    "tua-api", "tua_api", "tua-password", "tua_password", "tuo-token", "tuo_token", "jouw-api", "jouw_api",
    "jouw-sleutel", "jouw_sleutel", "jouw-token", "jouw_token", "jouw-wacht", "jouw_wacht", "uw-api",
    "uw_api", "uw-sleutel", "uw_sleutel", "uw-token", "uw_token", "uw-wacht", "uw_wacht", "twoj-klucz",
    "twoj_klucz", "twoj-token", "twoj_token", "twoj-api", "twoj_api", "twoje-haslo", "twoje_haslo"};
static struct detect_words placeholder_words;

enum {
    PARTS = sizeof placeholder_parts / sizeof *placeholder_parts,
    YOURS = sizeof your_parts / sizeof *your_parts
};

/* Of placeholder_words, which has first the one list, then the other. */
static const char *part_of(size_t word)
{
    return word < PARTS ? placeholder_parts[word] : your_parts[word - PARTS];
}

int detect_known_init(struct error *err)
{
    struct str words[PARTS + YOURS];
    for (size_t i = 0; i < PARTS + YOURS; i++)
        words[i] = str_from(part_of(i));
    return detect_words_build(&placeholder_words, words, PARTS + YOURS, err);
}

/* In one case, or with a capital at its beginning; "FaKe" comes out of a random generator, "ChangeMe" does
 * not. */
static bool is_written(struct str word)
{
    enum { LONG = 8 };
    size_t small = 0, capitals = 0;
    for (size_t i = 1; i < word.len; i++) {
        small += detect_is_lower(word.data[i]);
        capitals += detect_is_upper(word.data[i]);
    }
    return word.len >= LONG || capitals == 0 || (small == 0 && !detect_is_lower(word.data[0]));
}

/* "twoj_klucz_8f7d6e5c4b3a", "consu_api_...": what is drawn follows, or another word goes before. */
static bool is_drawn_too(struct str secret, size_t from)
{
    enum { MOST_DIGITS = 4 }; /* "tu_clave_1234" */
    size_t digits = 0;
    for (size_t i = 0; i < secret.len; i++)
        digits += detect_is_digit(secret.data[i]);
    return digits > MOST_DIGITS || (from > 0 && detect_is_alnum(secret.data[from - 1]));
}

/* "user:password"; "admin:password" may be one. */
static bool says_what_it_is(struct str secret)
{
    static const char *const words[] = {"password", "passwort", "kennwort", "motdepasse", "mot-de-passe",
        "mot_de_passe",
        "contrase\xC3\xB1"
        "a",
        "contrasena", "senha", "wachtwoord", "haslo", "has\xC5\x82o", NULL};
    static const char *const users[] = {"user", "username", "benutzer", "benutzername", "utilisateur",
        "usuario", "usu\xC3\xA1rio", "utente", "gebruiker", "gebruikersnaam", "uzytkownik",
        "u\xC5\xBCytkownik", "login", NULL};
    const size_t colon = str_find_char(secret, ':');
    return colon == SIZE_MAX ? among(secret, words)
                             : among(str_slice(secret, 0, colon), users) &&
                                   among(str_slice(secret, colon + 1, secret.len), words);
}

bool detect_placeholder(struct str secret)
{
    /* Keys that ship in public software and are told apart by it, not kept secret, and a manual's. */
    static const char *const published[] = {"AIzaSyBF2RrAIm4a0mO64EShQfqfd2AFnzAvvuU",
        "AIzayDNSXIbFmlXbIE6mCzDLQAqITYefhixbX4A", "AIzaSyANUvH9H9BsUccjsu2pCmEkOPjjaXeDQgY",
        "AIzaSyDSb51JiIcB6OJpwwMicseKRhhrOq1cS7g", "AIzaSyA5_iVawFQ8ABuTZNUdcwERLJv_a_p4wtM",
        "AIzaSyA4UrcGxgwQFTfaI3no3t7Lt1sjmdnP5sQ", "AIzaSyA8vmApnrHNFE0bApF4hoZ11srVL_n0nvY", "33f!!lloppa",
        NULL};
    size_t at = 0;
    uint32_t state = 0;
    if (secret.len == 0 || strchr("$%<{[", secret.data[0]) || among(secret, published) ||
        says_what_it_is(secret))
        return true;
    for (uint16_t word;
         (word = detect_words_next(&placeholder_words, secret, &at, &state)) != DETECT_NO_WORD;) {
        const size_t from = at - strlen(part_of(word));
        if (is_written(str_slice(secret, from, at)) && (word < PARTS || !is_drawn_too(secret, from)))
            return true;
    }
    return long_repeat(secret);
}

/* Only the digits count: nearly all the same, nearly all one more than the one before, or only such steps. */
bool detect_made_up(struct str value)
{
    size_t n = 0, same = 0, steps = 0;
    char before = 0;
    for (size_t i = 0; i < value.len; i++) {
        char c = value.data[i];
        if (!detect_is_digit(c))
            continue;
        same += n > 0 && c == before;
        steps += n > 0 && (c == before + 1 || (before == '9' && c == '0'));
        before = c;
        n++;
    }
    return n > 3 && (same + 2 >= n || steps + 2 >= n || (n > 6 && same + steps + 1 >= n));
}

bool detect_known_value(struct str value)
{
    enum { CARD_LEAST = 12, CARD_MOST = 19 };
    static const char *const people[] = {"RSSMRA80A01H501U", "RSSMRA85T10A562S", "MRTMTT25D09F205Z",
        "MRTMTT91D08F205J", "MLLSNT82P65Z404U", NULL};
    char digits[CARD_MOST + 1];
    size_t n = 0;
    for (size_t i = 0; i < value.len && n < sizeof digits; i++)
        if (detect_is_digit(value.data[i]))
            digits[n++] = value.data[i];
    return detect_made_up(value) || among(value, people) ||
           (n >= CARD_LEAST && n <= CARD_MOST && detect_known_card((struct str){digits, n}));
}
