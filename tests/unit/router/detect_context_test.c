/* What words say: names, addresses, statements about health, money, law, work and private life. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"
#include "router/detect.h"

static struct error err;

static struct router_findings look(struct arena *a, const char *text)
{
    struct router_findings f = {0};
    if (router_detect(a, STR_NONE, str_from(text), &f, &err))
        fail_msg("detection failed: %s", err.message);
    return f;
}

/* Is the text of that category, among others? */
static void is(enum router_category category, const char *text)
{
    struct arena *a = arena_create(16 * MIB);
    struct router_findings f = look(a, text);
    if (!(f.categories & category))
        fail_msg("not %s: '%s'", router_category_name(category), text);
    arena_free(a);
}

static void harmless(const char *text)
{
    struct arena *a = arena_create(16 * MIB);
    struct router_findings f = look(a, text);
    for (size_t i = 0; i < f.n_entities; i++)
        if (f.entities[i].score >= DETECT_SURE)
            fail_msg("'%s': %s", text, f.entities[i].type);
    arena_free(a);
}

/* The type stands exactly there, sure or not. */
static void spans(const char *type, const char *text, const char *value)
{
    struct arena *a = arena_create(16 * MIB);
    struct router_findings f = look(a, text);
    size_t at = str_find(str_from(text), str_from(value));
    assert_true(at != SIZE_MAX);
    size_t start = str_utf8_count(str_slice(str_from(text), 0, at)),
           end = start + str_utf8_count(str_from(value));
    bool found = false;
    for (size_t i = 0; i < f.n_entities; i++)
        found = found || (strcmp(f.entities[i].type, type) == 0 && f.entities[i].start == start &&
                             f.entities[i].end == end);
    if (!found)
        fail_msg("no %s at '%s' in '%s'", type, value, text);
    arena_free(a);
}

static void health(void **state)
{
    (void)state;
    is(ROUTER_PHI, "I was diagnosed with bipolar disorder last year, how do I tell my boss?");
    is(ROUTER_PHI, "Mein Sohn hat Epilepsie, darf er schwimmen?");
    is(ROUTER_PHI, "Ma femme est enceinte et souffre d'une d\xC3\xA9pression.\nQue faire ? Ma femme a un "
                   "cancer du sein.");
    is(ROUTER_PHI, "Mi padre tiene diabetes y no quiere ponerse insulina");
    is(ROUTER_PHI, "Mia madre ha la demenza, come parlo con lei?");
    is(ROUTER_PHI, "Mijn vader heeft longkanker");
    is(ROUTER_PHI, "Moja mama choruje na raka");
    is(ROUTER_PHI, "Minha filha tem epilepsia");
    harmless("What are the symptoms of diabetes, and how is it diagnosed?");
    harmless("I have a question about diabetes.");
}

static void money_law_work(void **state)
{
    (void)state;
    is(ROUTER_FINANCIAL, "I owe 23,000 on three cards and my salary is 2,900");
    is(ROUTER_FINANCIAL, "Ich habe 18.000 Euro Schulden, meine Schulden wachsen");
    is(ROUTER_LEGAL, "PRIVILEGED & CONFIDENTIAL\nMemo on the Harrowgate matter");
    is(ROUTER_LEGAL, "Notre cliente reconna\xC3\xAEt les faits.");
    is(ROUTER_PROPRIETARY, "Internal only: the spring launch slips to June");
    is(ROUTER_PROPRIETARY, "Streng vertraulich. Der Entwurf folgt.");
    is(ROUTER_PERSONAL, "I cheated on my husband and nobody knows");
    harmless("What does \"strictly confidential\" mean in a contract?");
    harmless("Is attorney-client privilege the same in France?");
}

static void numbers_behind_words(void **state)
{
    (void)state;
    is(ROUTER_PII, "passport C4VH71809, issued in Bern");
    is(ROUTER_PII, "DOB 03/14/1957");
    is(ROUTER_SECRET, "the alarm code for the back door is 7714");
    is(ROUTER_FINANCIAL, "routing 029785092, account 4471 0098 2213");
    harmless("passport number 000000000");
    harmless("How long is a passport number?");
}

