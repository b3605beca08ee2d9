/* state.h -- whether the kernel would run a thread now: 'R' in /proc/self/task/TID/stat.
 *
 * The files of a few threads stay open, those that were asked about last.
 *
 *   _tick      in the sampler's loop; no malloc, no locks, no Python
 */
#ifndef OP_STATE_H
#define OP_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "descriptor.h"

#define OP_STATES_KEPT 8u

typedef struct {
    struct {
        uint32_t native_id; /* 0: none */
        uint64_t asked;     /* when, in looks */
        op_descriptor file;
    } of[OP_STATES_KEPT];
    uint64_t looks;
} op_states;

/* Whether the kernel says that it would not run the thread now. About 10 us, 30 for one that was not asked about lately.
 * Not where it cannot be asked, as without a descriptor to spare. */
bool op_is_known_to_wait_tick(op_states *states, uint32_t native_id);

void op_states_close_tick(op_states *states);

#endif
