/* unit_location.c -- what only C can ask of location.h; the rest is in tests/native/test_location.py. */
#include "check.h"
#include "location.h"

#include <string.h>

static void
find(const uint8_t *table, size_t size, int32_t offset_bytes, int32_t line, int32_t column)
{
    /* Of its own size on the heap, so that ASan sees a byte too many. */
    uint8_t *copy = malloc(size);
    int32_t found_line = -1;
    int32_t found_column = -1;
    CHECK(copy != NULL);
    memcpy(copy, table, size);
    op_location_find(copy, size, 100, offset_bytes, &found_line, &found_column);
    free(copy);
    CHECK(found_line == line && found_column == column);
}

static void
no_table_is_unknown(void)
{
    int32_t line = -1;
    int32_t column = -1;
    op_location_find(NULL, 0, 100, 0, &line, &column);
    CHECK(line == 0 && column == 0);
}

static void
a_table_is_read_no_further_than_the_wanted_entry(void)
{
    static const uint8_t table[] = {0x80 | 11 << 3, 4, 9, 0xff}; /* a line further, columns 4 to 9 */
    find(table, 3, 0, 101, 5);
    find(table, 3, 1, 101, 5);
    find(table, 3, 2, 0, 0);
    for (size_t size = 1; size < 3; size++) {
        find(table, size, 0, 0, 0);
    }
}

static void
the_furthest_offset_and_the_longest_entries_do_not_overflow(void)
{
    uint8_t table[7 * 100];
    for (size_t i = 0; i < sizeof(table); i += 7) {
        memcpy(table + i, "\xef\x7e\x7f\x7f\x7f\x7f\x03", 7); /* no columns, 2^31 - 1 lines further */
    }
    find(table, sizeof(table), 0, 0, 0);
    find(table, sizeof(table), 1599, 0, 0);
    find(table, sizeof(table), INT32_MAX, 0, 0);
    find(table, sizeof(table), INT32_MIN, 0, 0);
}

int
main(void)
{
    no_table_is_unknown();
    a_table_is_read_no_further_than_the_wanted_entry();
    the_furthest_offset_and_the_longest_entries_do_not_overflow();
    return 0;
}
