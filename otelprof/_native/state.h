/* state.h -- whether a thread would run now if we did not: 'R' and our processor in /proc/self/task/TID/stat.
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

typedef enum {
    OP_NOT_READY,       /* it waits for something else than a processor */
    OP_READY_HERE,      /* it may have had the one that the caller has now; also where the kernel cannot be asked */
    OP_READY_ELSEWHERE, /* it waits for another one */
} op_readiness;

/* What a thread that does not run waits for. About 10 us, 30 for one that was not asked about lately. */
op_readiness op_readiness_tick(op_states *states, uint32_t native_id);

void op_states_close_tick(op_states *states);

#endif
