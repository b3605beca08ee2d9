/* unit_codes.c -- the tables of code objects, filled to the brim and beyond, in memory of exactly their size. */
#include "compat.h"

#include "check.h"
#include "codes.h"
#include "deaths.h"
#include "foreign.h"
#include "objects.h"

enum { CODE_AT = 0, FILENAME_AT = 0x400, QUALNAME_AT = 0x1000, TABLE_AT = 0x2000 };

op_deaths op_code_deaths;

static void
lay_text(size_t at, uint32_t number)
{
    PyASCIIObject *text = (PyASCIIObject *)(void *)(foreign_memory + at);
    text->ob_base.ob_type = &PyUnicode_Type;
    text->length = 4;
    text->state.kind = 1;
    text->state.compact = 1;
    text->state.ascii = 0;
    memcpy(foreign_memory + at + sizeof(PyCompactUnicodeObject), &number, sizeof number);
}

static void
lay_code(size_t at, uint32_t name, size_t table_bytes)
{
    PyCodeObject *code = (PyCodeObject *)(void *)(foreign_memory + at);
    memset(code, 0, OP_CODE_BYTES);
    code->ob_base.ob_base.ob_type = &PyCode_Type;
    code->ob_base.ob_size = 40;
    code->co_filename = (PyObject *)foreign_address(FILENAME_AT);
    code->co_qualname = (PyObject *)foreign_address(QUALNAME_AT);
    code->co_linetable = (PyObject *)foreign_address(TABLE_AT);
    lay_text(FILENAME_AT, 0x2020201);
    lay_text(QUALNAME_AT, name & 0x7f7f7f7f);
    PyBytesObject *table = (PyBytesObject *)(void *)(foreign_memory + TABLE_AT);
    table->ob_base.ob_base.ob_type = &PyBytes_Type;
    table->ob_base.ob_size = (Py_ssize_t)table_bytes;
}

/* The number of the code object at CODE_AT, with a name of its own. It dies afterwards: the next is another. */
static uint32_t
resolve(op_codes *codes, op_reader *reader, uint32_t name, size_t table_bytes)
{
    uint32_t code;
    int32_t offset;
    const uintptr_t address = foreign_address(CODE_AT);
    lay_code(CODE_AT, name, table_bytes);
    CHECK(op_codes_resolve_tick(codes, reader, address, address + OP_CODE_BYTES, true, &code, &offset)
          == OP_RESOLVED);
    CHECK(code < OP_CODES_MOST && codes->code_count <= OP_CODES_MOST && codes->text_count <= OP_TEXTS_MOST
          && codes->arena_used <= OP_CODES_ARENA_BYTES);
    op_code_deaths.ring[op_code_deaths.count % OP_DEATHS_KEPT] = address;
    op_code_deaths.count++;
    (void)op_codes_bury_tick(codes, NULL, 0);
    return code;
}

/* A name whose bytes are ASCII, `number` in base 127. */
static uint32_t
name_of(uint32_t number)
{
    return (1 + number % 127) | (1 + number / 127 % 127) << 8 | (1 + number / 127 / 127) << 16 | 1u << 24;
}

/* Until one finds no room; then none that is new does. Returns how many did. */
static uint32_t
fill_codes(bool has_names, size_t table_bytes)
{
    op_codes codes = {0};
    op_reader *reader = foreign_begin();
    void *memory = calloc(1, op_codes_memory_bytes());
    uint32_t count = 0, code;
    CHECK(memory != NULL);
    op_codes_init(&codes, memory);
    while ((code = resolve(&codes, reader, name_of(has_names ? count : 0), table_bytes)) != OP_CODE_NO_ROOM) {
        CHECK(code == OP_CODES_SYNTHETIC + count);
        count += 1;
    }
    for (uint32_t i = 0; i < 3; i++) {
        CHECK(resolve(&codes, reader, name_of(count + i), table_bytes) == OP_CODE_NO_ROOM);
    }
    CHECK(op_codes_is_filling(&codes) && codes.code_count == OP_CODES_SYNTHETIC + count);
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t name = name_of(has_names ? i : 0), bytes = sizeof name;
        const uint8_t *text = codes.arena + codes.metas[OP_CODES_SYNTHETIC + i].qualname;
        CHECK(memcmp(text, &bytes, sizeof bytes) == 0 && memcmp(text + sizeof bytes, &name, sizeof name) == 0);
    }
    free(memory);
    return count;
}

static void
code_objects_beyond_the_last_say_so(void)
{
    CHECK(fill_codes(false, 0) == OP_CODES_MOST - OP_CODES_SYNTHETIC); /* numbers */
    CHECK(fill_codes(true, 0) == OP_CODES_MOST - OP_CODES_SYNTHETIC);  /* and names, all but a few */
    const uint32_t count = fill_codes(true, 4093);                     /* bytes: 4093 of lines, 8 of the name */
    CHECK(count == (OP_CODES_ARENA_BYTES - 8) / (4096 + 8));
}

static void
addresses_of_code_objects_are_found_again(void)
{
    op_codes codes = {0};
    op_reader *reader = foreign_begin();
    void *memory = calloc(1, op_codes_memory_bytes());
    uint32_t code;
    int32_t offset;
    enum { ADDRESSES = 24 }; /* for more there is no memory */
    CHECK(memory != NULL);
    op_codes_init(&codes, memory);
    for (uint32_t round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < ADDRESSES; i++) {
            const size_t at = 0x4000 + i * 0x200;
            const uintptr_t address = foreign_address(at);
            lay_code(at, name_of(i), 4);
            CHECK(op_codes_resolve_tick(&codes, reader, address, address + OP_CODE_BYTES, true, &code, &offset)
                  == OP_RESOLVED);
            CHECK(code == OP_CODES_SYNTHETIC + i);
        }
    }
    CHECK(codes.row_count == ADDRESSES && codes.code_count == OP_CODES_SYNTHETIC + ADDRESSES);
    free(memory);
}

int
main(void)
{
    code_objects_beyond_the_last_say_so();
    addresses_of_code_objects_are_found_again();
    return 0;
}
