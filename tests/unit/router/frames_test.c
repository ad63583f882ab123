/* The frames that the detector's network and tagger are fitted to (train/), as tag_train reads all of them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <glob.h>

#include "base/limits.h"

#include "../../../tools/tag_text.h"

static void frames_of(const char *pattern)
{
    glob_t found;
    assert_int_equal(glob(pattern, 0, NULL, &found), 0);
    frames_read((int)found.gl_pathc, found.gl_pathv);
    globfree(&found);
}

/* A slot that is nobody's ends the program; "[P ", "{name}" and "{adr..." promise a part that is marked. */
static void frames_become_texts_with_their_parts(void **state)
{
    (void)state;
    enum { TEXTS = 40 };
    lines_each("data/names.txt", names_read);
    frames_of("train/tag/*.txt");
    frames_of("train/gist/*.txt");
    frames_of("train/gist/later/*.txt");
    frames_of("train/gist/near/*.txt");
    assert_true(n_frames > 1000);
    for (size_t i = 0; i < n_frames; i++) {
        size_t marked = 0;
        for (int k = 0; k < TEXTS; k++) {
            struct buf text;
            buf_init(&text, MIB);
            n_ranges = 0;
            frame_append(&text, frames[i].text, frames[i].lang);
            for (size_t r = 0; r < n_ranges; r++)
                assert_true(ranges[r].start <= ranges[r].end && ranges[r].end <= text.len);
            marked += n_ranges;
            buf_free(&text);
        }
        if (frame_marked(frames[i].text) && marked == 0)
            fail_msg("no part is marked in '" STR_FMT "'", STR_ARG(frames[i].text));
    }
}

/* {lock} of train/gist/any.txt was not found from another language's frame where train/tag was read first. */
static void a_slot_of_any_language_is_found_beside_another_folder(void **state)
{
    (void)state;
    const int own = n_langs, any = n_langs + 1;
    lang_shared = false;
    frame_read(STR("@a test's town = Ulm"));
    n_langs = any;
    lang_shared = true;
    frame_read(STR("@a test's lock = safe"));
    frame_read(STR("@a test's town = Oslo"));
    assert_true(str_is(slot_find(STR("a test's lock"), own)->values, "safe"));
    assert_true(str_is(slot_find(STR("a test's town"), own)->values, "Ulm"));
    assert_true(str_is(slot_find(STR("a test's town"), any)->values, "Oslo"));
    assert_null(slot_find(STR("a test's unit"), own));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_become_texts_with_their_parts),
        cmocka_unit_test(a_slot_of_any_language_is_found_beside_another_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
