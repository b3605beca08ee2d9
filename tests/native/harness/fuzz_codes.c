/* fuzz_codes.c -- T18: code objects that change while their names are copied.
 * Input: u8 kind of the names, u8 length, i32 offset of the instruction, u8 deaths, changes. */
#define _GNU_SOURCE
#include "compat.h"

#include "check.h"
#include "codes.h"
#include "deaths.h"
#include "foreign.h"
#include "location.h"
#include "objects.h"

#include <sys/mman.h>

enum { CODE_AT = 0, FILENAME_AT = 0x400, QUALNAME_AT = 0x1000, TABLE_AT = 0x2000, UNITS = 40 };

op_deaths op_code_deaths;

static void
let_die(uint64_t count)
{
    for (; count > 0; count--) {
        const uint64_t number = op_code_deaths.count++;
        op_code_deaths.ring[number % OP_DEATHS_KEPT] = foreign_address(number % 3 == 0 ? CODE_AT : number % 256 * 16);
    }
}

static void
lay_text(size_t at, unsigned kind, size_t length)
{
    PyASCIIObject *text = (PyASCIIObject *)(void *)(foreign_memory + at);
    text->ob_base.ob_type = &PyUnicode_Type;
    text->length = (Py_ssize_t)length;
    text->state.kind = kind & 7;
    text->state.compact = 1;
    text->state.ascii = 0;
    memset(foreign_memory + at + sizeof(PyCompactUnicodeObject), 'x', length * kind);
}

static void
lay_out(unsigned kind, size_t length)
{
    PyCodeObject *code = (PyCodeObject *)(void *)(foreign_memory + CODE_AT);
    code->ob_base.ob_base.ob_type = &PyCode_Type;
    code->ob_base.ob_size = UNITS;
    code->co_firstlineno = 10;
    code->co_filename = (PyObject *)foreign_address(FILENAME_AT);
    code->co_qualname = (PyObject *)foreign_address(QUALNAME_AT);
    code->co_linetable = (PyObject *)foreign_address(TABLE_AT);
    lay_text(FILENAME_AT, kind, length);
    lay_text(QUALNAME_AT, kind, length);
    PyBytesObject *table = (PyBytesObject *)(void *)(foreign_memory + TABLE_AT);
    table->ob_base.ob_base.ob_type = &PyBytes_Type;
    table->ob_base.ob_size = 3 * UNITS;
    for (size_t i = 0; i < UNITS; i++) {
        memcpy(foreign_memory + TABLE_AT + OP_BYTES_HEADER + 3 * i, "\xd8\x04\x09", 3);
    }
}

static void
check_text(const op_codes *codes, uint32_t at, uint32_t most)
{
    uint32_t bytes;
    CHECK(at + sizeof bytes <= codes->arena_used);
    memcpy(&bytes, codes->arena + at, sizeof bytes);
    CHECK(bytes <= most && at + sizeof bytes + bytes <= codes->arena_used);
}

static void
check_code(const op_codes *codes, uint32_t code, int32_t offset)
{
    int32_t line;
    int32_t column;
    CHECK(code >= OP_CODES_SYNTHETIC && code < codes->code_count && offset >= -2);
    const op_code_meta *meta = &codes->metas[code];
    check_text(codes, meta->filename, OP_FILENAME_BYTES);
    check_text(codes, meta->qualname, OP_NAME_BYTES);
    CHECK(meta->linetable + meta->linetable_bytes <= codes->arena_used);
    op_location_find(codes->arena + meta->linetable, meta->linetable_bytes, meta->first_line, offset, &line,
                     &column);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static op_codes codes;
    static void *memory;
    input from = {data, size};
    uint8_t kind;
    uint8_t length;
    uint8_t deaths;
    int32_t instruction;
    input_take(&from, &kind, sizeof kind);
    input_take(&from, &length, sizeof length);
    input_take(&from, &instruction, sizeof instruction);
    input_take(&from, &deaths, sizeof deaths);
    kind %= 5;
    if (memory == NULL) {
        memory = mmap(NULL, op_codes_memory_bytes(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                      -1, 0);
        CHECK(memory != MAP_FAILED);
    }
    CHECK(madvise(memory, op_codes_memory_bytes(), MADV_DONTNEED) == 0); /* zeroed again */
    op_code_deaths.count = 0;
    op_codes_init(&codes, memory);
    op_reader *reader = foreign_begin();
    lay_out(kind, length);
    const uintptr_t words[] = {0, 1, UINTPTR_MAX, (uintptr_t)&PyCode_Type, (uintptr_t)&PyUnicode_Type,
                               (uintptr_t)&PyBytes_Type};
    const bool is_whole = foreign_expect(&from, words, sizeof words / sizeof words[0]) == 0;

    for (unsigned round = 0; round < 6; round++) {
        uint32_t code;
        int32_t offset;
        const uintptr_t address = foreign_address(round == 5 ? (size_t)deaths * 16 : CODE_AT);
        const uintptr_t ip = round == 4 ? (uintptr_t)instruction << 32
                                        : address + OP_CODE_BYTES + (uintptr_t)instruction;
        const op_resolution result =
            op_codes_resolve_tick(&codes, reader, address, ip, round % 2 == 1, &code, &offset);
        if (result == OP_RESOLVED) {
            check_code(&codes, code, offset);
        }
        if (is_whole && round < 4 && (kind == 1 || kind == 2 || kind == 4) && instruction >= 0
            && instruction < 2 * UNITS) {
            CHECK(result == OP_RESOLVED && offset == instruction);
        }
        let_die(round != 2 ? 0 : deaths < 255 ? deaths : OP_DEATHS_KEPT);
        (void)op_codes_bury_tick(&codes, &address, 1);
    }
    return 0;
}
