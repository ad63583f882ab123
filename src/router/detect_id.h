/* National and other numbers of people and firms: facts about their form, as the issuers publish it. */
#ifndef WEIR_ROUTER_DETECT_ID_H
#define WEIR_ROUTER_DETECT_ID_H

#include "router/detect.h"

/* What the value itself proves; each gets letters and digits only, upper case, NUL-terminated. */
typedef bool detect_id_check(const char *value, size_t n);

/* Among `lengths`: one of these must stand behind the first run; none of them: anything may. */
#define DETECT_BLANK ((uint64_t)1 << 60)
#define DETECT_DASH ((uint64_t)1 << 61)
#define DETECT_SLASH ((uint64_t)1 << 62)
#define DETECT_DOT ((uint64_t)1 << 63)
#define DETECT_BEHIND (DETECT_BLANK | DETECT_DASH | DETECT_SLASH | DETECT_DOT)

struct detect_id {
    const char *type;
    enum router_category category;
    const char *words; /* lower case, comma-separated: one of them near before it makes it sure */
    uint64_t
        lengths; /* bit n: the first run of letters and digits may be n long; and what stands behind it */
    const char *pattern; /* PCRE2, anchored; ends where no letter or digit follows */
    detect_id_check *check;
    double alone, announced; /* scores without and with a word before it */
};

extern const struct detect_id detect_ids[];
extern const size_t n_detect_ids;

/* ---- detect_id_check.c ---- */
detect_id_check detect_check_luhn, detect_check_verhoeff, detect_check_aba, detect_check_abn,
    detect_check_acn, detect_check_medicare, detect_check_tfn, detect_check_kvnr, detect_check_mrz,
    detect_check_id_card, detect_check_lanr, detect_check_not_zero, detect_check_plz, detect_check_vsnr,
    detect_check_steuer_id, detect_check_nie, detect_check_fi, detect_check_brn, detect_check_rrn,
    detect_check_dea, detect_check_ph_tin, detect_check_pesel, detect_check_se, detect_check_th,
    detect_check_tr, detect_check_nhs, detect_check_npi, detect_check_za, detect_check_bsn, detect_check_nir,
    detect_check_cpf, detect_check_ahv, detect_check_fiscal;
detect_id_check detect_check_iban; /* detect_account.c: the check digits alone */

#endif
