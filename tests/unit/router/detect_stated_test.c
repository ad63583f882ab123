/* Values beside a word that says what they are (detect_stated.c), and who lives where (detect_whole.c). What
 * is near them stays harmless. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/limits.h"
#include "router/detect.h"

static unsigned found_in(const char *text)
{
    struct router_findings f = {0};
    struct error err;
    struct arena *a = arena_create(16 * MIB);
    assert_int_equal(router_detect(a, STR_NONE, str_from(text), &f, &err), 0);
    unsigned categories = f.categories;
    arena_free(a);
    return categories;
}

static void is(enum router_category category, const char *text)
{
    if (!(found_in(text) & category))
        fail_msg("no %s in '%s'", router_category_name(category), text);
}

static void harmless(const char *text)
{
    if (found_in(text))
        fail_msg("something is found in '%s'", text);
}

static void what_somebody_takes_is_their_health_whatever_it_is(void **state)
{
    (void)state;
    is(ROUTER_PHI, "my lad's mate says my son, 9, can stay on 200mg brivaquil, ok?");
    is(ROUTER_PHI, "dad gets 0.5 mg of that new stuff, too much?");
    is(ROUTER_PHI, "mein Mann bekommt jetzt 40 mg Zelvaprin am Abend");
    is(ROUTER_PHI, "mia nonna prende 25mg di Trovalex la mattina");
    is(ROUTER_PHI, "moja siostra dosta\xC5\x82"
                   "a 50 mg Korvenalu");
    harmless("How many mg of caffeine are in an espresso?");
    harmless("my recipe has 20 mg of saffron");
    harmless("The shelf of my son holds 40 kg.");
}

static void a_password_that_is_asked_about(void **state)
{
    (void)state;
    is(ROUTER_SECRET, "is Marrowfield-Stoat7 strong enough?");
    is(ROUTER_SECRET, "Ist Birkenhain-Dachs4 sicher genug?");
    is(ROUTER_SECRET, "Roncevaux-Loutre12 est assez solide ?");
    is(ROUTER_SECRET, "czy Lipowa-Borsuk5 wystarczaj\xC4\x85"
                      "co mocne?");
    is(ROUTER_SECRET, "need a rhyme for my bank pin, 6093");
    is(ROUTER_SECRET, "her phone passcode 4417, put it on the card");
    harmless("Is AES256 strong enough for a wiki?");
    harmless("is a password with 12 characters strong enough?");
    harmless("my password 12345 was a joke");
    harmless("Is WPA2-Enterprise secure enough?");
    harmless("Is ChaCha20-Poly1305 safe enough for backups?");
    harmless("Ist AES256-GCMsiv sicher genug?");
    harmless("Is the M8 bolt strong enough for a swing?");
    harmless("my zip code, 90210, is in California");
}

/* Once for each of its words a text without blanks was read as a whole: a quarter of a megabyte took minutes.
 */
static void a_word_of_a_megabyte_is_asked_about_once_for_each_of_its_words(void **state)
{
    enum { TIMES = 75000, SECONDS = 20 };
    static const char asked[] = "strong-enough-";
    char *text = malloc(TIMES * (sizeof asked - 1) + 1);
    (void)state;
    assert_non_null(text);
    for (size_t i = 0; i < TIMES; i++)
        memcpy(text + i * (sizeof asked - 1), asked, sizeof asked);
    const int64_t before = clock_cpu_ns();
    assert_int_equal(found_in(text), 0);
    assert_true(clock_cpu_ns() - before < SECONDS * INT64_C(1000000000));
    free(text);
}

/* Where a number stands right behind "password" nothing further off was looked at. */
static void the_new_password_behind_the_old_one(void **state)
{
    struct router_findings f = {0};
    struct error err;
    struct arena *a = arena_create(16 * MIB);
    const struct str text = STR("Our wifi password 2019 version was Kx7lemon9, still is");
    const size_t start = str_find(text, STR("Kx7lemon9"));
    bool found = false;
    (void)state;
    assert_int_equal(router_detect(a, STR_NONE, text, &f, &err), 0);
    for (size_t i = 0; i < f.n_entities; i++)
        found = found || (f.entities[i].start == start && f.entities[i].score >= 0.5);
    assert_true(found);
    arena_free(a);
}

