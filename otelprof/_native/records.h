/* records.h -- who is there: the threads that are sampled, and adding up what they do.
 *
 *   _tick      in the sampler's loop; no malloc, no locks, no Python
 */
#ifndef OP_RECORDS_H
#define OP_RECORDS_H

#include "sampler.h"

static inline op_window *
op_active_window_tick(op_sampler *s)
{
    return &s->windows[s->active];
}

/* Make records of the threads that are new, and drop those whose thread state is another's by now. */
void op_records_discover_tick(op_sampler *sampler, uint64_t now_ns);

/* Take what a thread has used so far as its beginning; of a thread born since the last pass all is new, but
 * no more than the time that has passed. False if there is no such thread: it has ended. */
bool op_record_begin_tick(op_sampler *sampler, op_record *record, uint32_t native_id, uint64_t now_ns);

/* Forget a thread that has ended. The last record takes its place. */
void op_record_drop_tick(op_sampler *sampler, op_record *record, uint64_t now_ns);

/* Add samples of a thread to the active window; returns the row of their group, as op_window_add_tick does. */
uint32_t op_record_add_tick(op_sampler *sampler, op_record *record, uint32_t stack, uint32_t label,
                            uint32_t flags, uint64_t samples, uint64_t wall_ns, uint64_t cpu_ns,
                            uint64_t now_ns);

/* What a thread used between looks that met it in one span is of that span, wherever the thread is now: of the place
 * where it was seen running there, if it was. */
void op_record_leave_span_tick(op_sampler *sampler, op_record *record);

/* Add time of a thread that no sample covers. */
void op_record_add_unsampled_tick(op_sampler *sampler, op_record *record, uint64_t wall_ns, uint64_t cpu_ns,
                                  uint64_t now_ns);

#endif