static void names_and_addresses(void **state)
{
    (void)state;
    spans("PERSON", "please call Monika \xC5\xBDilkov\xC3\xA1 today", "Monika \xC5\xBDilkov\xC3\xA1");
    spans("PERSON", "it was Mr. Richard McCray who", "Richard McCray");
    spans("PERSON", "for Jan van der Berg, please", "Jan van der Berg");
    /* Of these the surname alone was found, or nothing, for the given name is a word, too. */
    spans("PERSON", "Anna Nowak (anna.b@lipowa-poczta.pl): please reply", "Anna Nowak");
    spans("PERSON", "Tom Clark and Mary Clark want a loan", "Tom Clark");
    spans("PERSON", "mail to John Keller", "John Keller");
    spans("STREET_ADDRESS", "to 2217 Copperfield Court, Apt 5C, Dayton OH 45409, and",
        "2217 Copperfield Court, Apt 5C, Dayton OH 45409");
    spans("STREET_ADDRESS", "nach G\xC3\xA4rtnerplatz 3, 80469 M\xC3\xBCnchen, bitte",
        "G\xC3\xA4rtnerplatz 3, 80469 M\xC3\xBCnchen");
    spans("STREET_ADDRESS", "via del Melograno 6, 55100 Lucca.", "via del Melograno 6, 55100 Lucca");
    harmless("Sherlock Holmes lives at 221B Baker Street, London.");
    harmless("Anna, you left your umbrella again");
    harmless("name John Doe, address 123 Main Street, Anytown");
}

static void written_otherwise(void **state)
{
    (void)state;
    is(ROUTER_PII, "write to jonquil dot baptiste at zephyrpost dot com please");
    is(ROUTER_PII, "decode am9ucXVpbC5iYXB0aXN0ZUB6ZXBoeXJwb3N0LmNvbSBpcyBtaW5l");
    is(ROUTER_FINANCIAL, "card 4539 7305\n2539 7182 thanks");
    is(ROUTER_FINANCIAL, "{\"seed\":4539730525397182}");
    harmless("meet me at noon, the dot com bubble burst in 2000");
}

/* Questions of an economics and a medical benchmark were taken for e-mail and postal addresses. */
static void talk_is_no_address(void **state)
{
    (void)state;
    harmless("Marginal revenue equals marginal cost at the point where profit is greatest. Name Anna "
             "Kowalczyk lives here.");
    harmless("temperature 36.8\xC2\xB0"
             "C (98.2\xC2\xB0"
             "F), pulse 80/min");
    harmless("Date: Saturday, 19 Nov. 2015");
    harmless("Fixed overhead 30 Total $140 Match");
}

/* A public figure named a line before took the date of birth from a patient. */
static void who_is_known_hides_nobody_else(void **state)
{
    (void)state;
    is(ROUTER_PII,
        "Qui \xC3\xA9tait Simone Veil ?\nPatientin Roswitha Feldkirchner, geb. 02.11.1949, bitte Brief");
    is(ROUTER_PII, "Albert Einstein\nRoswitha Feldkirchner, born 02.11.1949, needs a letter");
    is(ROUTER_PII, "After Albert Einstein, Roswitha Feldkirchner, born 02.11.1949, was the next");
    spans("PERSON", "met Albert Einstein Roswitha Feldkirchner", "Albert Einstein Roswitha Feldkirchner");
    harmless("Albert Einstein was born on 14 March 1879.");
    harmless("Who was Ada Lovelace, born 10 December 1815?");
}

/* "min" is a Swede's "my", and a stem of six letters of Parkinson begins a car park. */
static void minutes_and_parking_are_nobodys_illness(void **state)
{
    (void)state;
    harmless("Her pulse is 98/min, and blood pressure is 120/80 mm Hg. Which of the following comes next?");
    harmless("I waited in a private parking lot until noon. Translate into French.");
    is(ROUTER_PHI, "my father has parkinson's and cannot be left alone");
}

