/* objects.h -- str, bytes, Contexts with their tries, and the list of thread states, taken apart as copies: what all
 * versions lay out alike.
 *
 *   _tick      in the sampler's loop; no malloc, no locks, no Python
 *   (none)     with an attached thread state, as any CPython API
 */
#ifndef OP_OBJECTS_H
#define OP_OBJECTS_H

#include "compat.h"

/* ---- text and bytes ---- */

typedef struct {
    uintptr_t data; /* address of the first character */
    size_t length;  /* characters */
    unsigned kind;  /* bytes of a character: 1, 2 or 4 */
} op_text_view;

#define OP_TEXT_BYTES sizeof(PyASCIIObject)

/* Take apart a copy of the str object that lies at `address`; false if that is none that code objects have. */
static inline bool
op_text_parse_tick(const void *copy, uintptr_t address, op_text_view *out)
{
    const PyASCIIObject *text = (const PyASCIIObject *)copy;
    const unsigned kind = text->state.kind;
    if (text->ob_base.ob_type != &PyUnicode_Type || !text->state.compact || text->length < 0
        || (kind != 1 && kind != 2 && kind != 4)) {
        return false;
    }
    out->data = address + (text->state.ascii ? sizeof(PyASCIIObject) : sizeof(PyCompactUnicodeObject));
    out->length = (size_t)text->length;
    out->kind = kind;
    return true;
}

#define OP_BYTES_HEADER offsetof(PyBytesObject, ob_sval)

static inline bool
op_bytes_parse_tick(const void *copy, size_t *length)
{
    const PyBytesObject *bytes = (const PyBytesObject *)copy;
    if (bytes->ob_base.ob_base.ob_type != &PyBytes_Type || bytes->ob_base.ob_size < 0) {
        return false;
    }
    *length = (size_t)bytes->ob_base.ob_size;
    return true;
}

/* ---- contexts ---- */

/* 3.11 keeps the nodes of its trie in hamt.c; their shape is that of the later headers (hamt.c, same names). */
typedef struct {
    PyObject_VAR_HEAD
    uint32_t bitmap;
    PyObject *array[1];
} op_bitmap_node;

typedef struct {
    PyObject_HEAD
    PyObject *array[32];
    Py_ssize_t count;
} op_array_node;

typedef struct {
    PyObject_VAR_HEAD
    int32_t hash;
    PyObject *array[1];
} op_collision_node;

/* The hash under which a ContextVar is found (hamt.c, hamt_hash). */
static inline uint32_t
op_var_hash(PyObject *var)
{
    const Py_hash_t hash = ((PyContextVar *)var)->var_hash;
    const uint32_t folded = (uint32_t)((uint64_t)hash & 0xffffffffu) ^ (uint32_t)((uint64_t)hash >> 32);
    return folded == 0xffffffffu ? 0xfffffffeu : folded;
}

/* Choose where a variable of ours lies in a trie, before it is set: hashes are made of addresses, which may be of a few
 * kinds only. */
static inline void
op_var_choose_hash(PyObject *var, Py_hash_t hash)
{
    ((PyContextVar *)var)->var_hash = hash;
}

#define OP_CONTEXT_BYTES (offsetof(PyContext, ctx_vars) + sizeof(void *))
#define OP_HAMT_BYTES (offsetof(PyHamtObject, h_root) + sizeof(void *))

static inline uintptr_t
op_context_vars_tick(const void *copy)
{
    return (uintptr_t)((const PyContext *)copy)->ctx_vars;
}

static inline uintptr_t
op_hamt_root_tick(const void *copy)
{
    return (uintptr_t)((const PyHamtObject *)copy)->h_root;
}

/* ---- the list of thread states ---- */

/* How a thread state is linked, newest first (Python/pystate.c, add_threadstate), and whose it is. */
typedef struct {
    uintptr_t previous, next, interpreter;
} op_links_view;

#define OP_LINKS_BYTES sizeof(op_links_view)
_Static_assert(offsetof(PyThreadState, prev) == offsetof(op_links_view, previous)
                   && offsetof(PyThreadState, next) == offsetof(op_links_view, next)
                   && offsetof(PyThreadState, interp) == offsetof(op_links_view, interpreter),
               "a thread state begins with its links");

static inline void
op_links_parse_tick(const void *copy, op_links_view *out)
{
    memcpy(out, copy, sizeof *out);
}

#endif
