/* Codes, passwords and a wallet's words told in words, and what people earn: rules, so that no fit of the
 * network loses them. What is near them stays harmless. */
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

static void figures_on_end_stand_further_off(void **state)
{
    (void)state;
    is(ROUTER_SECRET,
        "the pin of mum's card is her hairdresser's door number twice over, that makes three eight "
        "three eight, write her a rhyme");
    is(ROUTER_SECRET, "front gate nine nought two seven and then hash, put it on a card for the courier");
    is(ROUTER_SECRET, "coffre du bureau, six deux deux neuf, \xC3\xA0 mettre sur la fiche");
    is(ROUTER_SECRET,
        "safe behind the mirror: four turns left to nineteen, three right to sixty, back to five");
    harmless("my alarm rings at six, then at seven, and again at eight");
    harmless("the gate opens at six, seven or eight, depending on the season");
    harmless("walk to the gate, turn left, then right, one hundred metres, then left again at number two");
    harmless("am Tor links, dann zwei Stra\xC3\x9F"
             "en rechts, nach drei H\xC3\xA4usern links");
    harmless("the clock's alarm has three settings: one, two, three, four");
    harmless("the rocket's gate opens, five four three two one, and we have lift-off");
}

static void gates_of_logic_open_nothing(void **state)
{
    (void)state;
    harmless("How do I build a NAND gate with zero one one zero truth table?");
    harmless("The gate outputs one zero zero one for the inputs given.");
    is(ROUTER_SECRET, "the alarm code is zero one one zero");
    is(ROUTER_SECRET, "side gate, tell the gardener, zero one nine zero");
}

static void passwords_told_in_words(void **state)
{
    (void)state;
    is(ROUTER_SECRET, "the wifi password is blue heron underscore forty two");
    is(ROUTER_SECRET, "Passwort: Regenbogen, alles klein, dann Unterstrich und siebenundsiebzig");
    is(ROUTER_SECRET, "mot de passe : soleil rouge tout attach\xC3\xA9, tiret, vingt-deux");
    is(ROUTER_SECRET, "la clave es gato negro todo junto, guion bajo, cuarenta y cuatro");
    is(ROUTER_SECRET, "la password \xC3\xA8 gufo verde tutto attaccato, trattino basso, trentuno");
    is(ROUTER_SECRET, "wachtwoord is roodborstje aan elkaar, streepje, zesenzestig");
    is(ROUTER_SECRET, "has\xC5\x82o to niebieska czapla bez spacji, podkre\xC5\x9Blnik, czterdzie\xC5\x9B"
                      "ci dwa");
    is(ROUTER_SECRET, "a senha \xC3\xA9 saci vermelho tudo junto, tra\xC3\xA7o, trinta e tr\xC3\xAAs");
    harmless("a password is stronger with an underscore and two digits");
    harmless("Passwords: at least twelve characters, an exclamation mark and a figure");
    harmless("Passwort: mindestens acht Zeichen, Gro\xC3\x9F"
             "buchstabe, Ausrufezeichen, zwei Ziffern");
    harmless("mot de passe : au moins huit caract\xC3\xA8res, un tiret et deux chiffres");
    harmless("has\xC5\x82o: minimum osiem znak\xC3\xB3w, wielka litera, wykrzyknik");
    harmless("how do I type password colon hash sign two on this keyboard");
    harmless("Password: hash with SHA 256, then salt.");
    harmless("in bash, password: dollar sign 1 expands to the first argument");
    harmless("senha: hash bcrypt 10");
    harmless("Passwort: diese zwei Regeln gelten ab morgen");
}

static void words_of_a_wallet(void **state)
{
    (void)state;
    is(ROUTER_SECRET,
        "recovery phrase for the exchange is orchard cactus mirror venom ladder tribe swim pluck "
        "avocado hint rural gasp");
    is(ROUTER_SECRET,
        "Seed phrase:\n1. saddle\n2. orbit\n3. velvet\n4. turnip\n5. canyon\n6. drift\n7. mosquito\n"
        "8. lamp\n9. erode\n10. pistol\n11. silver\n12. awake");
    is(ROUTER_SECRET,
        "Wiederherstellungsw\xC3\xB6rter: Apfel Tinte Morgen Gabel W\xC3\xBCste Laterne Segel Ofen "
        "Kiesel Brunnen Tiger Mantel");
    is(ROUTER_SECRET, "fraza odzyskiwania: kot, burza, lampa, rzeka, st\xC3\xB3\xC5\x82, mg\xC5\x82"
                      "a, orzech, kielich, most, sowa, guzik, ziemia");
    harmless(
        "a seed phrase is usually stored offline; popular wallets include Ledger, Trezor, Electrum, Sparrow, "
        "Specter, BlueWallet, Exodus, Trust, Rabby and Phantom");
    harmless("the test vector's seed phrase: abandon abandon abandon abandon abandon abandon abandon abandon "
             "abandon abandon abandon about");
    harmless(
        "the seed is planted early: tomatoes peppers basil carrots lettuce spinach onions radishes kale");
    harmless(
        "Explain what a seed phrase is: mnemonic, entropy, checksum, wordlist, derivation, keys, addresses, "
        "backups.");
    harmless(
        "The seed is planted in spring: tomatoes, peppers, cucumbers, lettuce, carrots, onions, radishes, "
        "beans, peas");
    harmless(
        "seed words for topic modelling: economy inflation unemployment growth trade exports imports tariffs");
    harmless(
        "learn these words: lamp, ladder, tiger, river, stone, candle, basket, hammer, pillow, garden, mirror");
}