/* Fewer alarms at exams had cost these. */
static void what_is_hers_or_his_and_what_is_owed(void **state)
{
    (void)state;
    is(ROUTER_PHI, "his depression got worse after the divorce, what can I do");
    is(ROUTER_PHI, "her diabetes is out of control and she hides her insulin");
    is(ROUTER_PHI, "mein Vater hat die Parkinsonkrankheit und sieht Dinge");
    is(ROUTER_PHI, "ma m\xC3\xA8re a un syndrome parkinsonien depuis mars");
    is(ROUTER_FINANCIAL, "her salary is 84,000 and his is 120,000, please compare");
    is(ROUTER_FINANCIAL, "my wife earns 4,200 a month and I earn 3,900");
    harmless("Zaid earns 12 dollars an hour and works 40 hours a week. How much is that in a month?");
    harmless("Valerie earns $5000 per month. She spends half of it. How much is left?");
    is(ROUTER_FINANCIAL, "we hired somebody at a salary of 91,500 EUR from May");
    is(ROUTER_FINANCIAL, "offer a salary of about 65000 and no more");
    is(ROUTER_FINANCIAL, "we owe the tax office another 40,000 before Friday");
    harmless("her blood pressure is 120/80, what does that mean");
    harmless("how much do we owe to luck");
}

/* The tagger took the two for one address, and that for the one that everybody knows. */
static void a_landmark_hides_no_address(void **state)
{
    (void)state;
    is(ROUTER_PII, "I live at 123 Main Street, 8 rue des Tourterelles, 35000 Rennes please");
    is(ROUTER_PII, "Herr 221b baker street Quittenstra\xC3\x9F"
                   "e 12, 04229 Leipzig please");
    is(ROUTER_PII, "14 Harrowmere Lane, Dayton, OH 45409 742 Evergreen Terrace");
    is(ROUTER_PII, "Patient ul. Wierzbowa 7/12, 61-131 Pozna\xC5\x84 - Musterstrasse 12-Monika Schneider / "
                   "Max Mustermann ");
    harmless("I live at 123 Main Street, and you at 221b Baker Street");
}

/* "Jakie s\xC4\x85 skutki": Polish "are" was read as French "his". */
static void side_effects_are_nobodys_illness(void **state)
{
    (void)state;
    harmless("Jakie s\xC4\x85 skutki uboczne sertraliny, do ulotki");
    is(ROUTER_PHI, "od roku bior\xC4\x99 sertralin\xC4\x99 i dalej nie \xC5\x9Bpi\xC4\x99");
}

static void closures_that_nobody_knows_of_yet(void **state)
{
    (void)state;
    is(ROUTER_PROPRIETARY, "we schrappen twintig banen in Assen, de ondernemingsraad weet nog van niets");
    is(ROUTER_PROPRIETARY, "we're closing the Leeds depot in May, the drivers don't know yet");
    is(ROUTER_PROPRIETARY, "wir schlie\xC3\x9F"
                           "en die Filiale in Hof, die Leute wissen noch nichts");
    is(ROUTER_PROPRIETARY, "cerramos la planta de Elda en junio, nadie lo sabe todav\xC3\xAD"
                           "a");
    harmless("why do beginners not know yet that recursion needs an end");
    harmless("nobody knows yet whether there is water on that moon");
    harmless("wanneer moet een ondernemingsraad om advies worden gevraagd");
}

/* Whoever mistypes a digit, or makes one up, had told nobody anything. */
static void a_card_told_with_a_wrong_digit(void **state)
{
    (void)state;
    is(ROUTER_FINANCIAL, "my card is 4539 8812 0047 3316 exp 09/28 cvv 481");
    is(ROUTER_FINANCIAL, "card=5375410088261904, which the demo log still has");
    is(ROUTER_FINANCIAL, "left the company card details in the group chat, 4539-8812-0047-3316");
    is(ROUTER_FINANCIAL, "Karte 5375 4100 8826 1904 g\xC3\xBCltig bis 11/27");
    harmless("a test card: 4111 1111 1111 1111, any date, any code");
    harmless("the card layout is 1111 1111 1111 1112, in groups of four");
    harmless("the graphics card 3080 12GB was 1200 1300 1400 in 2021");
    is(ROUTER_FINANCIAL, "card: 3782 846293 10006, expires in May"); /* American Express: 15 digits */
    spans("BANK_ACCOUNT", "amex 2021 374284629310006 4412", "374284629310006 4412");
    harmless("a test card: 3782 822463 10005, any date, any code");
    harmless("the card game has 3700 players, 3412 of them paid");
}

