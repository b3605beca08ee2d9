/* attempt.h -- one attempt to read a thread: what walk.c and frames.c share.
 *
 *   _tick      in the sampler's loop; no malloc, no locks, no Python
 */
#ifndef OP_ATTEMPT_H
#define OP_ATTEMPT_H

#include "compat.h"

#include "walk.h"

typedef struct {
    op_walker *walker;
    const op_prediction *prediction;
    op_prediction *next; /* what to predict the next time, found by this attempt */
    op_thread_view thread;
    uintptr_t chunk, chunk_top; /* the data stack's, at the instant of the copies: behind it no frame lived */
    op_piece late; /* the top chunk, if it was not predicted: it is copied once, later */
    uint32_t chases;
} op_attempt;

/* Whether the chunks that were copied hold the thread's frames; if not, find them for the next attempt. */
bool op_attempt_has_chunks_tick(op_attempt *a);

/* Follow the frames from `top` to the root into `walker->frames`. */
void op_attempt_follow_tick(op_attempt *a, uintptr_t top, op_walk *walk);

#endif