/* Only what stands behind "password is" was looked at. */
static void a_password_before_the_word_that_says_so(void **state)
{
    (void)state;
    is(ROUTER_SECRET, "Hutkoffer2014! is her password for the school portal, why is it refused?");
    is(ROUTER_SECRET, "Hutkoffer2014! is haar wachtwoord voor de portal");
    is(ROUTER_SECRET, "Hutkoffer2014! ist mein Passwort, ist das gut?");
    is(ROUTER_SECRET, "Hutkoffer2014! est mon mot de passe");
    is(ROUTER_SECRET, "Hutkoffer2014! \xC3\xA8 la mia password");
    is(ROUTER_SECRET, "Hutkoffer2014! es mi contrase\xC3\xB1"
                      "a del banco");
    is(ROUTER_SECRET, "Hutkoffer2014! \xC3\xA9 a minha senha");
    is(ROUTER_SECRET, "Hutkoffer2014! to moje has\xC5\x82o");
    harmless("1Password7 is my password manager");
    harmless("Python3 is my password generator of choice");
    harmless("SHA256 is not a password");
}

static void a_login_has_its_password_behind_p(void **state)
{
    (void)state;
    is(ROUTER_SECRET, "az login --service-principal -u app -p \"w4~Lhs.Rt0vXm2_Kd9WyBzePu4\"");
    is(ROUTER_SECRET, "docker login -u ci -p Tor7walsen.x");
    harmless("docker login -u ci -p $REGISTRY_TOKEN");
    harmless("docker login -u ci --password-stdin");
}

static void placeholders_of_other_languages(void **state)
{
    (void)state;
    harmless("export API_KEY=\"sua-chave-aqui1\"");
    harmless("curl -u usuario:contrase\xC3\xB1"
             "a https://api.example.com/v1/pedidos");
    harmless("api_key = 'dein-api-key-123'");
    harmless("Schreib an max@beispiel.de oder max@example.nl, Tel. +1-555-0100");
    is(ROUTER_SECRET, "curl -u usuario:Tor7walsen https://api.example.com/v1/pedidos");
    is(ROUTER_SECRET, "curl -u admin:password https://db.zephyrpost.com/");
    is(ROUTER_SECRET, "api_key = \"twoj_klucz_8f7d6e5c4b3a2f1e0d9c\"");
    is(ROUTER_SECRET, "apikey=consu_api_9f8a7b6c5d4e3f2a1b0c9d8e");
}

static void a_password_is_a_programs_third_argument(void **state)
{
    (void)state;
    is(ROUTER_SECRET, "$p = new PDO('mysql:host=db7.firm.de;dbname=shop', 'shop', 'Xk!92_ppQ');");
    is(ROUTER_SECRET, "DriverManager.getConnection(\"jdbc:oracle:thin:@h:1521\", \"app\", \"Tor7walsen\")");
    harmless("$p = new PDO('mysql:host=localhost;dbname=test', 'user', 'password');");
    harmless("$p = new PDO('mysql:host=localhost;dbname=test', 'user', 'your_password1');");
}

static void dad_alone_is_the_writers_own(void **state)
{
    (void)state;
    is(ROUTER_LEGAL, "brother's lawyer just served me, now what");
    is(ROUTER_PHI, "mum was told it's dementia, who do i ring first");
    is(ROUTER_PHI, "Hallo zusammen: oma hat demenz, was nun");
    harmless("Wife of Bath's tale: divorce and marriage");
    harmless("Mother: dementia. Father: none. Which gene is it?");
    harmless("a brother's lawyer in a comedy, name ideas");
    is(ROUTER_PHI, "gran has dementia and needs a form signed");
    is(ROUTER_PHI, "av\xC3\xB3 com dem\xC3\xAAncia, que fazer");
    is(ROUTER_PHI, "Uncle Rob takes 5 mg of it at night");
    harmless("Pap smears screen for cervical cancer.");
    harmless("Sister chromatids in leukemia cells: explain.");
    harmless("Daughter cells of a tumor divide faster, true?");
    harmless("Gran Breta\xC3\xB1"
             "a aprob\xC3\xB3 el aborto en 1967.");
    harmless("Gran parte de los tumores son benignos.");
    harmless("Mother Teresa cared for cancer patients.");
    harmless("Bro why is insulin so expensive?");
    /* In title case it was nobody's; Uncle Sam was the writer's own. */
    is(ROUTER_PHI, "Husband Has Cancer");
    is(ROUTER_PHI, "Mother Has Dementia, How To Help");
    is(ROUTER_PHI, "Dad Was Diagnosed With Parkinson's");
    is(ROUTER_PHI, "Uncle Sam has cancer, please help");
    harmless("Uncle Sam funds cancer research");
    harmless("Uncle Ben's rice and diabetes: what is known?");
    harmless("Papa Francesco on abortion, a summary please");
    harmless("Mother Jones reports on cancer");
    harmless("Sister Act and depression in films");
    harmless("GF bread for diabetics, please");
    harmless("Brother printers, 200mg of toner left?");
}

