/* codes.c -- see codes.h. */
#include "compat.h"

#include "codes.h"
#include "deaths.h"
#include "objects.h"
#include "text.h"

#define ADDRESS_SLOTS (2u * OP_CODES_MOST)
#define TEXT_SLOTS (2u * OP_TEXTS_MOST)
#define SCRATCH OP_VIEW_BYTES /* offset in the reader's view */
#define UNKNOWN_TEXT "(name not read)" /* of an object of a subclass of str, which is laid out in its own way */

_Static_assert(4 * OP_FILENAME_BYTES <= OP_SCRATCH_BYTES, "a filename of 4-byte characters is read at once");
_Static_assert(OP_LINETABLE_BYTES <= OP_SCRATCH_BYTES, "a line table is read at once");

const char *const op_synthetic_names[OP_CODES_SYNTHETIC] = {
    [OP_CODE_ELIDED] = "(frames elided)",
    [OP_CODE_TRUNCATED] = "(deeper frames not read)",
    [OP_CODE_OVERFLOW] = "(more stacks than the profiler keeps)",
    [OP_CODE_NO_ROOM] = "(more functions than the profiler keeps)",
    [OP_CODE_UNREAD] = "(stack not read)",
    [OP_CODE_UNSAMPLED] = "(between samples)",
    [OP_CODE_UNSEEN] = "(threads that ended, or are not Python's)",
};

size_t
op_codes_memory_bytes(void)
{
    return OP_CODES_MOST * (sizeof(op_code_row) + sizeof(op_code_meta)) + ADDRESS_SLOTS * sizeof(uint32_t)
           + OP_TEXTS_MOST * sizeof(uint32_t) + TEXT_SLOTS * sizeof(uint32_t) + OP_CODES_ARENA_BYTES;
}

void
op_codes_init(op_codes *codes, void *memory)
{
    uint8_t *at = memory;
    codes->rows = (op_code_row *)(void *)at;
    at += OP_CODES_MOST * sizeof(op_code_row);
    codes->metas = (op_code_meta *)(void *)at;
    at += OP_CODES_MOST * sizeof(op_code_meta);
    codes->texts = (uint32_t *)(void *)at;
    at += OP_TEXTS_MOST * sizeof(uint32_t);
    codes->text_index = op_index_over(at, TEXT_SLOTS);
    at += TEXT_SLOTS * sizeof(uint32_t);
    codes->address_index = op_index_over(at, ADDRESS_SLOTS);
    at += ADDRESS_SLOTS * sizeof(uint32_t);
    codes->arena = at;
    op_codes_clear_tick(codes);
}

void
op_codes_clear_tick(op_codes *codes)
{
    codes->code_count = OP_CODES_SYNTHETIC;
    codes->row_count = 0;
    codes->text_count = 0;
    codes->arena_used = 0;
    codes->deaths_seen = op_deaths_count_tick(&op_code_deaths);
    op_index_clear(&codes->text_index);
    op_index_clear(&codes->address_index);
}

bool
op_codes_is_filling(const op_codes *codes)
{
    return codes->code_count > OP_CODES_MOST / 2 || codes->row_count > OP_CODES_MOST / 2
           || codes->text_count > OP_TEXTS_MOST / 2 || codes->arena_used > OP_CODES_ARENA_BYTES / 2;
}

/* ---- addresses ---- */

static uint64_t
hash_of_address(uintptr_t address)
{
    return op_hash_add(0, address >> 4);
}

static uint64_t
hash_of_row(const void *rows, uint32_t row)
{
    return hash_of_address(((const op_code_row *)rows)[row].address);
}

/* The row of this address, NULL if there is none. */
static op_code_row *
find_row(const op_codes *codes, uintptr_t address)
{
    uint32_t at = op_index_first(&codes->address_index, hash_of_address(address));
    uint32_t row;
    while ((row = codes->address_index.slots[at]) != 0) {
        if (codes->rows[row - 1].address == address) {
            return &codes->rows[row - 1];
        }
        at = op_index_next(&codes->address_index, at);
    }
    return NULL;
}

