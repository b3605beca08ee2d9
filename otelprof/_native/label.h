/* label.h -- which span is current: the ids, and where a thread's context keeps them.
 *
 * OpenTelemetry's ContextVar holds an `op_label_object` while a span of this process is current
 * (context.c puts it there). The sampler finds it from `tstate->context`, through CPython's hash array
 * mapped trie, without the GIL and without a reference: every object on the way is copied first and believed
 * only if its type and its own address are in it.
 *
 *   _tick      in the sampler's loop; no malloc, no locks, no Python
 *   (none)     with an attached thread state, as any CPython API
 */
#ifndef OP_LABEL_H
#define OP_LABEL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "read.h"

#define OP_LABEL_SAMPLED 1u /* the span's sampled flag */
#define OP_LABEL_NO_SPAN 2u /* no span of this process is current: what was attached holds none */

/* Ids as in W3C: big endian. A local root of zeros is not known. A trace id of zeros without
 * OP_LABEL_NO_SPAN: there is a span, but it did not tell its ids. */
typedef struct {
    uint8_t trace_id[16];
    uint8_t span_id[8];
    uint8_t local_root_span_id[8];
    uint32_t flags; /* OP_LABEL_* */
    uint32_t reserved;
} op_label;

_Static_assert(sizeof(op_label) == 40, "labels are compared and hashed as bytes");

/* Attaches and detaches of all threads, counted before and after each takes effect by whoever holds the GIL.
 * More begun than done: one is under way. */
extern _Atomic uint64_t op_label_changes_begun;
extern _Atomic uint64_t op_label_changes_done;

/* False if a label is just changing. If not, and `*begun` stands still, none changes. */
static inline bool
op_label_is_quiet_tick(uint64_t *begun)
{
    const uint64_t done = atomic_load_explicit(&op_label_changes_done, memory_order_acquire);
    *begun = atomic_load_explicit(&op_label_changes_begun, memory_order_acquire);
    return done >= *begun;
}

static inline bool
op_label_stood_still_tick(uint64_t begun)
{
    atomic_thread_fence(memory_order_acquire); /* after everything that was read */
    return atomic_load_explicit(&op_label_changes_begun, memory_order_relaxed) == begun;
}

/* ---- finding it from outside ---- */

/* What tells an object of one kind from a piece of memory that was one: types, and the ContextVar. */
typedef struct {
    uintptr_t var;       /* 0: no labels are looked for */
    uintptr_t no_values; /* the trie of every Context in which nothing is set */
    uint32_t hash;
    uintptr_t context_type, hamt_type, bitmap_type, array_type, collision_type, label_type;
} op_label_env;

typedef enum {
    OP_LABEL_NONE,   /* no span of this process is current */
    OP_LABEL_FOUND,
    OP_LABEL_HIDDEN, /* something is attached that is no label of ours */
    OP_LABEL_TORN,   /* what was read makes no sense: it changed meanwhile */
} op_label_state;

struct _object; /* PyObject, without its header */

/* Learn the types. `var` may be NULL. False, with an exception, if contexts are not laid out as expected. */
bool op_label_env_init(op_label_env *env, struct _object *var);

/* A Context that was looked at, and what it said. */
typedef struct {
    uintptr_t context; /* 0: nothing was looked at */
    uintptr_t vars;    /* its trie, which never changes: whoever sets a variable makes a new one */
    uint32_t context_generation, vars_generation;
    op_label_state state;
    op_label label;
} op_label_sighting;

/* Look at the Context at this address. False if that makes no sense: it changed meanwhile, or is none. */
bool op_label_sight_tick(const op_label_env *env, op_reader *reader, uintptr_t context,
                         op_label_sighting *seen);

/* Whether the Context led to the same trie all the time from when it was seen until it led to `vars`. */
bool op_label_is_as_seen_tick(const op_label_sighting *seen, uintptr_t vars);

#endif