static void a_date_of_birth_is_one(void **state)
{
    (void)state;
    is(ROUTER_PII, "our tenant (born 3.4.1980) is late again");
    is(ROUTER_PII, "nato a Terni, 3 maggio 1971");
    harmless("Il sottoscritto ______, nato a ______, residente in ______. Contratto 4+4.");
    is(ROUTER_PII, "Date of birth: __3.4.1980__");
    is(ROUTER_PII, "**born**: _3 April 1971_");
    is(ROUTER_PII, "birth_date: 1980_04_03");
    is(ROUTER_PII, "DOB + sex: 3.4.1980 m");
    is(ROUTER_PII, "our employee Tom (born 3 April 1980) is a thief");
    is(ROUTER_PII, "Tom (born 3.4.1980) is a lodger");
    harmless("Edda Vanterpool (born January 19, 1946, in Locust Ridge) is an American singer.");
}

static void numbers_of_people_further_off(void **state)
{
    (void)state;
    is(ROUTER_PII, "bsn staat op het nieuwe contract, dat is 198472635");
    is(ROUTER_PII, "cart\xC3\xA3o SUS 704 6081 3372 9915");
    is(ROUTER_PII, "Notfallnummer 0157 8820 4471");
    harmless("Tel. 0123 456 7890 (placeholder)");
    harmless("my passport has 32 pages");
}

static void who_lives_where(void **state)
{
    (void)state;
    is(ROUTER_PII, "Help plan: I'm Deidre, 14 Ochre Lane, Nuneaton, going away 3rd to 17th");
    harmless("Which of these is an absolute location?\nB. Washington\nD. 479 Elm Street, Muncie");
    harmless("from the corner of Davis Street and University Way; thence west along Davis Street 100 feet");
    harmless("Ross 15% Stone 35% Taylor 50%");
}

static void points_are_no_money_and_a_count_no_code(void **state)
{
    (void)state;
    harmless("Our Anna earns twenty five points");
    harmless("Peter Miller earns 25 gold coins in the game");
    is(ROUTER_FINANCIAL, "Peter Miller earns 50,000 every year");
    is(ROUTER_FINANCIAL, "Peter Miller earns 85,000, likes his boss");
    is(ROUTER_FINANCIAL, "our clerk Anna earns thirty-one five");
    harmless("at the gate: five six seven eight, and step, and turn");
    is(ROUTER_SECRET, "the gate: five two seven eight");
}

static void shadows_and_wards_in_other_languages(void **state)
{
    (void)state;
    is(ROUTER_PHI, "die haben einen schatten auf meiner lunge gesehen");
    is(ROUTER_PHI, "ils ont vu une tache sur mon poumon");
    is(ROUTER_PHI, "me han visto un bulto en mi pecho");
    is(ROUTER_PHI, "ze zagen een plekje op mijn lever");
    is(ROUTER_PHI, "estou internado h\xC3\xA1 dois dias");
    is(ROUTER_PHI, "im in the psych ward til friday");
    is(ROUTER_PROPRIETARY, "Calibration, managers only\nplanned exits: two");
    harmless("Schatten auf der Wand, ein Gedicht");
    harmless("une tache sur mon pull");
    harmless("How does a psych ward work?");
}

