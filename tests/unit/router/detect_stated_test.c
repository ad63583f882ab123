/* Values beside a word that says what they are (detect_stated.c), and who lives where (detect_whole.c). What
 * is near them stays harmless. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

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
    harmless("Is the M8 bolt strong enough for a swing?");
    harmless("my zip code, 90210, is in California");
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
}

static void a_date_of_birth_is_one(void **state)
{
    (void)state;
    is(ROUTER_PII, "our tenant (born 3.4.1980) is late again");
    is(ROUTER_PII, "nato a Terni, 3 maggio 1971");
    harmless("Il sottoscritto ______, nato a ______, residente in ______. Contratto 4+4.");
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
    harmless("Ross 15% Stone 35% Taylor 50%");
}

static void points_are_no_money_and_a_count_no_code(void **state)
{
    (void)state;
    harmless("Our Anna earns twenty five points");
    harmless("Peter Miller earns 25 gold coins in the game");
    is(ROUTER_FINANCIAL, "Peter Miller earns 50,000 every year");
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

static int init(void **state)
{
    (void)state;
    struct error err;
    return router_detect_init(&err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_somebody_takes_is_their_health_whatever_it_is),
        cmocka_unit_test(a_password_that_is_asked_about),
        cmocka_unit_test(a_password_is_a_programs_third_argument),
        cmocka_unit_test(dad_alone_is_the_writers_own),
        cmocka_unit_test(a_date_of_birth_is_one),
        cmocka_unit_test(numbers_of_people_further_off),
        cmocka_unit_test(who_lives_where),
        cmocka_unit_test(points_are_no_money_and_a_count_no_code),
        cmocka_unit_test(shadows_and_wards_in_other_languages),
    };
    return cmocka_run_group_tests(tests, init, NULL);
}
