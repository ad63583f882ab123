/* What Python's str methods know of characters. */
#ifndef WEIR_ENGINE_WORKER_TEMPLATE_UNICODE_H
#define WEIR_ENGINE_WORKER_TEMPLATE_UNICODE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/str.h"

bool tpl_is_space(uint32_t c);
bool tpl_is_printable(uint32_t c);
bool tpl_is_alpha(uint32_t c);
bool tpl_is_digit(uint32_t c);
bool tpl_is_cased(uint32_t c);
size_t tpl_upper(uint32_t c, uint32_t out[3]); /* returns how many */
size_t tpl_title(uint32_t c, uint32_t out[3]);
uint32_t tpl_lower(uint32_t c);
/* Of the characters of `set`; NULL: of Unicode white space. */
struct str tpl_strip(struct str s, const struct str *set, bool left, bool right);
/* The character at *pos of valid UTF-8; moves *pos past it. */
uint32_t tpl_char_next(struct str s, size_t *pos);
size_t tpl_char_offset(struct str s, size_t index); /* byte offset of a code point; s.len past the end */
void tpl_append_char(struct buf *b, uint32_t c);

#endif
