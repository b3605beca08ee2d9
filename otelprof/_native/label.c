/* label.c -- see label.h. The trie is that of Python/hamt.c: five bits of the hash a level. */
#include "compat.h"

#include "deaths.h"
#include "label.h"
#include "label_object.h"
#include "objects.h"

#define LEVELS_MOST 8u /* 32 bits in steps of 5, and a node of collisions below */
#define COLLISIONS_MOST 16
#define READS_MOST 24u
#define SCRATCH OP_VIEW_BYTES
#define LABEL_BYTES (offsetof(op_label_object, label) + sizeof(op_label))

/* ---- learning the types ---- */

/* The type of the root node of a new Context in which `count` new variables are set, each in a branch of its own. With
 * `collide` they are set under one hash, and it is the type of the node below. */
static bool
learn_node_type(int count, bool collide, uintptr_t *type, uintptr_t *hamt_type)
{
    PyObject *context = PyContext_New();
    if (context == NULL || PyContext_Enter(context) != 0) {
        Py_XDECREF(context);
        return false;
    }
    bool is_good = true;
    for (int i = 0; i < count && is_good; i++) {
        PyObject *var = PyContextVar_New("otelprof_probe", NULL);
        if (var != NULL) {
            op_var_choose_hash(var, collide ? 1 : 1 + i);
        }
        PyObject *token = var == NULL ? NULL : PyContextVar_Set(var, Py_None);
        is_good = token != NULL;
        Py_XDECREF(token);
        Py_XDECREF(var); /* the Context keeps it */
    }
    if (is_good) {
        PyObject *hamt = (PyObject *)op_context_vars_tick(context);
        PyObject *root = (PyObject *)op_hamt_root_tick(hamt);
        *hamt_type = (uintptr_t)Py_TYPE(hamt);
        if (collide) {
            root = ((op_bitmap_node *)root)->array[1]; /* behind a key that is NULL */
        }
        *type = (uintptr_t)Py_TYPE(root);
    }
    is_good = PyContext_Exit(context) == 0 && is_good;
    Py_DECREF(context);
    return is_good;
}

bool
op_label_env_init(op_label_env *env, PyObject *var)
{
    *env = (op_label_env){0};
    if (var == NULL) {
        return true;
    }
    uintptr_t hamt_types[3];
    /* A node of 17 branches is an array: a bitmap has 16 at most (hamt.c, hamt_node_bitmap_assoc). */
    if (!learn_node_type(1, false, &env->bitmap_type, &hamt_types[0])
        || !learn_node_type(17, false, &env->array_type, &hamt_types[1])
        || !learn_node_type(2, true, &env->collision_type, &hamt_types[2])) {
        return false;
    }
    if (hamt_types[0] != hamt_types[1] || hamt_types[0] != hamt_types[2]
        || env->bitmap_type == env->array_type || env->bitmap_type == env->collision_type
        || env->array_type == env->collision_type) {
        PyErr_SetString(PyExc_RuntimeError, "labels: contexts are not the tries that the core knows");
        return false;
    }
    env->hamt_type = hamt_types[0];
    env->context_type = (uintptr_t)&PyContext_Type;
    env->label_type = (uintptr_t)&op_label_type;
    env->hash = op_var_hash(var);
    env->var = (uintptr_t)var;
    PyObject *empty = PyContext_New();
    if (empty == NULL) {
        return false;
    }
    env->no_values = op_context_vars_tick(empty);
    Py_DECREF(empty);
    return true;
}

/* ---- finding a label ---- */

typedef struct {
    op_reader *reader;
    size_t scratch;
    uint32_t reads;
} finder;

/* A copy of `bytes` bytes at `address`; NULL if they cannot be read. */
static const void *
fetch(finder *f, uintptr_t address, size_t bytes)
{
    const size_t at = f->scratch;
    f->scratch += (bytes + 7) & ~(size_t)7;
    f->reads += 1;
    return f->reads <= READS_MOST && op_read_one_tick(f->reader, address, bytes, at) ? f->reader->view + at : NULL;
}

static uintptr_t
pointer_at(const void *copy, size_t index)
{
    uintptr_t pointer;
    memcpy(&pointer, (const uint8_t *)copy + index * sizeof pointer, sizeof pointer);
    return pointer;
}

static uintptr_t
type_of(const void *copy)
{
    return (uintptr_t)((const PyObject *)copy)->ob_type;
}

typedef enum { ABSENT, VALUE, DEEPER, SENSELESS } step;

static step
step_bitmap(const op_label_env *env, finder *f, uintptr_t node, uint32_t bitmap, uint32_t shift,
            uintptr_t *next)
{
    const uint32_t bit = UINT32_C(1) << ((env->hash >> shift) & 31u);
    if ((bitmap & bit) == 0) {
        return ABSENT;
    }
    const size_t before = (size_t)__builtin_popcount(bitmap & (bit - 1));
    const void *pair = fetch(f, node + offsetof(op_bitmap_node, array) + before * 2 * sizeof(void *),
                             2 * sizeof(void *));
    if (pair == NULL) {
        return SENSELESS;
    }
    *next = pointer_at(pair, 1);
    const uintptr_t key = pointer_at(pair, 0);
    return key == 0 ? DEEPER : key == env->var ? VALUE : ABSENT;
}

