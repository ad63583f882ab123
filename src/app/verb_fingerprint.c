/* weir fingerprint: files and folders that must not leave, as a file of hashes for the configuration's
 * `owner`. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/verbs.h"
#include "base/file.h"
#include "router/detect_print.h"

static const char help[] =
    "usage: weir fingerprint [--out FILE] [--common PATH] PATH...\n"
    "\n"
    "Reads text files, and folders with all that is in them, and writes a file of hashes by which the gateway\n"
    "knows passages of them again: name it in the configuration, as in\n"
    "\n"
    "  owner: {find: [{documents: board.fingerprint}]}\n"
    "\n"
    "A passage of 80 letters and digits (some fifteen words) is found for certain, one below 40 never; case,\n"
    "accents, spaces, punctuation and line ends do not matter. The file holds no text. Symbolic links, devices\n"
    "and files that are not text in UTF-8 are passed over and listed; of formats like PDF take the text out\n"
    "first. What more than half of ten or more documents share is taken for boilerplate.\n"
    "\n"
    "  --out FILE      default: the first path's name with .fingerprint\n"
    "  --common PATH   a file or folder of boilerplate (letterheads, licences): none of it is to be found\n";

enum { PIECE = 256 * 1024, DEPTH = 64, FAILURES_SHOWN = 20 };

struct reading {
    struct print_maker maker;
    char *piece;
    size_t passed_over, bytes;
    bool named; /* it was named itself: what is no text is an error then */
    struct error *err;
};

static int passed_over(struct reading *r, const char *path, const char *why)
{
    if (r->named)
        return error_set(r->err, ERROR_INVALID, "%s %s", path, why);
    if (r->passed_over++ < FAILURES_SHOWN)
        fprintf(stderr, "weir: passed over %s, which %s\n", path, why);
    return 0;
}

/* As many whole characters as there are; false: it is no text. */
static bool text_floor(struct str s, bool last, size_t *whole)
{
    *whole = last ? s.len : str_utf8_floor(s.data, s.len);
    return (s.len == 0 || memchr(s.data, '\0', s.len) == NULL) && str_utf8_valid(str_slice(s, 0, *whole));
}

/* A file in pieces. What was read of one that turns out to be no text is dropped. */
static int stream_read(struct reading *r, int fd, const char *path, bool *is_text)
{
    struct detect_fold *fold = malloc(sizeof *fold);
    size_t kept = 0;
    bool last = false;
    int rc = fold ? 0 : error_set(r->err, ERROR_MEMORY, "no memory for %s", path);
    if (fold)
        detect_fold_begin(fold, STR_NONE);
    *is_text = true;
    while (rc == 0 && !last && *is_text) {
        ssize_t got = read(fd, r->piece + kept, PIECE - kept);
        size_t whole;
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            rc = error_set(r->err, ERROR_IO, "cannot read %s: %s", path, strerror(errno));
            break;
        }
        last = got == 0;
        *is_text = text_floor((struct str){r->piece, kept + (size_t)got}, last, &whole);
        fold->text = (struct str){r->piece, whole};
        fold->at = 0;
        while (*is_text && rc == 0 && detect_fold_read(fold))
            rc =
                print_feed(&r->maker, (struct str){fold->bytes + fold->fresh, fold->n - fold->fresh}, r->err);
        kept = kept + (size_t)got - whole;
        memmove(r->piece, r->piece + whole, kept);
    }
    free(fold);
    return rc;
}

static int document_read(struct reading *r, int fd, const char *path)
{
    bool is_text;
    size_t before = r->maker.n;
    struct stat st;
    int rc = stream_read(r, fd, path, &is_text);
    if (rc == 0 && !is_text) {
        r->maker.n = before;
        *r->maker.roll = (struct print_roll){0};
        return passed_over(r, path, "is not text in UTF-8");
    }
    r->bytes += fstat(fd, &st) == 0 ? (size_t)st.st_size : 0;
    return rc ? rc : print_document_end(&r->maker, r->err);
}

static int path_read(struct reading *r, int folder, const char *name, const char *path, int depth);

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int folder_read(struct reading *r, int fd, const char *path, int depth)
{
    struct dirent **entries;
    int rc = 0, n = depth < DEPTH ? scandirat(fd, ".", &entries, NULL, by_name) : 0;
    if (depth >= DEPTH)
        return error_set(r->err, ERROR_LIMIT, "%s: folders are more than %d deep", path, DEPTH);
    if (n < 0)
        return error_set(r->err, ERROR_IO, "cannot read the folder %s: %s", path, strerror(errno));
    r->named = false;
    for (int i = 0; i < n; i++) {
        const char *name = entries[i]->d_name;
        char *inner = NULL;
        if (rc == 0 && strcmp(name, ".") != 0 && strcmp(name, "..") != 0)
            rc = asprintf(&inner, "%s/%s", path, name) < 0
                     ? error_set(r->err, ERROR_MEMORY, "no memory for the names in %s", path)
                     : path_read(r, fd, name, inner, depth + 1);
        free(inner);
        free(entries[i]);
    }
    free(entries);
    return rc;
}