static void a_password_without_a_digit(void **state)
{
    (void)state;
    is(ROUTER_SECRET, "pass=ZubrzyceRano! stands in the log");
    is(ROUTER_SECRET, "palavra_chave = \"BacalhauComTodos1956\"");
    harmless("const password = userInput.value; let pass: MyString = readPassword();");
    harmless("password: String! is a field that must be there");
    harmless("password: SecureString! = null");
    is(ROUTER_SECRET, "password: TopSecretInput!");
    is(ROUTER_SECRET, "password: ZubrzyceString!7 stands in the log");
}

/* A year in front of the number was taken for its first digits, and its last four left unmasked; an example
 * in front hid it. */
static void a_wrong_card_behind_a_year_or_an_example(void **state)
{
    (void)state;
    spans("BANK_ACCOUNT", "my card, since 2021 4539 8812 0047 3316, is gone", "4539 8812 0047 3316");
    spans("BANK_ACCOUNT", "my card 4539 8812 0047 3316 0928", "4539 8812 0047 3316 0928");
    spans("BANK_ACCOUNT", "cards: 4111 1111 1111 1111, 4539 8812 0047 3316", "4539 8812 0047 3316");
    spans("BANK_ACCOUNT", "card 2021 4539881200473316", "4539881200473316");
    harmless("test cards: 4111 1111 1111 1111, 5555 5555 5555 4444");
}

/* A list of years behind "card" was a number, and a number with other spaces was none. */
static void a_list_of_years_is_no_card(void **state)
{
    (void)state;
    harmless("the business card template 2018 2019 2020 2021");
    harmless("The SD card holds 1024 2048 4096 8192 images");
    harmless("graphics cards 4060, 4070, 4080, 4090");
    is(ROUTER_FINANCIAL, "my card is 4539\xC2\xA0"
                         "8812\xC2\xA0"
                         "0047\xC2\xA0"
                         "3316");
    is(ROUTER_FINANCIAL, "my card is 4539  8812  0047  3316");
}

static void an_identifier_is_no_password(void **state)
{
    (void)state;
    harmless("curl \"https://x/?pass=userPassword&b=1\"");
    harmless("if (pass==userInput&&ok) return;");
    harmless("func encode(pass: RenderEncoder*) {}");
}

/* What stood behind the sign was left when the rest was masked. */
static void a_password_goes_on_behind_its_sign(void **state)
{
    (void)state;
    spans("ACCESS_CODE", "pass=ZubrzyceRano!23x in the log", "ZubrzyceRano!23x");
    spans("ACCESS_CODE", "{\"pass\":\"KotekMaly!$raz\",\"x\":1}", "KotekMaly!$raz");
    spans("ACCESS_CODE", "DB_PASS=KotekMaly!", "KotekMaly!");
}

