/* location.c -- see location.h. */
#include "location.h"

#include <stdbool.h>

/* Each entry: one byte 1kkkklll, kind and length in code units less one; then bytes without the top bit. */
#define FIRST_OF_ENTRY 0x80u
#define CODE_UNIT_BYTES 2u
#define VARINT_MORE 0x40u /* six bits a byte, lowest first */
#define VARINT_BITS 6u

/* Kinds 0 to 9 are the short form: same line, the column's upper bits are the kind. */
enum {
    KIND_ONE_LINE_0 = 10, /* to 12: so many lines further, columns of a byte each */
    KIND_NO_COLUMNS = 13,
    KIND_LONG = 14,
    KIND_NONE = 15,
};

typedef struct {
    const uint8_t *bytes;
    size_t size;
    size_t next;
    bool is_bad; /* sticky: the table ended early or is not one */
} reader;

typedef struct {
    int64_t line; /* runs through all entries; cannot overflow: 2^30 entries of 2^31 lines are the most */
    bool has_line;
    uint32_t column; /* from 1, 0 for none */
} place;

static uint32_t
read_byte(reader *from)
{
    if (from->next >= from->size || (from->bytes[from->next] & FIRST_OF_ENTRY) != 0) {
        from->is_bad = true;
        return 0;
    }
    return from->bytes[from->next++];
}

static uint32_t
read_varint(reader *from)
{
    uint32_t value = 0;
    for (unsigned shift = 0; shift < 32; shift += VARINT_BITS) {
        const uint32_t byte = read_byte(from);
        const uint32_t bits = byte & (VARINT_MORE - 1);
        if (bits > UINT32_MAX >> shift) {
            break;
        }
        value |= bits << shift;
        if ((byte & VARINT_MORE) == 0) {
            return value;
        }
    }
    from->is_bad = true;
    return 0;
}

static int64_t
read_signed_varint(reader *from)
{
    const uint32_t value = read_varint(from);
    const int64_t magnitude = value >> 1;
    return (value & 1) != 0 ? -magnitude : magnitude;
}

/* What follows the first byte of an entry. End lines and end columns are passed over. */
static void
read_entry(reader *from, unsigned kind, place *at)
{
    at->has_line = kind != KIND_NONE;
    at->column = 0;
    if (kind < KIND_ONE_LINE_0) {
        at->column = (kind << 3 | read_byte(from) >> 4) + 1;
    }
    else if (kind < KIND_NO_COLUMNS) {
        at->line += kind - KIND_ONE_LINE_0;
        at->column = read_byte(from) + 1;
        (void)read_byte(from);
    }
    else if (kind == KIND_NO_COLUMNS) {
        at->line += read_signed_varint(from);
    }
    else if (kind == KIND_LONG) {
        at->line += read_signed_varint(from);
        (void)read_varint(from);
        at->column = read_varint(from); /* written as column + 1, 0 for none */
        (void)read_varint(from);
    }
}

void
op_location_find(const uint8_t *table, size_t size, int32_t first_line, int32_t offset_bytes,
                 int32_t *line, int32_t *column)
{
    *line = 0;
    *column = 0;
    if (offset_bytes < 0) {
        return;
    }
    uint32_t left = (uint32_t)offset_bytes;
    reader from = {.bytes = table, .size = size};
    place at = {.line = first_line};
    while (from.next < size) {
        const unsigned first = table[from.next++];
        if ((first & FIRST_OF_ENTRY) == 0) {
            return;
        }
        read_entry(&from, first >> 3 & 15, &at);
        if (from.is_bad) {
            return;
        }
        const uint32_t span = ((first & 7) + 1) * CODE_UNIT_BYTES;
        if (left < span) {
            *line = at.has_line && at.line > 0 && at.line <= INT32_MAX ? (int32_t)at.line : 0;
            *column = at.column <= INT32_MAX ? (int32_t)at.column : 0;
            return;
        }
        left -= span;
    }
}
