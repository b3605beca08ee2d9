/* foreign.c -- see foreign.h. */
#include "compat.h"

#include "check.h"
#include "deaths.h"
#include "foreign.h"
#include "label_object.h"

#define VIEW_BYTES (OP_VIEW_BYTES + OP_SCRATCH_BYTES)
#define HOLE_BYTES 256u
#define CHANGES_MOST 64u

typedef struct {
    uint8_t before_read;
    uint8_t kind;
    uint16_t offset;
    uint32_t value;
} change;

PyTypeObject PyBytes_Type, PyCode_Type, PyContext_Type, PyUnicode_Type, op_label_type;
_PyRuntimeState _PyRuntime;
_Atomic uint64_t op_label_changes_begun;
_Atomic uint64_t op_label_changes_done;
_Atomic uint32_t op_generations[OP_GENERATIONS];

_Alignas(16) uint8_t foreign_memory[FOREIGN_BYTES];
unsigned foreign_reads;

static op_reader reader;
static bool is_hole[FOREIGN_BYTES / HOLE_BYTES];
static change changes[CHANGES_MOST];
static unsigned change_count;
static uintptr_t change_words[32];
static size_t change_word_count;

op_reader *
foreign_begin(void)
{
    if (reader.view == NULL) {
        reader.view = malloc(VIEW_BYTES);
        CHECK(reader.view != NULL);
        memset(reader.view, 0xa5, VIEW_BYTES);
    }
    memset(foreign_memory, 0, sizeof foreign_memory);
    memset(is_hole, 0, sizeof is_hole);
    foreign_reads = 0;
    change_count = 0;
    return &reader;
}

unsigned
foreign_expect(input *from, const uintptr_t *words, size_t count)
{
    CHECK(count > 0 && count <= sizeof change_words / sizeof change_words[0]);
    memcpy(change_words, words, count * sizeof *words);
    change_word_count = count;
    while (from->size >= sizeof(change) && change_count < CHANGES_MOST) {
        input_take(from, &changes[change_count++], sizeof(change));
    }
    return change_count;
}

static void
make(const change *what)
{
    const size_t offset = what->offset % (FOREIGN_BYTES - sizeof(uintptr_t)) & ~(size_t)7;
    switch (what->kind % 6) {
    case 0:
        foreign_put(offset, change_words[what->value % change_word_count]);
        break;
    case 1: /* an address of this memory, or just beyond */
        foreign_put(offset, foreign_address(what->value % (FOREIGN_BYTES + 64)));
        break;
    case 2:
        foreign_put(offset, what->value);
        break;
    case 3: /* an end of the range of integers and addresses, or near it */
        foreign_put(offset, ((uintptr_t)what->value << 48) + (uintptr_t)(int8_t)(what->value >> 16));
        break;
    case 4:
        memcpy(foreign_memory + what->offset % (FOREIGN_BYTES - 4), &what->value, 1 + what->value % 4);
        break;
    default:
        is_hole[what->offset % (FOREIGN_BYTES / HOLE_BYTES)] = (what->value & 1) != 0;
    }
}

static bool
is_readable(uintptr_t address, size_t bytes)
{
    const uintptr_t inside = address - FOREIGN_BASE;
    if (address < FOREIGN_BASE || inside > FOREIGN_BYTES || bytes > FOREIGN_BYTES - inside) {
        return false;
    }
    for (uintptr_t at = inside / HOLE_BYTES; at * HOLE_BYTES < inside + bytes; at++) {
        if (is_hole[at]) {
            return false;
        }
    }
    return true;
}

size_t
op_read_tick(op_reader *from, const struct iovec *ranges, unsigned count, size_t offset)
{
    size_t done = 0;
    CHECK(from->view == reader.view && offset <= VIEW_BYTES);
    for (unsigned i = 0; i < count; i++, foreign_reads++) {
        const uintptr_t address = (uintptr_t)ranges[i].iov_base;
        const size_t bytes = ranges[i].iov_len;
        CHECK(bytes % 8 == 0 || i == count - 1); /* read.h wants it */
        for (unsigned j = 0; j < change_count; j++) {
            if (changes[j].before_read == foreign_reads) {
                make(&changes[j]);
            }
        }
        if (!is_readable(address, bytes) || bytes > VIEW_BYTES - offset - done) {
            break;
        }
        memcpy(from->view + offset + done, foreign_memory + (address - FOREIGN_BASE), bytes);
        done += bytes;
    }
    return done;
}

bool
op_read_one_tick(op_reader *from, uintptr_t address, size_t bytes, size_t offset)
{
    const struct iovec range = {(void *)address, bytes};
    return op_read_tick(from, &range, 1, offset) == bytes;
}