/* A row for an address that has none; NULL if there is no room. */
static op_code_row *
add_row(op_codes *codes, uintptr_t address)
{
    if (codes->row_count == OP_CODES_MOST) {
        return NULL;
    }
    op_index_make_room(&codes->address_index, codes->rows, 0, codes->row_count, hash_of_row);
    uint32_t at = op_index_first(&codes->address_index, hash_of_address(address));
    while (codes->address_index.slots[at] != 0) {
        at = op_index_next(&codes->address_index, at);
    }
    op_code_row *row = &codes->rows[codes->row_count];
    *row = (op_code_row){.address = address};
    codes->row_count += 1;
    codes->address_index.slots[at] = codes->row_count;
    return row;
}

static bool
is_among(uintptr_t address, const uintptr_t *addresses, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (addresses[i] == address) {
            return true;
        }
    }
    return false;
}

static void
forget_all(op_codes *codes)
{
    for (uint32_t i = 0; i < codes->row_count; i++) {
        codes->rows[i].code = 0;
    }
}

bool
op_codes_bury_tick(op_codes *codes, const uintptr_t *addresses, size_t count)
{
    const uint64_t begin = codes->deaths_seen;
    const uint64_t died = op_deaths_count_tick(&op_code_deaths);
    bool touches = false;
    if (died == begin) {
        return false;
    }
    for (uint64_t next = begin; next < died && died - begin < OP_DEATHS_KEPT; next++) {
        const uintptr_t address = op_deaths_at_tick(&op_code_deaths, next);
        op_code_row *const row = find_row(codes, address);
        if (row != NULL) {
            row->code = 0;
        }
        touches = touches || is_among(address, addresses, count);
    }
    codes->deaths_seen = died;
    if (op_deaths_count_tick(&op_code_deaths) - begin >= OP_DEATHS_KEPT) { /* the ring has gone round */
        forget_all(codes);
        return true;
    }
    return touches;
}

/* ---- text ---- */

static uint32_t
put_bytes(op_codes *codes, const void *bytes, uint32_t count, bool with_length)
{
    const size_t wanted = count + (with_length ? sizeof count : 0);
    if (wanted > OP_CODES_ARENA_BYTES - codes->arena_used) {
        return UINT32_MAX;
    }
    const size_t begin = codes->arena_used;
    uint8_t *to = codes->arena + begin;
    if (with_length) {
        memcpy(to, &count, sizeof count);
        to += sizeof count;
    }
    memcpy(to, bytes, count);
    codes->arena_used += (wanted + 3) & ~(size_t)3;
    return (uint32_t)begin;
}

static uint64_t
hash_of_text(const void *table, uint32_t row)
{
    const op_codes *codes = table;
    const uint8_t *entry = codes->arena + codes->texts[row];
    uint32_t count;
    memcpy(&count, entry, sizeof count);
    return op_hash_bytes(entry + sizeof count, count);
}

/* The offset of this text in the arena, each different text once; UINT32_MAX if there is no room. */
static uint32_t
intern_text(op_codes *codes, const char *text, uint32_t count)
{
    op_index_make_room(&codes->text_index, codes, 0, codes->text_count, hash_of_text);
    uint32_t at = op_index_first(&codes->text_index, op_hash_bytes(text, count));
    uint32_t row;
    while ((row = codes->text_index.slots[at]) != 0) {
        uint32_t known;
        const uint8_t *entry = codes->arena + codes->texts[row - 1];
        memcpy(&known, entry, sizeof known);
        if (known == count && memcmp(entry + sizeof known, text, count) == 0) {
            return codes->texts[row - 1];
        }
        at = op_index_next(&codes->text_index, at);
    }
    if (codes->text_count == OP_TEXTS_MOST) {
        return UINT32_MAX;
    }
    const uint32_t begin = put_bytes(codes, text, count, true);
    if (begin != UINT32_MAX) {
        codes->texts[codes->text_count] = begin;
        codes->text_count += 1;
        codes->text_index.slots[at] = codes->text_count;
    }
    return begin;
}

typedef enum { COPIED, TORN, FULL } copy_result;

