/* fuzz_location.c -- T18: any bytes as a location table. Input: i32 first line, i32 offset, u16 cut, the table. */
#include "check.h"
#include "input.h"
#include "location.h"

typedef struct {
    int32_t line;
    int32_t column;
} place;

static place
find(const uint8_t *table, size_t size, int32_t first_line, int32_t offset_bytes)
{
    place found = {-1, -1};
    op_location_find(table, size, first_line, offset_bytes, &found.line, &found.column);
    CHECK(found.line >= 0 && found.column >= 0);
    return found;
}

static int
is_same(place one, place other)
{
    return one.line == other.line && one.column == other.column;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    input from = {data, size};
    int32_t first_line;
    int32_t offset_bytes;
    uint16_t cut;
    input_take(&from, &first_line, sizeof(first_line));
    input_take(&from, &offset_bytes, sizeof(offset_bytes));
    input_take(&from, &cut, sizeof(cut));

    const place unknown = {0, 0};
    const size_t kept = from.size == 0 ? 0 : cut % from.size;
    const int32_t offsets[] = {offset_bytes, offset_bytes & 0x7f, offset_bytes & 0x7ff, 0, INT32_MAX};
    for (size_t i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
        const place found = find(from.bytes, from.size, first_line, offsets[i]);
        /* Both bytes of a code unit are the same instruction. */
        CHECK(is_same(found, find(from.bytes, from.size, first_line, offsets[i] ^ 1)));
        /* What follows an entry changes nothing; without its end it is unknown. */
        const place before_cut = find(from.bytes, kept, first_line, offsets[i]);
        CHECK(is_same(before_cut, found) || is_same(before_cut, unknown));
    }
    return 0;
}
