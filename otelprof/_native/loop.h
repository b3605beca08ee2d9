/* loop.h -- the sampling thread: when it passes, and how its rate keeps to the budget.
 *
 *   _nogil     from C without an attached thread state; may block
 */
#ifndef OP_LOOP_H
#define OP_LOOP_H

#include "sampler.h"

/* Start the thread, with all signals blocked and a small stack. The caller holds `lock`, and the thread waits for
 * it. Returns 0, or an errno. */
int op_loop_create_thread_nogil(op_sampler *sampler);

#endif
