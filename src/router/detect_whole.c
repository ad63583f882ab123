/* Names and addresses that are not sure by themselves: beside each other, or beside what is private. */
#include "router/detect_context.h"

static bool is_unsure(const struct detect_hit *hit, const struct detect_family *family, double least)
{
    return hit->type == family->types[0] && hit->score >= least && hit->score < DETECT_SURE;
}

/* A house number and a name: "14 Ochre Lane", not "7c", "15% Stone" nor a paragraph. */
static bool is_house(struct str place)
{
    enum { LETTERS = 4, MOST = 60 };
    size_t letters = 0, digits = 0;
    if (place.len > MOST || str_find_char(place, '%') != SIZE_MAX)
        return false;
    for (size_t i = 0; i < place.len; i++) {
        letters += detect_is_alpha(place.data[i]);
        digits += detect_is_digit(place.data[i]);
    }
    return digits > 0 && letters >= LETTERS;
}

/* Is the name of the address's line? */
static bool is_beside(struct str between)
{
    return str_find_char(between, '\n') == SIZE_MAX && str_find_char(between, ';') == SIZE_MAX;
}

/* "Deidre, 14 Ochre Lane": on one line, a name and then an address; not "... of Davis Street; thence along
 * Davis Street 100 feet". The hits of each family are in order. */
static void neighbours_look(struct detect_scan *s)
{
    enum { NEAR = 60 }; /* bytes between */
    for (size_t i = 0, k = 0; i < s->n_hits; i++) {
        struct detect_hit *person = &s->hits[i];
        if (!is_unsure(person, &detect_persons_family, 0.3))
            continue;
        while (k < s->n_hits &&
               (!is_unsure(&s->hits[k], &detect_places_family, 0.4) || s->hits[k].start < person->end))
            k++;
        if (k < s->n_hits && s->hits[k].start < person->end + NEAR &&
            is_house(str_slice(s->text, s->hits[k].start, s->hits[k].end)) &&
            is_beside(str_slice(s->text, person->end, s->hits[k].start)))
            person->score = s->hits[k].score = 0.6;
    }
}

void detect_residents(struct detect_context *c)
{
    struct detect_scan *s = c->scan;
    bool private = c->private || (c->seen & CUE(named) && c->seen & CUE(housed)) ||
                   (c->n_persons > 1 && c->n_beliefs > 1);
    neighbours_look(s);
    for (size_t i = 0; i < s->n_hits && !private; i++)
    private = s->hits[i].score >= DETECT_SURE &&
              s->hits[i].type->category &
                  (ROUTER_PII | ROUTER_PHI | ROUTER_FINANCIAL | ROUTER_PERSONAL | ROUTER_LEGAL);
    for (size_t i = 0; i < s->n_hits && private; i++)
        if (is_unsure(&s->hits[i], &detect_persons_family, 0.4) ||
            is_unsure(&s->hits[i], &detect_places_family, 0.4))
            s->hits[i].score = 0.6;
}
