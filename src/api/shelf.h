/* Files that clients keep here, in a folder beside the state that only its owner reads.
 *
 *   FOLDER/file-ID.json   what is known of it: an object of the API, and whose it is ("key")
 *   FOLDER/file-ID.data   its content
 *   FOLDER/batch_ID.json  a batch
 *
 * A .json file is replaced as a whole, so that a killed process leaves the old or the new one. */
#ifndef WEIR_API_SHELF_H
#define WEIR_API_SHELF_H

#include <limits.h>

#include "json/json.h"

/* Makes the folder where it is missing. */
int shelf_open(const char *folder, struct error *err) MUST_USE;
/* A path of the entry; false: there can be no such id. `suffix`: ".json" or ".data". */
bool shelf_path(const char *folder, struct str id, const char *suffix, char out[PATH_MAX]);

int shelf_write(const char *folder, struct str id, const json_t *about, struct error *err) MUST_USE;
int shelf_write_data(const char *folder, struct str id, struct str data, struct error *err) MUST_USE;
/* ERROR_NOT_FOUND also where `key` (NULL: any) is not its own. The caller owns *about. */
int shelf_read(
    const char *folder, struct str id, const char *key, json_t **about, struct error *err) MUST_USE;
int shelf_read_data(const char *folder, struct str id, struct buf *out, struct error *err) MUST_USE;
void shelf_remove(const char *folder, struct str id);
/* Those whose id begins so, newest first, as a new array; ones that cannot be read are left out. */
json_t *shelf_list(const char *folder, const char *prefix, const char *key);
/* Removes what was made before then, of one key or (NULL) of all; how many entries. */
size_t shelf_purge(const char *folder, int64_t before_s, const char *key);

#endif
