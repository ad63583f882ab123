/* Rows on their way to the database, kept from the moment they are here: gathered, appended to a file in one
 * write by whoever submits them, dropped once the database has them.
 *
 *   PATH.0, PATH.1:   | WEIRJRN2 | id: 8 bytes | record (store_ops.h) | record | ...
 *
 * One file is appended to; the other is being written to the database, or is empty. A row that was appended
 * outlives the process, not a power cut: only the database is synced. Rows are numbered without gaps; the
 * database keeps the number of the last one it has, under `name`, in the same transaction, so that each row
 * gets there exactly once. The tag, over what follows it in the record, finds the row that a power cut or a
 * full disk left half-written: the file ends before it. (In WEIRJRN1, of earlier versions, it was SipHash;
 * such files are read, and begun anew once they are empty.) */
#ifndef WEIR_STORE_STORE_JOURNAL_H
#define WEIR_STORE_STORE_JOURNAL_H

#include "store/store_ops.h"

struct store_journal;

/* Has a journal there rows, done with or not? */
bool store_journal_has_rows(const char *path);
/* For another process's journal: the number of its last row and its name; 0 where it has none. */
int store_journal_peek(
    const char *path, struct arena *a, struct str *name, int64_t *number, struct error *err) MUST_USE;
/* Creates the files where they are missing and locks them: ERROR_BUSY while another process has them. */
int store_journal_open(const char *path, struct store_journal **out, struct error *err) MUST_USE;
void store_journal_close(struct store_journal *j);            /* the rows stay; NULL is allowed */
struct str store_journal_name(const struct store_journal *j); /* "journal:" and the id in hex */

/* The rows after number `after`, in order, appended to `rows`; numbers go on behind the last one. Before the
 * first row. */
int store_journal_read(struct store_journal *j, int64_t after, struct list *rows, struct error *err) MUST_USE;

int64_t store_journal_number(const struct store_journal *j); /* of the last row, 0: there was none */

/* One thread at a time. Numbers the row (row->number) and gathers its record. */
void store_journal_add(struct store_journal *j, struct store_row *row);
/* Has so much gathered that it should be written before the next row? */
bool store_journal_is_full(const struct store_journal *j);
/* As add. Writes what was gathered; on failure nothing of it stays, and its numbers are given again. */
int store_journal_write(struct store_journal *j, struct error *err) MUST_USE;
/* One thread at a time, as add. The database has all rows up to `number`: -1, or the file (0, 1) that
 * store_journal_drop may now empty. */
int store_journal_committed(struct store_journal *j, int64_t number);
/* Beside writes: nobody writes to that file. */
void store_journal_drop(struct store_journal *j, int file);
/* As add: that file is empty now. */
void store_journal_dropped(struct store_journal *j, int file);
/* At the end: the database has all rows up to `number`. Empties both files where that is all of them. */
void store_journal_finish(struct store_journal *j, int64_t number);

#endif
