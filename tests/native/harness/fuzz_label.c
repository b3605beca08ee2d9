/* fuzz_label.c -- T18: the way from a Context to a label, while it changes.
 * Input: u32 hash, u8[4] shapes of nodes, changes. */
#include "compat.h"

#include "check.h"
#include "foreign.h"
#include "objects.h"
#include "label.h"
#include "label_object.h"

enum { CONTEXT_AT = 0, HAMT_AT = 0x100, NODES_AT = 0x200, NODE_BYTES = 0x200, LABEL_AT = 0x4000 };
enum { VAR = 0x7000000, HAMT_TYPE = 0x7100000, BITMAP_TYPE = 0x7200000, ARRAY_TYPE = 0x7300000,
       COLLISION_TYPE = 0x7400000 };

static op_label_env env;

static void
put_type(size_t offset, uintptr_t type)
{
    foreign_put(offset + offsetof(PyObject, ob_type), type);
}

/* A node that leads `key` on to `next`: key 0 to a node, VAR to the value. */
static void
lay_node(size_t at, unsigned shape, unsigned level, uintptr_t key, uintptr_t next)
{
    const uint32_t slot = level < 7 ? env.hash >> (5 * level) & 31u : 0; /* below, only collisions */
    if (level == 7 || (shape % 3 == 2 && key != 0)) {
        put_type(at, COLLISION_TYPE);
        foreign_put(at + offsetof(PyVarObject, ob_size), 6);
        foreign_put(at + offsetof(op_collision_node, array) + 4 * sizeof(void *), VAR);
        foreign_put(at + offsetof(op_collision_node, array) + 5 * sizeof(void *), next);
    }
    else if (shape % 3 == 1 && key == 0) {
        put_type(at, ARRAY_TYPE);
        foreign_put(at + offsetof(op_array_node, array) + slot * sizeof(void *), next);
    }
    else {
        const uint32_t below = shape / 3 & ((UINT32_C(1) << slot) - 1);
        const uint32_t bitmap = below | UINT32_C(1) << slot;
        const size_t pair = at + offsetof(op_bitmap_node, array)
                            + (size_t)__builtin_popcount(below) * 2 * sizeof(void *);
        put_type(at, BITMAP_TYPE);
        memcpy(foreign_memory + at + offsetof(op_bitmap_node, bitmap), &bitmap, sizeof bitmap);
        foreign_put(pair, key);
        foreign_put(pair + sizeof(void *), next);
    }
}

static void
lay_out(const uint8_t shapes[4])
{
    const unsigned levels = 1 + shapes[0] % 8u;
    put_type(CONTEXT_AT, env.context_type);
    foreign_put(CONTEXT_AT + offsetof(PyContext, ctx_vars), foreign_address(HAMT_AT));
    put_type(HAMT_AT, HAMT_TYPE);
    foreign_put(HAMT_AT + offsetof(PyHamtObject, h_root), foreign_address(NODES_AT));
    for (unsigned level = 0; level < levels; level++) {
        const size_t at = NODES_AT + (size_t)level * NODE_BYTES;
        const bool is_last = level == levels - 1;
        lay_node(at, shapes[level & 3] / 8u, level, is_last ? VAR : 0,
                 is_last ? foreign_address(LABEL_AT) : foreign_address(at + NODE_BYTES));
    }
    op_label_object object = {.magic = OP_LABEL_MAGIC, .self = (void *)foreign_address(LABEL_AT)};
    memset(&object.label.trace_id, 7, sizeof object.label.trace_id);
    memcpy(foreign_memory + LABEL_AT, &object, sizeof object);
    put_type(LABEL_AT, env.label_type);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    input from = {data, size};
    uint8_t shapes[4];
    op_label_sighting seen;
    env = (op_label_env){.var = VAR, .context_type = (uintptr_t)&PyContext_Type, .hamt_type = HAMT_TYPE,
                         .bitmap_type = BITMAP_TYPE, .array_type = ARRAY_TYPE,
                         .collision_type = COLLISION_TYPE, .label_type = (uintptr_t)&op_label_type};
    input_take(&from, &env.hash, sizeof env.hash);
    input_take(&from, shapes, sizeof shapes);
    op_reader *reader = foreign_begin();
    lay_out(shapes);
    const uintptr_t words[] = {0, 1, 2, 32, VAR, HAMT_TYPE, BITMAP_TYPE, ARRAY_TYPE, COLLISION_TYPE,
                               env.context_type, env.label_type, OP_LABEL_MAGIC};
    const bool is_whole = foreign_expect(&from, words, sizeof words / sizeof words[0]) == 0;

    for (unsigned round = 0; round < 4; round++) {
        const bool is_seen = op_label_sight_tick(&env, reader, foreign_address(CONTEXT_AT), &seen);
        CHECK(is_seen == (seen.context != 0));
        if (is_whole) {
            CHECK(is_seen && seen.state == OP_LABEL_FOUND && seen.label.trace_id[15] == 7);
            CHECK(op_label_is_as_seen_tick(&seen, seen.vars) && !op_label_is_as_seen_tick(&seen, seen.vars + 16));
        }
    }
    return 0;
}
