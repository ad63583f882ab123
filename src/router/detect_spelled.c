/* Passwords told in words, and the words that a wallet is made again with. */
#include "router/detect_context.h"

#include <string.h>

/* Words that stand in any sentence: neither a password nor a wallet's words are told with them. */
static const char everyday[] =
    " characters digits letters invalid valid lowercase uppercase lower upper minimum maximum rejected wrong mindestens grossbuchstabe grossbuchstaben zeichen ziffern moins "
    "caracteres chiffres majuscule majuscules mayuscula mayusculas minimo numeros maiuscula caratteri cifre minstens tekens cijfers hoofdletter hoofdletters znakow cyfry litera litery "
    "about after all also and any are because been before but can does each every for from generate has have "
    "her his how into its least made must needs not one only our please random recovery she should some "
    "than that the their them then there these they this those twelve unless use used uses using usually wallet "
    "wallets was were what when where which who why will with without word words you your "
    "aber als auch auf aus bei das dass dein dem den der des die diese ein eine einem einen einer fur hat ich "
    "ihr ihre ist kann kein mein meine mit muss nach nicht noch nur oder sein sich sie sind uber und von vor "
    "wann warum was welche wenn wer wie wird worter zum zur zwolf "
    "avec aux cette comme dans des donc elle est fait faut les leur lui mais mes moi mon mots notre nous par "
    "pas peut plus pour que quel quelle qui quoi sans ses soit son sont sur une vos votre vous "
    "como con cual del donde ella ellos entre esta estas este esto hay las los mas mis muy nuestra para pero "
    "por porque puede que quien ser sin sobre sus una uno unos palabras "
    "alla anche che chi come con cosa dalla degli dei della delle dello deve gli hai hanno loro mia mio nel "
    "nella non perche piu puo quale quando quella questo sono sua suo sul una parole "
    "als bij dan dat deze die een geen haar hebben heeft het hoe hun ik kan maar met mijn moet naar niet nog "
    "ook omdat over uit van veel voor waar waarom wat welke wie wordt zijn zonder woorden "
    "albo ale aby byc bez czy dla gdy gdzie ich jak jaka jakie jako jego jej jest kiedy kto ktory ktora ktore "
    "mnie moj moja moze nad nie oraz pod przed przez sie sobie swoje tak tego ten tez tylko slowa slow "
    "aos com como das dos ela ele esse esta este isso mais mas meu minha muito nas nem nos onde para pela pelo "
    "porque qual quando que quem sao sem seu sua tem uma voce palavras ";

/* Folded as the lists are: "Für" is "fur". */
static bool everyday_is(const struct detect_context *c, size_t at)
{
    enum { SHORT = 2, LONG = 12 };
    const struct str text = c->scan->text;
    char word[2 * LONG + 8] = " ";
    size_t n = 1;
    for (size_t i = c->words[at].start; i < c->words[at].end && n <= 2 * LONG;) {
        const char b = text.data[i];
        bool capital;
        size_t n_letter = 1, length = 0;
        if ((unsigned char)b >= 0x80)
            length = detect_letter_fold(text, i, &word[n], &n_letter, &capital);
        if (length == 0)
            word[n] = b >= 'A' && b <= 'Z' ? (char)(b + 'a' - 'A') : b;
        n += length ? n_letter : 1;
        i += length ? length : 1;
    }
    word[n] = ' ';
    word[n + 1] = '\0';
    return n - 1 <= SHORT || strstr(everyday, word) != NULL;
}

/* "Recovery phrase: saddle orbit velvet ...": so many words on end as no sentence has. They may be numbered.
 * No wallet's list has longer ones; what is told of phrases, and lists of other things, has. */
bool detect_seed(const struct detect_context *c, const struct detect_atom *phrase, struct detect_atom *out)
{
    enum { BEHIND = 12, WORDS = 8, LEAST = 3, MOST = 8 };
    size_t n = 0, from = 0;
    for (size_t i = phrase->to; i < c->n_words && (n > 0 || i < phrase->to + BEHIND); i++) {
        const struct detect_word *w = &c->words[i];
        const size_t length = str_utf8_count(str_slice(c->scan->text, w->start, w->end));
        if (w->flags & WORD_DIGITS && length < LEAST)
            continue;
        bool told = length >= LEAST && length <= MOST && !(w->flags & WORD_DIGIT) && !everyday_is(c, i);
        for (size_t k = from; k < i && told && n > 0; k++) /* "abandon abandon abandon ..." is an example */
            told = c->words[k].hash != w->hash;
        if (told && n == 0)
            told = i == phrase->to || detect_word_is(w - 1, CUE(copula)) ||
                   (w - 1)->flags & (WORD_COLON | WORD_LINE | WORD_STOP | WORD_DIGITS);
        from = told && n > 0 ? from : i;
        n = told ? n + 1 : 0;
        if (n == WORDS) {
            *out = (struct detect_atom){CUE(seed), phrase->from, i + 1};
            return true;
        }
    }
    return false;
}

/* What stands in a password beside its words: a sign or how it is written, and another one or a figure. The
 * word behind both; 0: not there. */
static size_t signs_end(const struct detect_context *c, size_t from, size_t at)
{
    enum { NEAR = 5 };
    size_t n = 0, signs = 0, end = 0;
    for (size_t i = from; i < c->n_words && i < at + NEAR; i++) {
        const struct detect_word *w = &c->words[i];
        bool sign = detect_atom_in(c, CUE(sign), i, i + 1);
        bool figure = detect_word_is(w, CUE(figure) | CUE(tens)) || w->flags & WORD_DIGIT;
        if (w->sentence != c->words[from].sentence)
            break;
        signs += sign;
        n += sign || figure;
        end = sign || figure ? i + 1 : end;
    }
    return signs > 0 && n > 1 ? end : 0;
}

/* "The wifi password is blue heron underscore forty two, no spaces": behind "is" or a colon a word,
 * and nothing that a sentence about passwords has ("password: hash with SHA-256", "passphrase: dollar sign
 * 1"). */
bool detect_spelled(
    const struct detect_context *c, const struct detect_atom *password, struct detect_atom *out)
{
    enum { SAYS = 6, VALUE = 6 };
    size_t from = 0, end;
    for (size_t i = password->to - 1; i < c->n_words && i < password->to + SAYS && from == 0; i++)
        if (detect_word_is(&c->words[i], CUE(copula)) || c->words[i].flags & WORD_COLON)
            from = i + 1;
    for (size_t i = from; from > 0 && i < c->n_words && i < from + VALUE; i++) {
        if (c->words[i].sentence != c->words[password->from].sentence)
            return false;
        if (detect_atom_in(c, CUE(sign), i, i + 1)) {
            end = i > from ? signs_end(c, from, i) : 0;
            *out = (struct detect_atom){CUE(sign), password->from, end};
            return end > 0;
        }
        if (everyday_is(c, i))
            return false;
    }
    return false;
}