/* One or two facts in a few words, which lists know by whose they are; and the same words of nobody. */
static void facts_told_in_a_few_words(void **state)
{
    (void)state;
    static const char *const told[] = {"my brother was arrested in Leeds, who do i phone",
        "mein bruder wurde in k\xC3\xB6ln verhaftet, wen ruf ich an",
        "mon fr\xC3\xA8re a \xC3\xA9t\xC3\xA9 arr\xC3\xAAt\xC3\xA9 \xC3\xA0 Lyon, j'appelle qui",
        "hanno arrestato mio fratello a Napoli, chi chiamo", "mijn baas zoende me op het feest",
        "wyczu\xC5\x82"
        "am guzek i boj\xC4\x99 si\xC4\x99 zadzwoni\xC4\x87",
        "parei os comprimidos h\xC3\xA1 uma semana", "dej\xC3\xA9 las pastillas hace una semana",
        "unsere marge bei den st\xC3\xBChlen liegt bei 62 prozent",
        "nasza mar\xC5\xBC"
        "a na krzes\xC5\x82"
        "ach to 62 procent",
        "il nostro margine sulle sedie \xC3\xA8 del 62 %",
        "der r\xC3\xBC"
        "ckruf startet donnerstag, h\xC3\xA4ndler erfahren es mittwoch",
        "my pupil Leila told me her stepdad hits her", "een leerling vertelde dat haar stiefvader haar slaat",
        "my shrink upped the dose again, what do i tell work",
        "the bailiffs came about the council tax yesterday, can they take the car",
        "my tribunal is on the 12th, what do i wear",
        "we're letting six people go in the warehouse, they hear it monday",
        "i kissed my sister's husband and can't stop thinking about it",
        "my daughter cuts herself, note to her form tutor",
        "wir sind drei monatsmieten im r\xC3\xBC"
        "ckstand, brief an den vermieter",
        "meine verhandlung ist am 12., was soll ich anziehen",
        "meine tochter ritzt sich, mail an die klassenlehrerin",
        "on a trois mois de loyer de retard, lettre au propri\xC3\xA9taire",
        "on licencie six personnes \xC3\xA0 l'entrep\xC3\xB4t, elles l'apprennent lundi",
        "ma femme est partie dimanche, je dis quoi aux enfants",
        "tengo antecedentes, \xC2\xBFlo digo en la entrevista?", "mi hija se corta, nota para la tutora",
        "siamo indietro di tre affitti, lettera al padrone di casa",
        "il nostro cliente pi\xC3\xB9 grosso se ne va e il team non sa niente",
        "mijn psycholoog wil dat ik mijn moeder schrijf",
        "ik heb een strafblad, moet ik dat zeggen bij het gesprek",
        "mijn dochter snijdt zich, briefje voor de mentor",
        "zalegamy z czynszem trzy miesi\xC4\x85"
        "ce, list do w\xC5\x82"
        "a\xC5\x9B"
        "ciciela",
        "zwalniamy sze\xC5\x9B\xC4\x87 os\xC3\xB3"
        "b z magazynu, dowiedz\xC4\x85 si\xC4\x99 w poniedzia\xC5\x82"
        "ek",
        "\xC5\xBCona wyprowadzi\xC5\x82"
        "a si\xC4\x99 w niedziel\xC4\x99, co powiem dzieciom",
        "a minha filha corta-se, recado para a diretora de turma",
        "our counsellor says we should separate for a bit, how do i tell mum",
        "my mortgage is four payments late", "they offered me 9k to settle, is that low",
        "mein bruder hat wieder angefangen zu trinken",
        "wir machen den standort dicht, presse wei\xC3\x9F noch nix", "j'ai 9000 euros de dettes de jeu",
        "je suis amoureux de ma belle-s\xC5\x93ur", "mi ex quiere la custodia",
        "mio fratello ha ricominciato a bere", "chiudiamo il negozio di Lecce a giugno, nessuno lo sa",
        "ik heb 9000 euro gokschuld", "ik ben verliefd op mijn zwager",
        "m\xC3\xB3j by\xC5\x82y chce opieki nad dzie\xC4\x87mi", "meu irm\xC3\xA3o voltou a beber",
        "vamos fechar a loja de Braga em junho, ningu\xC3\xA9m sabe"};
    static const char *const of_nobody[] = {"What is a good margin for a chair maker?",
        "Wie hoch ist eine \xC3\xBC"
        "bliche Marge im Handel?",
        "Who was arrested in the film's last scene?",
        "comment s'appelle la sc\xC3\xA8ne o\xC3\xB9 il est arr\xC3\xAAt\xC3\xA9 ?",
        "What does a midwife do in the first trimester?",
        "Was macht ein Psychiater anders als ein Psychologe?",
        "Comment fonctionne le sursis en droit fran\xC3\xA7"
        "ais ?",
        "Cosa succede in una udienza preliminare?",
        "Kto mo\xC5\xBC"
        "e zosta\xC4\x87 kuratorem s\xC4\x85"
        "dowym?",
        "my code review: the tribunal class needs a test", "In our trial version the export is missing",
        "mein Prozess h\xC3\xA4ngt beim Start, PID 4411",
        "mi proceso de compilaci\xC3\xB3n falla con el error 12", "mijn proces hangt in docker",
        "meu processo no Windows trava sempre",
        "ma femme est partie acheter du pain, une recette de cr\xC3\xAApes",
        "meine Frau ist weg und ich koche, Rezept f\xC3\xBCr Gulasch",
        "our churn is delicious butter, write a slogan", "we're letting go of old habits, write a poem",
        "minha medica\xC3\xA7\xC3\xA3o? isso \xC3\xA9 m\xC3\xBAsica, traduza",
        "my inheritance chain in Java: class B extends A", "our data breach policy template, fix the commas",
        "mi causa favorita es el medio ambiente",
        "nuestra denuncia en la redacci\xC3\xB3n escolar trata del pl\xC3\xA1stico",
        "our injunction example in the textbook, chapter 4",
        "My husband and I are looking for a quiet hotel in Porto with a pool",
        "Ma femme aime les romans policiers, conseille-m'en trois",
        "Mia moglie vuole dipingere la cucina di verde", "Moja \xC5\xBCona szuka przepisu na pierogi",
        "Our team doesn't know how to use Git rebase, explain",
        "our largest customer segment is students, write ad copy",
        "meine Hebamme hat eine tolle Webseite, wie baue ich so eine?",
        "my character is suing me in my dream, write a comic",
        "Wir entlassen Wasser aus dem Becken, wie steuere ich das Ventil?",
        "Vamos despedir o ver\xC3\xA3o com uma festa, ideias",
        "despedimos a los invitados con una canci\xC3\xB3n, ideas",
        "On ferme le magasin \xC3\xA0 19 h, texte pour l'affiche", "We sluiten de winkel om zes uur, bordje",
        "Zamykamy sklep o 18, napisz kartk\xC4\x99", "we're closing the shop early on friday, sign text",
        "Der Gerichtsvollzieher kommt: Theaterst\xC3\xBC"
        "ck, drei Rollen",
        "ich h\xC3\xB6re Stimmen im Chor nicht gut raus, \xC3\x9C"
        "bungen"};
    for (size_t i = 0; i < sizeof told / sizeof *told; i++)
        if (!found_in(told[i]))
            fail_msg("nothing is found in '%s'", told[i]);
    for (size_t i = 0; i < sizeof of_nobody / sizeof *of_nobody; i++)
        harmless(of_nobody[i]);
}

