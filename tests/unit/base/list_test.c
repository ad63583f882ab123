#include "base/list.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct item {
    int before;
    struct list link;
    int value;
};

static void keeps_order_and_lets_the_loop_remove(void **state)
{
    (void)state;
    struct list head;
    struct item items[10];
    list_init(&head);
    assert_true(list_empty(&head));
    for (int i = 0; i < 10; i++) {
        items[i].value = i;
        list_push_back(&head, &items[i].link);
    }
    int sum = 0, last = -1;
    list_each(node, after, &head) {
        struct item *item = list_item(node, struct item, link);
        assert_int_equal(item->value, last + 1);
        last = item->value;
        if (item->value % 2)
            list_remove(node);
    }
    list_each(node, after, &head)
        sum += list_item(node, struct item, link)->value;
    assert_int_equal(sum, 0 + 2 + 4 + 6 + 8);
    list_each(node, after, &head)
        list_remove(node);
    assert_true(list_empty(&head));
    /* A removed node may be removed again: it points at itself. */
    assert_true(list_empty(&items[0].link));
    list_remove(&items[0].link);
    assert_true(list_empty(&items[0].link));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(keeps_order_and_lets_the_loop_remove)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
