/* deaths.h -- which code objects, Contexts and tries of Contexts have died, told before their memory is reused.
 *
 * What was read at an address is another object's if the first one died and its memory was given away. So every
 * death is heard of. Those of code objects are in a ring, which every sampler reads at its own pace; those of
 * Contexts and tries, of which there may be a million in a second, are counted by address.
 *
 *   _tick      in the sampler's loop; no malloc, no locks, no Python
 *   (none)     with an attached thread state, as any CPython API
 */
#ifndef OP_DEATHS_H
#define OP_DEATHS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "hash.h"

#define OP_DEATHS_KEPT 16384u /* at 1,000 passes a second, 16 million deaths a second */

/* Written by the holder of the main interpreter's GIL; `count` after the entry. */
typedef struct {
    _Atomic uintptr_t ring[OP_DEATHS_KEPT];
    _Atomic uint64_t count;
} op_deaths;

extern op_deaths op_code_deaths;

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

/* ---- Contexts and their tries ---- */

#define OP_GENERATIONS 16384u

/* How often one has died at an address, or at another one that shares the place. Written as the rings are. */
extern _Atomic uint32_t op_generations[OP_GENERATIONS];

/* The generation of what lies at `address`. While it stays the same, so does the object. */
static inline uint32_t
op_generation_tick(uintptr_t address)
{
    atomic_thread_fence(memory_order_acquire); /* after everything that was read before */
    const uint64_t place = op_hash_add(0, address >> 4) >> 32;
    return atomic_load_explicit(&op_generations[place % OP_GENERATIONS], memory_order_acquire);
}

#endif