static int init(void **state)
{
    (void)state;
    struct error err;
    return router_detect_init(&err);
}

/* Each was private: 155 of the benchmarks' harmless prompts were, now 127. */
static void what_is_anybodys_is_nobodys(void **state)
{
    (void)state;
    harmless("A Type I error at a dialysis center: what is it?");
    harmless("The coefficient is valid at the point it is evaluated.");
    harmless("When was the Dalai Lama born? A. 1935 B. 2000 C. 1965");
    harmless("An attorney took the job at a salary of $45,000 a year.");
    harmless("Ann saves 10% of her weekly wage of 300 dollars. How much is that?");
    harmless("A 45-year-old woman takes pills for her asthma. What is next?");
    harmless("Hydrogen fusion begins once the internal pressure of the star is high enough.");
    harmless("Summarise how Jean Piaget treated a depressed patient with cognitive therapy.");
    harmless("Quarter First 30000 Second 40000 Third 22500 Fourth 27500 Total 120000");
    harmless("Cash 400000 Inventories 600000 Patent 10 and so on: balance it, please");
    harmless("In which soap does she learn that he is having an affair?");
    is(ROUTER_FINANCIAL, "my salary of 45,000 was cut");
    is(ROUTER_FINANCIAL, "my sister says her salary is 2,000");
    is(ROUTER_PHI, "Anna's results came today, her cancer is back");
    is(ROUTER_PHI, "Nobody at work knows that my wife and I are hiv positive.");
    is(ROUTER_PHI, "Please check: so do I. Diabetes runs in my family.");
    is(ROUTER_PERSONAL, "my husband is having an affair");
    is(ROUTER_PII, "write to anna at point dot com");
    is(ROUTER_PII, "Send it to 12345 Oak Street, Springfield 62704");
}

