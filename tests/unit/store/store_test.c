/* What every database must do, done by SQLite. */
#include "unit/store/store_cases.h"

int main(void)
{
    const struct CMUnitTest tests[] = {STORE_CASES(fixture_up, fixture_down)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
