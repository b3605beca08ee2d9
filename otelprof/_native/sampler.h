/* sampler.h -- the sampler: its thread, its memory, its life.
 *
 * One thread passes over all threads of the main interpreter at jittered times. It holds `lock` during a pass
 * and waits on `wake` in between; whoever else holds `lock` has the sampler standing still. It never holds
 * the GIL, and nobody waits for `lock` with the GIL held.
 *
 *   _tick      in the sampler's loop; no malloc, no locks, no Python
 *   _nogil     from C without an attached thread state; may block
 *   (none)     with an attached thread state, as any CPython API
 */
#ifndef OP_SAMPLER_H
#define OP_SAMPLER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "compat.h"

#include "codes.h"
#include "state.h"
#include "walk.h"
#include "window.h"

#define OP_RECORDS_MOST 4096u /* threads that are sampled at a time */
#define OP_OWN_MOST 32u       /* threads of otelprof's that are left out */
#define OP_DEPTH_MOST 1024u

/* What is known of one thread of the application, by its thread state. */
typedef struct {
    uintptr_t address; /* of the PyThreadState */
    uint64_t id;       /* its unique id, so that a reused address is told */
    uint64_t ident;
    uint32_t native_id;
    clockid_t clock; /* 0: not known yet */
    bool is_own;
    bool is_listed;  /* it was met when the thread states were listed last */
    bool has_frames; /* it ran Python code when it was looked at last */
    bool is_still; /* its last sample stands as long as its clock does */
    uint64_t switches;      /* of the GIL when it was sampled last */
    uint32_t unasked;       /* passes since its clock was read */
    uint64_t clock_ns;      /* its CPU clock right after it was read */
    uint64_t counted_ns;    /* its CPU clock when it was sampled last */
    uint64_t pool_ns;       /* CPU time not yet given to a stack */
    uint64_t pool_since_ns;
    uint64_t span_pool_ns;  /* of that, what was used between two looks that both met it in the span of `label` */
    bool is_in_span;        /* the last two looks did */
    bool has_run;           /* it was seen on the CPU in that span, as follows */
    uint32_t run_stack, run_flags;
    uint64_t sampled_ns;    /* when it was sampled last */
    uint32_t window;        /* serial number of the window that the rows below are of */
    uint32_t thread, stack, label, flags;
    uint32_t group; /* row of the last sample in its window */
    op_prediction *prediction; /* apart: 5.6 KiB, and an unmoved thread does not touch it */
} op_record;

typedef struct {
    uint64_t passes, samples, unmoved, retries, torn, truncated, unknown, threads_refused, sampler_cpu_ns,
        short_reads, descriptors_lost; /* the reader's */
} op_counters;

typedef struct op_sampler {
    struct op_sampler *next; /* of all samplers, for forks */
    pthread_mutex_t lock;    /* held during a pass */
    pthread_cond_t wake;
    pthread_mutex_t life;    /* held throughout a start or a stop; taken before `lock` */
    pthread_t thread;
    clockid_t sampler_clock; /* CPU time of that thread; 0 before it runs */
    bool is_running, must_stop, is_paused;
    bool is_locked_for_fork;
    bool is_begun;         /* every thread has a beginning from which its time counts */
    uint64_t period_ns;    /* asked for */
    uint64_t stretched_ns; /* what the budget allows */
    double cpu_budget;
    op_backend first; /* the way to read memory that was asked for; with `only` no other */
    bool only;
    uint32_t max_depth;
    op_interpreter interpreter;

    void *memory;
    size_t memory_bytes;
    op_walker walker;
    op_codes codes[2];
    op_window windows[2];
    uint32_t active; /* which window is being filled */
    uint32_t serial; /* of the active window, from 1 */
    uint32_t *places;     /* a stack being put together, OP_DEPTH_MOST + 2 */
    uintptr_t *addresses; /* of its code objects */

    op_record *records;
    op_prediction *predictions;
    op_threads_view listed; /* the thread states when they were listed last */
    uint32_t record_count;
    bool has_clocks; /* the clock of some thread could be read, so one that cannot has ended */
    uint64_t last_pass_ns, last_discovery_ns;
    op_states states;
    uint64_t looked_ns;          /* when the kernel was asked last whether it would run a thread */
    uint64_t largest_pool_ns[2]; /* CPU time that waits most: in this pass so far, and in the last */
    struct {
        uint32_t native_id;
        uint64_t begin_ns, seen_ns;
    } own[OP_OWN_MOST];
    uint32_t own_count;
    uint64_t own_ended_ns; /* CPU time of those that ended */
    /* CPU time of the process since the beginning must be that of its threads (account_unseen). */
    uint64_t process_begin_ns, accounted_ns, unseen_ns, sampler_begin_ns, sampler_seen_ns;
    op_counters counters;
    uint64_t random;
} op_sampler;

/* ---- pass.c ---- */

/* Take what every thread has used so far as the beginning, at a start. `now_ns` is monotonic time. */
void op_pass_begin_tick(op_sampler *sampler, uint64_t now_ns);

/* Sample every thread once. */
void op_pass_tick(op_sampler *sampler, uint64_t now_ns);

/* Note what the sampling thread has used so far. */
void op_pass_note_cost_tick(op_sampler *sampler);

/* Add CPU time of the process that no thread was seen to use, at a drain. */
void op_pass_account_tick(op_sampler *sampler, uint64_t now_ns);

/* Account for the time since the last pass, without a stack, at a stop. */
void op_pass_end_tick(op_sampler *sampler, uint64_t now_ns);

/* ---- sampler.c ---- */

/* Map the memory and open the reader. False, with errno. */
bool op_sampler_open_nogil(op_sampler *sampler, op_backend first, bool only);
void op_sampler_close_nogil(op_sampler *sampler);

/* Start and stop the thread. Idempotent. `start` is false, with errno, if there is no thread to be had. */
bool op_sampler_start_nogil(op_sampler *sampler);
void op_sampler_stop_nogil(op_sampler *sampler);

void op_sampler_pause_nogil(op_sampler *sampler, bool paused);
void op_sampler_set_period_nogil(op_sampler *sampler, uint64_t period_ns);
void op_sampler_leave_out_nogil(op_sampler *sampler, uint32_t native_id);

/* Have the sampler fill the other window, and return the one that it filled. It is the caller's until
 * `op_sampler_give_back_nogil`, which must come before the next taking. */
op_window *op_sampler_take_window_nogil(op_sampler *sampler);
void op_sampler_give_back_nogil(op_sampler *sampler, op_window *window);

/* `backend` is how memory is read now. */
void op_sampler_counters_nogil(op_sampler *sampler, op_counters *counters, uint64_t *stretched_ns,
                               op_backend *backend);

/* Begin anew in a forked child, where the atfork handler has emptied everything. False, with errno. */
bool op_sampler_reopen_nogil(op_sampler *sampler);

/* Keep forks of the process apart from passes. Once for the process; false, with errno. */
bool op_sampler_watch_forks_nogil(void);

/* ---- memory.c ---- */

/* Bytes that the sampler has mapped, and how many of them are in memory: the kernel is asked for each page, which
 * takes 0.1 ms. Not while it is reopened after a fork. */
size_t op_sampler_mapped_bytes(const op_sampler *sampler);
size_t op_sampler_resident_bytes_nogil(const op_sampler *sampler);

#endif
