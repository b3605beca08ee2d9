/* walk.h -- a thread's frames and label, read while it may be running.
 *
 * What is read must belong to one instant, that in which the thread state was copied. Two things can prove that:
 *
 *   - The thread's CPU clock, read before anything else and after everything else, did not move. Then the
 *     thread did not run in between, and all of it is true, also what was copied only once. (Where there are two
 *     copies they must be equal even so: in virtual machines the clock of a thread that runs can stand still
 *     for a moment, when the kernel subtracts time that the host took; kernel/sched/core.c,
 *     update_rq_clock_task.)
 *   - All ranges were copied twice in one system call, before and after that instant, at addresses predicted from
 *     the last time (batch.h). Frames that are equal in both copies, from the root on without a gap, are true.
 *
 * The label is that of the Context which the thread was in at that instant, as it was when it was looked at
 * before. That is proved if it leads to the same trie afterwards, and neither it nor the trie has died since. Then it
 * is also the label of a stack whose leaf is not proved (docs/decisions/0006).
 *
 * What is not proved is read again, a few times; then the unproved frames are cut off, and counted.
 *
 *   _tick      in the sampler's loop; no malloc, no locks, no Python
 *   (none)     with an attached thread state, as any CPython API
 */
#ifndef OP_WALK_H
#define OP_WALK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "batch.h"
#include "label.h"
#include "read.h"

#define OP_FRAMES_MOST 8192u
#define OP_SIGHTINGS_KEPT 1024u /* Contexts that threads change between, such as those of tasks */
#define OP_SIGHTED_FRAMES 8u

typedef struct {
    uintptr_t address, code, ip;
    uint8_t owner;
    bool is_proved;    /* both copies are equal, as far as they must be of a thread that runs */
    bool is_disproved; /* both copies differ in something */
    bool is_gap;       /* no frame: here some of the data stack was left out */
} op_raw_frame;

/* A Context, when it was looked at last: its label, and which frames ran in it. */
typedef struct {
    uintptr_t context;
    op_label_sighting label; /* its `context` is 0 if the label was not found */
    op_piece heap[OP_SIGHTED_FRAMES]; /* outside of the data stack, leaf first: a task's coroutines */
    uint32_t heap_count;
} op_sighting;

typedef struct {
    op_reader reader;
    op_label_env labels;
    op_raw_frame *frames;   /* OP_FRAMES_MOST */
    op_sighting *sightings; /* OP_SIGHTINGS_KEPT, by the Context's address */
    op_batch *batch;
} op_walker;

typedef enum {
    OP_WALK_PROVED,    /* frames and label are true */
    OP_WALK_NO_FRAMES, /* the thread runs no Python code */
    OP_WALK_GONE,      /* no such thread state any more */
    OP_WALK_MOVED,     /* it ran: `first` and `has_label` tell what is proved all the same */
} op_walk_status;

typedef struct {
    op_walk_status status;
    uint32_t first, count; /* frames[first..count) are proved to the root; first == count: none are */
    bool ends_at_root;
    bool has_label; /* `label` is proved */
    bool is_still;  /* the CPU clock did not move */
    bool says_it_holds_gil; /* see op_holds_gil_tick */
    bool has_thread; /* `ident` and `native_id` are those of the thread state now */
    uint64_t clock_before_ns, clock_after_ns;
    uint64_t ident;
    uint32_t native_id;
    op_label_state label_state;
    op_label label;
} op_walk;

size_t op_walker_memory_bytes(void);
void op_walker_init(op_walker *walker, void *memory);

/* Read the thread state at `address` once, if it still is the one with this id. `clock` is its CPU clock, 0
 * if it has none; `clock_ns` what that showed just now. */
void op_walk_tick(op_walker *walker, uintptr_t address, uint64_t id, clockid_t clock, uint64_t clock_ns,
                  op_prediction *prediction, op_walk *walk);

#endif