static void what_a_colleague_earns(void **state)
{
    (void)state;
    is(ROUTER_FINANCIAL, "Our cashier Marlene earns twenty-eight four and wants a rise");
    is(ROUTER_FINANCIAL, "the tenant, Marek, earns 2400 a month");
    harmless(
        "Marlene earns twenty five dollars for each lawn that she mows. How much is that for four lawns?");
    harmless("an employee earns three days of leave for each month of work");
}

/* Phrases without whose it is were taken for the writer's own affair. */
static void debts_and_courts_of_nobody(void **state)
{
    (void)state;
    harmless("What are common reasons for a loan refused by a bank?");
    harmless("In most models a credit score is 700 or more to be called good. Explain why.");
    harmless("My score's 45 in Candy Crush, how do I improve it?");
    harmless("Write a scene in which the villain is out on bail and his cards are maxed out.");
    harmless("Warum wird ein Kredit abgelehnt?");
    harmless("a mi juicio la novela es mala, redacta una rese\xC3\xB1"
             "a");
    harmless("cosa vuol dire conto in rosso?");
    harmless("il mio processo di build fallisce");
    harmless("het stoplicht sta rood op de tekening");
    harmless("moja rozprawa doktorska, streszczenie po angielsku");
    harmless("O que significa nome sujo no Brasil?");
    harmless("meu processo criativo come\xC3\xA7"
             "a sempre com uma lista");
    is(ROUTER_FINANCIAL, "my credit score is 498, where else can I borrow");
    is(ROUTER_FINANCIAL, "we're three months behind on the mortgage");
    is(ROUTER_FINANCIAL, "der Gerichtsvollzieher war gestern bei uns");
    is(ROUTER_FINANCIAL, "j'ai trois loyers de retard, que dire au bailleur");
    is(ROUTER_FINANCIAL, "komornik wszed\xC5\x82 mi na konto");
    is(ROUTER_LEGAL, "I'm out on bail, may I travel");
    is(ROUTER_LEGAL, "my 2014 shoplifting caution, must I declare it");
    is(ROUTER_LEGAL, "termin mojej rozprawy to 3 maja");
}

static void what_was_found_on_somebodys_scan(void **state)
{
    (void)state;
    is(ROUTER_PHI, "they saw a nodule on my pancreas, is that always bad");
    is(ROUTER_PHI, "un bulto en mi pecho, qu\xC3\xA9 hago");
    harmless("how do I get rid of the shadow on my face in this photo");
}

static int detector_make(void **state)
{
    (void)state;
    struct error err;
    return router_detect_init(&err);
}

/* Twelve words of a wallet, of which nothing says what they are, were nobody's. */
static void a_wallets_words_that_nothing_announces(void **state)
{
    (void)state;
    is(ROUTER_SECRET,
        "is the order right? cruise lobster anvil? no: tobacco lobster prefer gadget mimic orchard velvet "
        "tuition armor swim glance hockey and then?");
    is(ROUTER_SECRET,
        "1. tobacco\n2. lobster\n3. prefer\n4. gadget\n5. mimic\n6. orchard\n7. velvet\n8. tuition\n"
        "9. armor\n10. swim\n11. glance\n12. hockey");
    is(ROUTER_SECRET, "TOBACCO LOBSTER PREFER GADGET MIMIC ORCHARD VELVET TUITION ARMOR SWIM GLANCE HOCKEY");
    harmless("abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about");
    harmless(
        "abandon ability able about above absent absorb abstract absurd abuse access accident account accuse");
    harmless("spelling list: about, above, again, always, animal, another, answer, because, between, bicycle");
    harmless("List: about, absent, accident, animal, answer, artist, basket, bicycle, biology, border, bridge, cat");
    harmless("tobacco lobster prefer gadget mimic orchard velvet tuition armor swim glance");
    harmless("Draw: apple, banana, cat, dog, and an egg, fish, goat, horse, and an ice, jar, kite, lion");
}

