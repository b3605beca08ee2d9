/* batch.h -- copies of everything that a thread is known by, made in one system call.
 *
 * Where things were the last time is where they are looked for: a prediction. The copies are of the instant in
 * which the thread state was copied. Everything else lies around it, the nearer the faster it changes:
 *
 *   outer stack | context | leaf | thread | leaf | context | outer stack | what the Context leads to
 *
 * Leaf and thread state so lie a fraction of a microsecond apart. (Until 3.12 the thread state only leads to
 * what tells the top frame, and so is copied before and after that.)
 *
 *   _tick      in the sampler's loop; no malloc, no locks, no Python
 */
#ifndef OP_BATCH_H
#define OP_BATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "label.h"
#include "read.h"

#define OP_TOP_CHUNKS_MOST 16u   /* of the data stack, 16 KiB each: about 2,000 frames */
#define OP_BOTTOM_CHUNKS_MOST 2u /* where the root is */
#define OP_CHUNKS_MOST (OP_TOP_CHUNKS_MOST + OP_BOTTOM_CHUNKS_MOST)
#define OP_HEAP_FRAMES_MOST 200u /* frames outside of the data stack: generators' and the shims on the C stack */
#define OP_RECENT_FRAMES 6u      /* of these, so many that were not there the last time */
#define OP_CFRAMES_MOST 4u
#define OP_INNER_HEAP_FRAMES 3u  /* so many of them, the leaf-most, are copied with the leaf */
#define OP_RANGES_MOST 700u      /* below IOV_MAX */
#define OP_NOT_COPIED UINT32_MAX

typedef struct {
    uintptr_t address;
    uint32_t bytes;
    uint32_t at[2]; /* offsets of its two copies in the view */
} op_piece;

/* Where a thread's things were found last time. */
typedef struct {
    uintptr_t context;
    bool changes_context; /* it was another one than the time before */
    uintptr_t cframes[OP_CFRAMES_MOST]; /* the last one first; older ones come back, as functions call again */
    uint32_t cframe_count;
    uintptr_t leaf_end;              /* first free byte of the data stack */
    op_piece chunks[OP_CHUNKS_MOST]; /* leaf first: the topmost, then the bottom ones */
    uint32_t chunk_count;
    uint32_t top_count; /* the first so many follow each other */
    uintptr_t bridge;   /* outermost frame in the chunk above the bottom ones; 0: there is no gap */
    uint32_t heap_count;
    op_piece heap[OP_HEAP_FRAMES_MOST + OP_RECENT_FRAMES]; /* leaf first; then such as were there before */
} op_prediction;

/* Mostly few frames of many are used: so much of it says all. */
static inline size_t
op_prediction_bytes_tick(const op_prediction *p)
{
    return offsetof(op_prediction, heap) + p->heap_count * sizeof p->heap[0];
}

typedef struct {
    struct iovec ranges[OP_RANGES_MOST];
    uint32_t count;
    size_t begin, bytes; /* where in the view the copies begin, and end */
    /* Offsets in the view of what was copied, before and after. */
    uint32_t vars, bracket[2], thread[2], cframes[OP_CFRAMES_MOST];
    op_piece leaf; /* the upper end of chunks[0], which is copied apart from the rest of it */
} op_batch;

/* How much of the topmost chunk is copied with the outer stack: the rest is the leaf, but a frame may lie across
 * the border. */
static inline uint32_t
op_outer_bytes_tick(const op_batch *batch, const op_piece *chunk)
{
    const size_t bytes = batch->leaf.address - chunk->address + OP_FRAME_BYTES;
    return bytes < chunk->bytes ? (uint32_t)bytes : chunk->bytes;
}

/* Copy what `p` predicts of the thread state at `address`, and note in it where the copies are. If not all can be
 * read, false, and `*missing` is where the first range that cannot begins; that may be at 0, of a torn read. */
bool op_batch_copy_tick(op_batch *batch, op_reader *reader, uintptr_t address, op_prediction *p,
                        uintptr_t *missing);

/* Also predict the first of `count` frames, as many as are worth it, if they are not predicted yet. */
void op_prediction_add_frames_tick(op_prediction *p, const op_piece *frames, uint32_t count);

/* Predict that the thread has `cframe` now. */
void op_prediction_add_cframe_tick(op_prediction *p, uintptr_t cframe);

/* Drop what was predicted at `address` and is not there any more, and what hangs above it. */
void op_prediction_forget_tick(op_prediction *p, uintptr_t address);

#endif