static step
step_array(const op_label_env *env, finder *f, uintptr_t node, uint32_t shift, uintptr_t *next)
{
    const size_t slot = (env->hash >> shift) & 31u;
    const void *child = fetch(f, node + offsetof(op_array_node, array) + slot * sizeof(void *), sizeof(void *));
    if (child == NULL) {
        return SENSELESS;
    }
    *next = pointer_at(child, 0);
    return *next == 0 ? ABSENT : DEEPER;
}

static step
step_collision(const op_label_env *env, finder *f, uintptr_t node, Py_ssize_t size, uintptr_t *next)
{
    if (size < 2 || size > 2 * COLLISIONS_MOST || size % 2 != 0) {
        return SENSELESS;
    }
    const void *pairs = fetch(f, node + offsetof(op_collision_node, array), (size_t)size * sizeof(void *));
    if (pairs == NULL) {
        return SENSELESS;
    }
    for (size_t i = 0; i < (size_t)size; i += 2) {
        if (pointer_at(pairs, i) == env->var) {
            *next = pointer_at(pairs, i + 1);
            return VALUE;
        }
    }
    return ABSENT;
}

/* From the trie's root to what the variable is set to. */
static step
find_value(const op_label_env *env, finder *f, uintptr_t node, uintptr_t *value)
{
    step result = DEEPER;
    for (uint32_t level = 0; result == DEEPER && level <= LEVELS_MOST; level++) {
        const uint32_t shift = level * 5u;
        const void *copy = fetch(f, node, offsetof(op_bitmap_node, array));
        if (copy == NULL) {
            return SENSELESS;
        }
        const uintptr_t type = type_of(copy);
        if (type == env->collision_type) {
            result = step_collision(env, f, node, ((const PyVarObject *)copy)->ob_size, value);
        }
        else if (shift >= 32u) {
            return SENSELESS;
        }
        else if (type == env->bitmap_type) {
            result = step_bitmap(env, f, node, ((const op_bitmap_node *)copy)->bitmap, shift, value);
        }
        else if (type == env->array_type) {
            result = step_array(env, f, node, shift, value);
        }
        else {
            return SENSELESS;
        }
        node = *value;
    }
    return result == DEEPER ? SENSELESS : result;
}

static op_label_state
take_label(const op_label_env *env, finder *f, uintptr_t address, op_label *label)
{
    static const uint8_t zeros[sizeof label->trace_id];
    const void *copy = fetch(f, address, LABEL_BYTES);
    if (copy == NULL) {
        return OP_LABEL_TORN;
    }
    const op_label_object *seen = copy;
    if (type_of(copy) != env->label_type) {
        return OP_LABEL_HIDDEN;
    }
    if (seen->magic != OP_LABEL_MAGIC || (uintptr_t)seen->self != address) {
        return OP_LABEL_TORN;
    }
    *label = seen->label;
    if (label->flags & OP_LABEL_NO_SPAN) {
        return OP_LABEL_NONE;
    }
    return memcmp(label->trace_id, zeros, sizeof zeros) == 0 ? OP_LABEL_HIDDEN : OP_LABEL_FOUND;
}

/* What the trie at `vars` says. */
static op_label_state
find(const op_label_env *env, finder *f, uintptr_t vars, op_label *label)
{
    uintptr_t value = 0;
    const void *copy = fetch(f, vars, OP_HAMT_BYTES);
    if (copy == NULL || type_of(copy) != env->hamt_type) {
        return OP_LABEL_TORN;
    }
    switch (find_value(env, f, op_hamt_root_tick(copy), &value)) {
    case VALUE:
        return take_label(env, f, value, label);
    case ABSENT:
        return OP_LABEL_NONE;
    case DEEPER:
    case SENSELESS:
        break;
    }
    return OP_LABEL_TORN;
}

/* The trie of the Context at this address; 0 if there is no Context. */
static uintptr_t
vars_of(const op_label_env *env, finder *f, uintptr_t context)
{
    const void *copy = fetch(f, context, OP_CONTEXT_BYTES);
    return copy == NULL || type_of(copy) != env->context_type ? 0 : op_context_vars_tick(copy);
}

bool
op_label_sight_tick(const op_label_env *env, op_reader *reader, uintptr_t context, op_label_sighting *seen)
{
    finder f = {reader, SCRATCH, 0};
    *seen = (op_label_sighting){.context = context, .context_generation = op_generation_tick(context)};
    seen->vars = vars_of(env, &f, context);
    seen->vars_generation = op_generation_tick(seen->vars);
    seen->state = seen->vars == 0 ? OP_LABEL_TORN : find(env, &f, seen->vars, &seen->label);
    /* The trie of this generation is the Context's, so it was alive while it was read. */
    if (seen->state == OP_LABEL_TORN || !op_label_is_as_seen_tick(seen, vars_of(env, &f, context))) {
        seen->context = 0;
    }
    return seen->context != 0;
}

bool
op_label_is_as_seen_tick(const op_label_sighting *seen, uintptr_t vars)
{
    return vars == seen->vars && op_generation_tick(vars) == seen->vars_generation
           && op_generation_tick(seen->context) == seen->context_generation;
}