/* Of 205 such sentences in eight languages 78 were found, of 60 others 20. */
static void what_is_told_of_ones_own_money_went_out(void **state)
{
    (void)state;
    is(ROUTER_FINANCIAL, "I was left 80,000 by my grandmother and my sister got nothing.");
    is(ROUTER_FINANCIAL, "We still owe \xC2\xA3"
                         "182,000 on the house.");
    is(ROUTER_FINANCIAL, "I need a polite text asking Dave for the 300 he owes me.");
    is(ROUTER_FINANCIAL, "didnt tell hmrc about the airbnb money, how bad is it");
    is(ROUTER_FINANCIAL, "Ich habe meiner Freundin 2.500 Euro geliehen.");
    is(ROUTER_FINANCIAL, "Ich habe eine Gehaltserh\xC3\xB6hung auf 58.000 bekommen.");
    is(ROUTER_FINANCIAL, "Mon patron me paie la moiti\xC3\xA9 au noir.");
    is(ROUTER_FINANCIAL, "J'ai pr\xC3\xAAt\xC3\xA9 1 500 euros \xC3\xA0 une amie.");
    is(ROUTER_FINANCIAL, "Voy a heredar 50.000 euros de mi abuela.");
    is(ROUTER_FINANCIAL, "Ho prestato 1.000 euro a un amico.");
    is(ROUTER_FINANCIAL, "Ik erf 45.000 euro van mijn oma.");
    is(ROUTER_FINANCIAL, "Dostan\xC4\x99 40 tysi\xC4\x99"
                         "cy odprawy.");
    is(ROUTER_FINANCIAL, "Emprestei 900 euros a uma amiga.");
    harmless("How do I ask a friend for money they owe?");
    harmless("Valerie earns $5000 and spends $2000, what is left?");
    harmless("Apple reported revenue of 94.9 billion in the quarter.");
    harmless("John has 37 dollars and spends 12. How many are left?");
    harmless("In the novel the banker owes the mob 5,000 dollars.");
    harmless("Ein H\xC3\xA4ndler schuldet der Bank 3.000 Euro zu 4 % Zinsen. Wie viel zahlt er?");
    harmless("\xC2\xBF"
             "C\xC3\xB3mo se calcula una hipoteca de 150.000 euros a 30 a\xC3\xB1os?");
    harmless("Devo prendere 2 pillole al giorno, Marco Rossi dice 3.");
    harmless("Ania ma 50 z\xC5\x82 i wydaje 18 z\xC5\x82. Ile jej zostanie?");
}

/* Of 84 in French, Spanish, Italian, Dutch, Polish and Portuguese 45 were found. */
static void lawsuits_and_trade_secrets_of_six_languages_went_out(void **state)
{
    (void)state;
    is(ROUTER_LEGAL, "Je passe en comparution imm\xC3\xA9"
                     "diate demain.");
    is(ROUTER_LEGAL, "Nos ha demandado un proveedor por incumplimiento.");
    is(ROUTER_LEGAL, "Sono stato convocato dai carabinieri per una denuncia.");
    is(ROUTER_LEGAL, "Een leverancier heeft ons gedagvaard.");
    is(ROUTER_LEGAL, "Mam zakaz zbli\xC5\xBC"
                     "ania si\xC4\x99 do \xC5\xBCony.");
    is(ROUTER_LEGAL, "Um fornecedor processou-nos.");
    is(ROUTER_PROPRIETARY, "Notre marge sur ce client est de 31 %, cela doit rester entre nous.");
    is(ROUTER_PROPRIETARY, "Los precios que le hacemos a Mercadona son secretos.");
    is(ROUTER_PROPRIETARY, "I prezzi che facciamo a Esselunga sono riservati.");
    is(ROUTER_PROPRIETARY, "De prijzen die we Albert Heijn geven zijn geheim.");
    is(ROUTER_PROPRIETARY, "Ceny, kt\xC3\xB3re dajemy Biedronce, s\xC4\x85 tajne.");
    is(ROUTER_PROPRIETARY, "A nossa margem nesse cliente \xC3\xA9 de 28%, que fique entre n\xC3\xB3s.");
    harmless("Qu'est-ce que la comparution imm\xC3\xA9"
             "diate ?");
    harmless("\xC2\xBFQu\xC3\xA9 es una orden de alejamiento?");
    harmless("\xC2\xBF"
             "Es secreta la f\xC3\xB3rmula exacta de la Coca-Cola?");
    harmless("Is het exacte recept van Coca-Cola geheim?");
    harmless("Czy mo\xC5\xBCna pozwa\xC4\x87 s\xC4\x85siada za ha\xC5\x82"
             "as?");
    harmless("Como funciona a liberdade condicional?");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_wallets_words_that_nothing_announces),
        cmocka_unit_test(what_is_told_of_ones_own_money_went_out),
        cmocka_unit_test(lawsuits_and_trade_secrets_of_six_languages_went_out),
        cmocka_unit_test(figures_on_end_stand_further_off),
        cmocka_unit_test(passwords_told_in_words),
        cmocka_unit_test(words_of_a_wallet),
        cmocka_unit_test(gates_of_logic_open_nothing),
        cmocka_unit_test(what_a_colleague_earns),
        cmocka_unit_test(debts_and_courts_of_nobody),
        cmocka_unit_test(what_was_found_on_somebodys_scan),
    };
    return cmocka_run_group_tests(tests, detector_make, NULL);
}