/* Opened once and then asked what it is, so that nothing can be put in its place; a link is not followed but
 * where it was named. */
static int path_read(struct reading *r, int folder, const char *name, const char *path, int depth)
{
    struct stat st;
    int fd = openat(folder, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | (depth > 0 ? O_NOFOLLOW : 0)), rc;
    if (fd < 0 && errno == ELOOP)
        return passed_over(r, path, "is a symbolic link");
    if (fd < 0 && errno == ENXIO)
        return passed_over(r, path, "is not a file");
    if (fd < 0)
        return error_set(r->err, ERROR_IO, "cannot open %s: %s", path, strerror(errno));
    if (fstat(fd, &st) != 0)
        rc = error_set(r->err, ERROR_IO, "cannot read %s: %s", path, strerror(errno));
    else if (S_ISDIR(st.st_mode))
        rc = folder_read(r, fd, path, depth);
    else if (S_ISREG(st.st_mode))
        rc = document_read(r, fd, path);
    else
        rc = passed_over(r, path, "is not a file");
    close(fd);
    return rc;
}

static int all_read(struct reading *r, const char *common, int n, char **paths)
{
    int rc = print_begin(&r->maker, r->err);
    r->piece = malloc(PIECE);
    if (rc == 0 && !r->piece)
        rc = error_set(r->err, ERROR_MEMORY, "no memory to read files");
    r->named = true;
    r->maker.boilerplate = common != NULL;
    if (rc == 0 && common)
        rc = path_read(r, AT_FDCWD, common, common, 0);
    if (rc == 0 && common)
        rc = print_common(&r->maker, r->err);
    r->bytes = 0;
    for (int i = 0; i < n && rc == 0; i++) {
        r->named = true;
        rc = path_read(r, AT_FDCWD, paths[i], paths[i], 0);
    }
    return rc;
}

static void made_say(const struct reading *r, const struct print_made *made, const char *path, size_t size)
{
    fprintf(stderr, "weir: %s: %zu fingerprints of %zu documents (%zu bytes of text) in %zu bytes\n", path,
        made->kept, made->documents, r->bytes, size);
    if (made->boilerplate > 0)
        fprintf(stderr, "weir: %zu fingerprints were left out as boilerplate\n", made->boilerplate);
    if (made->short_documents > 0)
        fprintf(stderr,
            "weir: %zu documents have less than %d letters and digits in a row: they cannot be found\n",
            made->short_documents, PRINT_NOISE);
    if (r->passed_over > 0)
        fprintf(stderr, "weir: %zu files were passed over\n", r->passed_over);
}

/* "papers/board/" -> "board.fingerprint" */
static char *name_make(const char *path)
{
    char *name = NULL;
    struct str base = str_from(path);
    while (str_ends(base, STR("/")))
        base.len--;
    base = str_base_name(base);
    if (base.len == 0 || str_is(base, ".") || str_is(base, ".."))
        base = STR("documents");
    return asprintf(&name, STR_FMT ".fingerprint", STR_ARG(base)) < 0 ? NULL : name;
}

static int place_check(const char *out, int n, char **paths, struct error *err)
{
    int rc = file_check_place(out, err);
    for (int i = 0; i < n && rc == 0; i++)
        if (file_is_same(paths[i], out))
            rc = error_set(err, ERROR_INVALID, "%s is one of the files that are read: name another", out);
    return rc;
}

int verb_fingerprint(int argc, char **argv)
{
    const char *out = NULL, *common = NULL;
    const struct verb_option options[] = {{"out", &out, NULL}, {"common", &common, NULL}};
    int n = verb_options(argc, argv, options, sizeof options / sizeof *options, help);
    if (n < 0)
        return n == -2 ? EXIT_DONE : EXIT_USAGE;
    if (n == 0)
        return verb_failf(EXIT_USAGE, "fingerprint wants files or folders: see weir fingerprint --help");
    struct error err;
    struct reading r = {.err = &err};
    struct print_made made;
    struct buf file;
    char *name = out ? strdup(out) : name_make(argv[1]);
    buf_init(&file, PRINT_FILE_MOST);
    int rc = name ? place_check(name, n, argv + 1, &err)
                  : error_set(&err, ERROR_MEMORY, "no memory for a file's name");
    if (rc == 0)
        rc = all_read(&r, common, n, argv + 1);
    if (rc == 0)
        rc = print_write(&r.maker, &file, &made, &err);
    if (rc == 0 && made.kept == 0)
        rc = error_set(
            &err, ERROR_INVALID, "there is no text of %d letters and digits to fingerprint", PRINT_NOISE);
    if (rc == 0)
        rc = file_replace(name, buf_str(&file), 0600, &err);
    if (rc == 0)
        made_say(&r, &made, name, file.len);
    print_free(&r.maker);
    buf_free(&file);
    free(r.piece);
    free(name);
    return rc ? verb_fail(EXIT_FAILED, &err) : EXIT_DONE;
}
