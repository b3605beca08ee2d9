/* sample.h -- what a thread does: its stack and label, as rows of the active window.
 *
 *   _tick      in the sampler's loop; no malloc, no locks, no Python
 */
#ifndef OP_SAMPLE_H
#define OP_SAMPLE_H

#include "sampler.h"

typedef struct {
    uint32_t stack, label, flags;
    bool has_moved, is_still, is_truncated, is_torn;
    uint32_t worth; /* how much is proved of a sample that is not proved in full */
    uint64_t clock_after_ns;
} op_sample;

/* Read a thread until all of it is proved, a few times at most; then `sample` has what is. `used_ns` is what its
 * CPU clock showed just now. Returns OP_WALK_PROVED also for less; OP_WALK_NO_FRAMES if it runs no Python code;
 * OP_WALK_GONE if it is not the thread of the record any more. */
op_walk_status op_sample_take_tick(op_sampler *sampler, op_record *record, uint64_t used_ns, op_sample *sample);

#endif