/* Labels of documents: in headers, footers, stamps; not where somebody talks about them. */
static void labels_of_documents(void **state)
{
    (void)state;
    static const char *const marked[] = {"CONFIDENTIAL\nDear all", "Report\n\n- CONFIDENTIAL -",
        "TLP:RED\nThe campaign", "TLP:AMBER+STRICT\nThe campaign", "Classification: SECRET",
        "Sensitivity: Highly Confidential", "TOP SECRET//NOFORN\n(S) text", "SECRET//REL TO USA, FVEY",
        "OFFICIAL-SENSITIVE\nMemo", "VS-NfD", "RESTREINT UE/EU RESTRICTED", "NATO CONFIDENTIAL",
        "Acme Corp. Confidential and Proprietary. Page 2 of 4", "Acme | CONFIDENTIAL | Page 3",
        "page 1 \xE2\x80\x94 TOP SECRET \xE2\x80\x94 page 2", "[CONFIDENTIAL] Q3 numbers attached",
        "# CONFIDENTIAL\nplans", "== GEHEIM ==\nplans",
        "Q3 numbers, please read until Monday.\n\nVertraulich\n", "CUI//SP-PRVCY",
        "This is for internal use only"};
    static const char *const plain[] = {"What does TLP:RED mean?", "What does confidential mean?",
        "TLP:CLEAR\nnews", "TLP:GREEN newsletter",
        "Explain the difference between SECRET and TOP SECRET clearances", "is this top secret?",
        "UNCLASSIFIED", "Keep it confidential", "threats (both external and internal) to a state",
        "A. External\nB. Internal\nC. Primary", "convicted of stealing trade secrets.",
        "levels:\n- PUBLIC\n- SECRET\n", "API_KEY\nTOKEN=SECRET\nf(SECRET) arr[SECRET] {SECRET}",
        "enum { PUBLIC, SECRET, CONFIDENTIAL };", "{\"level\": \"SECRET\", \"access\": \"restricted\"}",
        "kind: Secret\ntype: internal", "| Level | Meaning |\n| Secret | hidden |",
        "case SECRET:\n  return 1;"};
    for (size_t i = 0; i < sizeof marked / sizeof *marked; i++)
        is(ROUTER_PROPRIETARY, marked[i]);
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
        harmless(plain[i]);
}

/* "The alarm code is five five three one" was none, for it has no digit. */
static void codes_told_in_words(void **state)
{
    (void)state;
    static const char *const told[] = {"The alarm code is five five three one",
        "safe combination thirty-two left nine right", "nine oh two seven is the gate code, tell the sitter",
        "the code for the back door is double four one eight",
        "Combination lock: two to the left, four to the right, then one",
        "my voicemail code is forty-eight twenty-three", "PIN ist vier acht null zwei",
        "Der Code f\xC3\xBCr die Alarmanlage lautet drei, sieben, sieben, neun",
        "Zahlenschloss: achtundvierzig dreiundzwanzig",
        "Tresorkombination: zw\xC3\xB6lf links, dann vierzig rechts",
        "le code de la porte, c'est quatre sept un neuf", "Code PIN : z\xC3\xA9ro huit cinq deux",
        "le coffre-fort s'ouvre avec vingt-six \xC3\xA0 gauche puis onze \xC3\xA0 droite",
        "El c\xC3\xB3"
        "digo de la alarma es siete dos cero cuatro",
        "el PIN de mi tarjeta es ocho ocho tres uno",
        "combinaci\xC3\xB3n de la taquilla: treinta y dos, nueve, quince",
        "Il codice del cancello \xC3\xA8 tre nove nove due", "il PIN \xC3\xA8 zero quattro sette cinque",
        "la cassaforte si apre con quarantotto a destra e ventitr\xC3\xA9 a sinistra",
        "De alarmcode is vijf vijf drie een", "mijn pincode is zeven nul twee acht",
        "hangslot: achtenveertig, drie\xC3\xABntwintig",
        "Kod do alarmu to pi\xC4\x99\xC4\x87 pi\xC4\x99\xC4\x87 trzy jeden", "PIN to cztery osiem zero dwa",
        "szyfr do sejfu: trzydzie\xC5\x9B"
        "ci dwa w lewo, dziewi\xC4\x99\xC4\x87 w prawo",
        "O c\xC3\xB3"
        "digo do alarme \xC3\xA9 cinco cinco tr\xC3\xAAs um",
        "a senha do cofre \xC3\xA9 oito meia dois zero", "PIN: sete quatro nove um"};
    static const char *const plain[] = {"the default PIN is zero zero zero zero in the manual",
        "a PIN such as one two three four is guessed first", "the area code is two one two",
        "error code five oh three means that the server is busy", "the postcode ends in seven four two",
        "type the promo code three two one",
        "the dress code has three, four exceptions, one of them for weddings",
        "the code has three five-line functions", "a PIN has four digits, or six",
        "Die Werks-PIN lautet null null null null", "die Vorwahl ist null drei null",
        "Fehlercode f\xC3\xBCnf null drei", "die Postleitzahl ist eins null eins eins f\xC3\xBCnf",
        "der Code hat drei Funktionen mit je vier Zeilen",
        "le code PIN par d\xC3\xA9"
        "faut est z\xC3\xA9ro z\xC3\xA9ro z\xC3\xA9ro z\xC3\xA9ro",
        "le code postal est sept cinq z\xC3\xA9ro un un", "code promo dix, vingt, trente",
        "l'erreur cinq z\xC3\xA9ro trois", "el PIN por defecto es cero cero cero cero",
        "el c\xC3\xB3"
        "digo postal es dos ocho cero uno tres",
        "el c\xC3\xB3"
        "digo de error es cinco cero tres",
        "el c\xC3\xB3"
        "digo promocional es dos por uno",
        "il PIN predefinito \xC3\xA8 zero zero zero zero",
        "il codice postale \xC3\xA8 zero zero uno otto quattro", "codice di errore cinque zero tre",
        "de standaard pincode is nul nul nul nul", "de postcode begint met een nul een twee",
        "foutcode vijf nul drie", "de kledingcode kent drie, vier regels",
        "domy\xC5\x9Blny PIN to zero zero zero zero",
        "kod pocztowy zero zero dziewi\xC4\x99\xC4\x87 pi\xC4\x99\xC4\x87 zero",
        "kod b\xC5\x82\xC4\x99"
        "du pi\xC4\x99\xC4\x87 zero trzy",
        "kod ma trzy funkcje po cztery linie",
        "o PIN de f\xC3\xA1"
        "brica \xC3\xA9 zero zero zero zero",
        "o c\xC3\xB3"
        "digo postal \xC3\xA9 um dois zero zero",
        "c\xC3\xB3"
        "digo de erro cinco zero tr\xC3\xAAs",
        "o c\xC3\xB3"
        "digo promocional vale dez, vinte ou trinta"};
    for (size_t i = 0; i < sizeof told / sizeof *told; i++)
        is(ROUTER_SECRET, told[i]);
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
        harmless(plain[i]);
    spans("SECRET_STATEMENT", "If it beeps, the alarm code is five five three one, then go in",
        "alarm code is five five three one");
}