static copy_result
copy_text(op_codes *codes, op_reader *reader, uintptr_t address, uint32_t most, uint32_t *offset)
{
    op_text_view text;
    char utf8[OP_FILENAME_BYTES];
    if (!op_read_one_tick(reader, address, OP_TEXT_BYTES, SCRATCH)) {
        return TORN;
    }
    if (!op_text_parse_tick(reader->view + SCRATCH, address, &text)) {
        *offset = intern_text(codes, UNKNOWN_TEXT, sizeof UNKNOWN_TEXT - 1);
        return *offset == UINT32_MAX ? FULL : COPIED;
    }
    const size_t length = text.length < most ? text.length : most; /* a character is a byte at least */
    if (length > 0 && !op_read_one_tick(reader, text.data, length * text.kind, SCRATCH)) {
        return TORN;
    }
    const size_t bytes = op_text_to_utf8(reader->view + SCRATCH, length, text.kind, utf8, most, NULL);
    *offset = intern_text(codes, utf8, (uint32_t)bytes);
    return *offset == UINT32_MAX ? FULL : COPIED;
}

static copy_result
copy_linetable(op_codes *codes, op_reader *reader, uintptr_t address, op_code_meta *meta)
{
    size_t length = 0;
    if (!op_read_one_tick(reader, address, OP_BYTES_HEADER, SCRATCH)
        || !op_bytes_parse_tick(reader->view + SCRATCH, &length)) {
        return TORN;
    }
    if (length > OP_LINETABLE_BYTES) {
        length = 0;
    }
    if (length > 0 && !op_read_one_tick(reader, address + OP_BYTES_HEADER, length, SCRATCH)) {
        return TORN;
    }
    meta->linetable = put_bytes(codes, reader->view + SCRATCH, (uint32_t)length, false);
    meta->linetable_bytes = (uint32_t)length;
    return meta->linetable == UINT32_MAX ? FULL : COPIED;
}

/* ---- code objects ---- */

static copy_result
copy_code(op_codes *codes, op_reader *reader, uintptr_t address, op_code_row **row)
{
    op_code_view code;
    op_code_meta meta = {0};
    copy_result result;
    if (!op_read_one_tick(reader, address, OP_CODE_BYTES, SCRATCH)
        || !op_code_parse_tick(reader->view + SCRATCH, &code) || code.type != (uintptr_t)&PyCode_Type) {
        return TORN;
    }
    if (codes->code_count == OP_CODES_MOST || (*row == NULL && codes->row_count == OP_CODES_MOST)) {
        return FULL;
    }
    meta.first_line = code.first_line;
    if ((result = copy_text(codes, reader, code.filename, OP_FILENAME_BYTES, &meta.filename)) != COPIED
        || (result = copy_text(codes, reader, code.qualname, OP_NAME_BYTES, &meta.qualname)) != COPIED
        || (result = copy_linetable(codes, reader, code.linetable, &meta)) != COPIED) {
        return result;
    }
    if (*row == NULL) {
        *row = add_row(codes, address);
    }
    (*row)->code = codes->code_count;
    (*row)->first_traceable_bytes = code.first_traceable_bytes;
    (*row)->instruction_bytes = code.instruction_bytes;
    codes->metas[codes->code_count] = meta;
    codes->code_count += 1;
    return COPIED;
}

op_resolution
op_codes_resolve_tick(op_codes *codes, op_reader *reader, uintptr_t address, uintptr_t ip, bool is_generator,
                      uint32_t *code, int32_t *offset)
{
    op_code_row *row = find_row(codes, address);
    if (row == NULL || row->code == 0) {
        const copy_result result = copy_code(codes, reader, address, &row);
        if (result == FULL) {
            *code = OP_CODE_NO_ROOM;
            *offset = 0;
            return OP_RESOLVED;
        }
        if (result == TORN) {
            return OP_NOT_CODE;
        }
    }
    /* Before its first instruction a frame points at the unit before it: -2. */
    const int64_t at = (int64_t)(ip - (address + OP_CODE_BYTES));
    if (at < -2 || at >= (int64_t)row->instruction_bytes) {
        return OP_NOT_CODE;
    }
    if (!is_generator && at < (int64_t)row->first_traceable_bytes) {
        return OP_INCOMPLETE;
    }
    *code = row->code;
    *offset = (int32_t)at;
    return OP_RESOLVED;
}
