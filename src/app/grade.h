/* How good an answer is, by what a sample expects of it: 0 to 1.
 *
 *   exact      the answer, white space around it gone, is the expected text (or one of a list)
 *   contains   it holds the text (or one of a list), small and capital letters alike
 *   regex      a POSIX extended expression finds something in it
 *   json       the answer is an object (a fence of Markdown around it is allowed): the share of the expected
 * members that it has, with the same values judge      a model says so: not here */
#ifndef WEIR_APP_GRADE_H
#define WEIR_APP_GRADE_H

#include "json/json.h"

enum grade_by { GRADE_EXACT, GRADE_CONTAINS, GRADE_REGEX, GRADE_JSON, GRADE_JUDGE };

/* The sample's `grader`; without one json for an object and exact for all else. ERROR_INVALID: no such
 * grader, nothing expected, or an expression that does not compile. */
int grade_read(const json_t *sample, enum grade_by *out, struct error *err) MUST_USE;
double grade(enum grade_by by, const json_t *expected, struct str answer);
/* What a judge is asked, as a user's message. */
void grade_question(struct str question, const json_t *expected, struct str answer, struct buf *out);
/* Its verdict: the last number of what it said, 0 to 10, over 10; NaN: it gave none. */
double grade_verdict(struct str said);

#endif