static void figures_to_choose_from_are_no_code(void **state)
{
    (void)state;
    harmless("The PIN must have four, six or eight digits");
    harmless("The winning combination is one of two or three colours");
    harmless("The verification code is valid for five, ten or fifteen minutes");
    harmless("The door opens at eight, nine or ten");
    harmless("Die PIN hat vier, sechs oder acht Stellen");
    is(ROUTER_SECRET, "The alarm code is five five three one or the door stays shut");
    is(ROUTER_SECRET, "Is it the front or the back door? The alarm code is five five three one");
}

/* Lists of words for what is private had stems of other words, and words of everyday, among them: "no idea",
 * "suspect", "tradition", "trompette", "Verslag", "Schwan" and "Vergleich" were somebody's affair, illness or
 * lawsuit. */
static void words_of_everyday_are_nobodys_affair(void **state)
{
    (void)state;
    static const char *const plain[] = {"I have no idea why my code fails with a segfault",
        "my brother has no idea how taxes work", "I suspect a bug in the parser",
        "my mother cooks a traditional Sunday roast", "ich verliere beim Schach immer",
        "ik verlies steeds mijn sleutels", "je me trompe toujours dans les accords",
        "j'ai frapp\xC3\xA9 \xC3\xA0 la porte", "ich habe schlecht geschlafen",
        "I fell in love with this language at once", "I separated the egg whites",
        "the film came out and I want to see it",
        "ich habe die Trennung von Logik und Ansicht nicht verstanden", "ho separato i dati in due tabelle",
        "soy amante del cine", "my sister is jealous of my new bike", "I served alcohol at the party",
        "I stroke the keyboard in vain", "I settle for the blue one",
        "my HR department wants a form about parking", "my exam prep plan for chemistry",
        "my bid on eBay was too low", "my brother lit the barbecue",
        "my sister admitted that she ate the cake", "my operation returned null", "mijn verslag is te lang",
        "mein Sohn hat einen Schwan gesehen", "j'ai des asperges, que faire", "I am a migrant bird watcher",
        "visual aids: I have two slides", "my std deviation is 3", "my lithium battery is flat",
        "je suis de garde ce week-end", "ich habe einen Vergleich der Handytarife gemacht",
        "ich habe eine Anzeige bei eBay geschaltet", "I have to settle the bill for dinner",
        "tengo una demanda de API muy alta", "tenho um processo que trava no Linux",
        "mam sad z jab\xC5\x82kami"};
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
        harmless(plain[i]);
    is(ROUTER_PERSONAL, "my wife suspects something, should I tell her about the other flat");
    is(ROUTER_PERSONAL, "I am in love with my best friend's husband");
    is(ROUTER_PERSONAL, "ich habe mit meinem Chef geschlafen");
    is(ROUTER_PERSONAL, "my brother came out as gay to us");
    is(ROUTER_PERSONAL, "mi marido tiene una amante y no s\xC3\xA9 qu\xC3\xA9 hacer");
    is(ROUTER_PHI, "my grandmother had a stroke last week");
    is(ROUTER_PHI, "mein Bruder ist alkoholkrank");
    is(ROUTER_PHI, "my sister was admitted with chest pain");
    is(ROUTER_PHI, "ik ben verslaafd aan pillen");
    is(ROUTER_PHI, "my uncle has AIDS");
    is(ROUTER_PHI, "ich bin im sechsten Monat der Schwangerschaft");
    is(ROUTER_LEGAL, "ho una causa civile contro il vicino");
    is(ROUTER_LEGAL, "tengo una demanda laboral contra mi jefe");
    is(ROUTER_LEGAL, "meine Anw\xC3\xA4ltin hat den Vergleich angeboten, ich habe Angst");
    is(ROUTER_LEGAL, "tenho um processo por difama\xC3\xA7\xC3\xA3o");
}

