/* deaths.h -- which code objects have died: their addresses, told by the interpreter before they are reused.
 *
 * A cache keyed by the address of a code object names functions that no longer exist unless every death is
 * heard of. The interpreter's thread writes each into a ring; every sampler reads it at its own pace.
 *
 *   _tick      in the sampler's loop; no malloc, no locks, no Python
 *   (none)     with an attached thread state, as any CPython API
 */
#ifndef OP_DEATHS_H
#define OP_DEATHS_H

#include <stdbool.h>
#include <stdint.h>

#define OP_DEATHS_KEPT 16384u /* at 1,000 passes a second, 16 million deaths a second */

/* Listen from now on, for ever. False, with an exception, if the interpreter does not tell. Idempotent. */
bool op_deaths_watch(void);

/* How many have died so far. */
uint64_t op_deaths_count_tick(void);

/* The address of the `number`-th that died. Valid while fewer than OP_DEATHS_KEPT have died since: ask for
 * the count again after reading. */
uintptr_t op_deaths_at_tick(uint64_t number);

#endif