/* Many have the names of some who are known. */
static void namesakes_are_somebody(void **state)
{
    (void)state;
    is(ROUTER_PHI, "Patient William James, born 12.03.1985, has HIV");
    is(ROUTER_PII, "Our tenant Adam Smith, born 12 March 1985, wants to leave");
    is(ROUTER_PII, "Giuseppe Verdi, nato il 12 marzo 1985, vive con noi");
    is(ROUTER_PHI, "James Watson was diagnosed with leukemia");
}

/* Each was found before the rules for what is anybody's. */
static void what_is_somebodys_stays_found(void **state)
{
    (void)state;
    is(ROUTER_PHI, "Please summarise this: Her epilepsy medication was changed to lamotrigine.");
    is(ROUTER_PHI, "Can you write a mail about his schizophrenia relapse? He is my son.");
    is(ROUTER_PHI, "What to cook during her chemotherapy?");
    is(ROUTER_PHI, "At this stage I feel suicidal every day.");
    is(ROUTER_PHI, "For the most part I struggle with bulimia.");
    is(ROUTER_PHI, "Uncle Tom recently diagnosed with HIV, what to do");
    is(ROUTER_PHI, "Uncle Ben's cancer came back");
    is(ROUTER_PHI, "Dad John on chemo for lung cancer, what should he eat?");
    is(ROUTER_FINANCIAL, "Translate: his salary is 84,000 and his mortgage is late");
    is(ROUTER_FINANCIAL, "Maria Lopez wants a raise; her salary is 52,000. How much tax is that?");
    is(ROUTER_FINANCIAL, "I was offered a job with a salary of 52,000.");
    is(ROUTER_FINANCIAL, "He has a salary of 52,000 and rents my flat.");
    is(ROUTER_PERSONAL, "Our CEO having an affair with his secretary");
    is(ROUTER_PROPRIETARY, "streng vertraulich, Fusion der beiden Werke");
    is(ROUTER_PROPRIETARY, "projet confidentiel de fusion avec Danone");
    is(ROUTER_PII, "DOB (M) 12/03/1985");
    is(ROUTER_PII, "Patient born as twin B. on 12.03.1985");
    is(ROUTER_PII, "My address is 10450 Riverside Drive, Apt 12345, Los Angeles 90210.");
    is(ROUTER_PII, "12345 Elm Street, Springfield 62704 555012.");
    is(ROUTER_PII, "12345 Oak Street 62704 or 12345 62704 55512");
    is(ROUTER_PII, "Adam Smith, deliver to 12 Elm Street $20");
    is(ROUTER_PII, "Tel. 15550123 please");
    harmless("Tel. +1-555-0123 please");
    harmless("Name the class I obesity drugs.");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_password_before_the_word_that_says_so),
        cmocka_unit_test(a_login_has_its_password_behind_p),
        cmocka_unit_test(placeholders_of_other_languages),
        cmocka_unit_test(what_is_anybodys_is_nobodys),
        cmocka_unit_test(namesakes_are_somebody),
        cmocka_unit_test(what_is_somebodys_stays_found),
        cmocka_unit_test(what_somebody_takes_is_their_health_whatever_it_is),
        cmocka_unit_test(a_password_that_is_asked_about),
        cmocka_unit_test(a_word_of_a_megabyte_is_asked_about_once_for_each_of_its_words),
        cmocka_unit_test(the_new_password_behind_the_old_one),
        cmocka_unit_test(a_password_is_a_programs_third_argument),
        cmocka_unit_test(dad_alone_is_the_writers_own),
        cmocka_unit_test(a_date_of_birth_is_one),
        cmocka_unit_test(numbers_of_people_further_off),
        cmocka_unit_test(who_lives_where),
        cmocka_unit_test(points_are_no_money_and_a_count_no_code),
        cmocka_unit_test(facts_told_in_a_few_words),
        cmocka_unit_test(shadows_and_wards_in_other_languages),
    };
    return cmocka_run_group_tests(tests, init, NULL);
}