/* When words of everyday left the lists of what is private, so did these, which said more than one of them: a
 * mark in capitals, or behind "is", need not begin what it stands in, and a wage is somebody's by a full
 * name. */
static void what_everyday_words_had_taken_along(void **state)
{
    (void)state;
    static const struct {
        enum router_category category;
        const char *text;
    } cases[] = {
        {ROUTER_PHI, "Mein Bruder hat AIDS."},
        {ROUTER_PHI, "Ik heb AIDS."},
        {ROUTER_PHI, "My dad died from AIDS in March."},
        {ROUTER_PHI, "My uncle's AIDS is getting worse"},
        {ROUTER_PHI, "My son is in withdrawal from alcohol"},
        {ROUTER_PHI, "Mein Vater trinkt zu viel Alkohol, seit Mama tot ist"},
        {ROUTER_PHI, "Mijn moeder is dementerend"},
        {ROUTER_PHI, "Mein Bruder ist im Drogenentzug"},
        {ROUTER_PHI, "My second IVF failed"},
        {ROUTER_PHI, "We are on our third IVF"},
        {ROUTER_PHI, "Meine Mutter ist krebserkrankt"},
        {ROUTER_PHI, "Meine Freundin hat einen positiven Schwangerschaftstest"},
        {ROUTER_PHI, "My dad's stroke left him unable to speak"},
        {ROUTER_PHI, "Mijn zus zit in een verslavingskliniek"},
        {ROUTER_PHI, "Ich habe psychische Probleme"},
        {ROUTER_PHI, "Mam problemy psychiczne"},
        {ROUTER_PHI, "Meine Operation ist am Montag"},
        {ROUTER_PHI, "My daughter got admitted to the psych ward"},
        {ROUTER_PERSONAL, "My daughter is trans"},
        {ROUTER_PERSONAL, "I'm jealous of my wife's boss"},
        {ROUTER_PERSONAL, "My boyfriend is insanely jealous"},
        {ROUTER_PERSONAL, "He is threatening to blackmail my sister"},
        {ROUTER_PERSONAL, "My wife and I separated"},
        {ROUTER_PERSONAL, "My parents separated when I was five"},
        {ROUTER_PERSONAL, "I suspect my husband is cheating"},
        {ROUTER_PERSONAL, "Ich habe mit Thomas geschlafen"},
        {ROUTER_PERSONAL, "Meine Kollegin hat mit dem Chef geschlafen"},
        {ROUTER_PERSONAL, "Mein Vater hat meine Mutter geschlagen"},
        {ROUTER_PERSONAL, "Mon copain me trompe"},
        {ROUTER_PERSONAL, "Me estoy separando"},
        {ROUTER_PERSONAL, "Sospetto che mia moglie abbia un altro"},
        {ROUTER_PERSONAL, "Mijn man en ik gaan scheiden"},
        {ROUTER_LEGAL, "Ho una causa con il vicino"},
        {ROUTER_LEGAL, "Ho una causa in corso"},
        {ROUTER_LEGAL, "I am willing to settle at 50,000 with my landlord"},
        {ROUTER_LEGAL, "Note that this is privileged."},
        {ROUTER_PROPRIETARY, "Page 3 of 9 CONFIDENTIAL."},
        {ROUTER_PROPRIETARY, "Stamp at the top says CONFIDENTIAL."},
        {ROUTER_PROPRIETARY, "[draft] CONFIDENTIAL] body"},
        {ROUTER_PROPRIETARY, "This memo is internal."},
        {ROUTER_PROPRIETARY, "Bitte vertraulich."},
        {ROUTER_PROPRIETARY, "They asked us to keep it confidential."},
        {ROUTER_FINANCIAL, "Peter Miller earns $5000 a month."},
        {ROUTER_FINANCIAL, "Maria Gonzalez earns about 61,500 EUR, is this fair for her position?"},
        {ROUTER_FINANCIAL, "Peter Miller, our CFO, earns 210 k"},
        {ROUTER_FINANCIAL, "Anna earns 54,000 a year at Siemens."},
        {ROUTER_SECRET, "sir the otp they sent is 552 019 what do I do with it"},
        {ROUTER_SECRET, "Het wifiwachtwoord van de camping is Wulp!duin63, maak een leuk bordje"},
        {ROUTER_SECRET, "please store this: my Bitwarden master is Pelican-Ferry-Otter-9"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        is(cases[i].category, cases[i].text);
    harmless(
        "Mitch works five days a week. If she earns $3 per hour, what does she get? Peter Miller asked.");
    harmless("a strong locus of control:\nA. External\nB. Internal");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(health),
        cmocka_unit_test(money_law_work),
        cmocka_unit_test(numbers_behind_words),
        cmocka_unit_test(names_and_addresses),
        cmocka_unit_test(written_otherwise),
        cmocka_unit_test(talk_is_no_address),
        cmocka_unit_test(a_card_told_with_a_wrong_digit),
        cmocka_unit_test(a_password_without_a_digit),
        cmocka_unit_test(a_wrong_card_behind_a_year_or_an_example),
        cmocka_unit_test(a_list_of_years_is_no_card),
        cmocka_unit_test(a_password_goes_on_behind_its_sign),
        cmocka_unit_test(an_identifier_is_no_password),
        cmocka_unit_test(side_effects_are_nobodys_illness),
        cmocka_unit_test(closures_that_nobody_knows_of_yet),
        cmocka_unit_test(codes_told_in_words),
        cmocka_unit_test(figures_to_choose_from_are_no_code),
        cmocka_unit_test(words_of_everyday_are_nobodys_affair),
        cmocka_unit_test(what_everyday_words_had_taken_along),
        cmocka_unit_test(labels_of_documents),
        cmocka_unit_test(minutes_and_parking_are_nobodys_illness),
        cmocka_unit_test(what_is_hers_or_his_and_what_is_owed),
        cmocka_unit_test(a_landmark_hides_no_address),
        cmocka_unit_test(who_is_known_hides_nobody_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
