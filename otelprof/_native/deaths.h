/* deaths.h -- which code objects and Contexts have died: their addresses, told before they are reused.
 *
 * What was read at an address is another object's if the first one died and its memory was given away. So every
 * death is heard of: the interpreter's thread writes each into a ring, and every sampler reads it at its own
 * pace.
 *
 *   _tick      in the sampler's loop; no malloc, no locks, no Python
 *   (none)     with an attached thread state, as any CPython API
 */
#ifndef OP_DEATHS_H
#define OP_DEATHS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define OP_DEATHS_KEPT 16384u /* at 1,000 passes a second, 16 million deaths a second */

/* Written by the holder of the main interpreter's GIL; `count` after the entry. */
typedef struct {
    _Atomic uintptr_t ring[OP_DEATHS_KEPT];
    _Atomic uint64_t count;
} op_deaths;

extern op_deaths op_code_deaths;
extern op_deaths op_context_deaths;

/* Listen from now on, for ever. False, with an exception, if the interpreter does not tell. Idempotent. */
bool op_deaths_watch(void);

/* How many have died so far. */
static inline uint64_t
op_deaths_count_tick(const op_deaths *deaths)
{
    return atomic_load_explicit(&deaths->count, memory_order_acquire);
}

/* The address of the `number`-th that died. Valid while fewer than OP_DEATHS_KEPT have died since: ask for
 * the count again after reading. */
static inline uintptr_t
op_deaths_at_tick(const op_deaths *deaths, uint64_t number)
{
    return atomic_load_explicit(&deaths->ring[number % OP_DEATHS_KEPT], memory_order_acquire);
}

/* Whether one at `address` has died since there were `before` deaths, or so many have that nobody knows. What was
 * read from it before this is asked is true if not. */
static inline bool
op_deaths_has_tick(const op_deaths *deaths, uint64_t before, uintptr_t address)
{
    atomic_thread_fence(memory_order_acquire); /* after everything that was read */
    const uint64_t died = op_deaths_count_tick(deaths);
    bool has = died - before >= OP_DEATHS_KEPT;
    for (uint64_t next = before; next < died && !has; next++) {
        has = op_deaths_at_tick(deaths, next) == address;
    }
    return has || op_deaths_count_tick(deaths) - before >= OP_DEATHS_KEPT;
}

#endif
