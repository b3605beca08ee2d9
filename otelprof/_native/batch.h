/* batch.h -- copies of everything that a thread is known by, made in one system call.
 *
 * Where things were the last time is where they are looked for: a prediction. What brackets what is the order
 * of the copies: the context around everything, the outer stack around the inner one, and the thread state
 * around the leaf, whose two copies so lie a fraction of a microsecond apart:
 *
 *   context | label | outer stack | thread | leaf | leaf | thread | outer stack | context
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
    uintptr_t cframe;
    uintptr_t leaf_end;              /* first free byte of the data stack */
    op_piece chunks[OP_CHUNKS_MOST]; /* leaf first: the topmost, then the bottom ones */
    uint32_t chunk_count;
    uint32_t top_count; /* the first so many follow each other */
    uintptr_t bridge;   /* outermost frame in the chunk above the bottom ones; 0: there is no gap */
    op_piece heap[OP_HEAP_FRAMES_MOST]; /* leaf first */
    uint32_t heap_count;
    op_label_path label;
} op_prediction;

typedef struct {
    struct iovec ranges[OP_RANGES_MOST];
    uint32_t count;
    size_t bytes;
    /* Offsets in the view of what was copied, before and after. */
    uint32_t bracket[2], thread[2], cframe[2];
    op_piece leaf; /* the upper end of chunks[0], which is copied apart from the rest of it */
} op_batch;

/* Copy what `p` predicts of the thread state at `address`, and note in it where the copies are. If not all can be
 * read, false, and `*missing` is where the first range that cannot begins; that may be at 0, of a torn read. */
bool op_batch_copy_tick(op_batch *batch, op_reader *reader, uintptr_t address, op_prediction *p,
                        uintptr_t *missing);

/* Drop what was predicted at `address` and is not there any more, and what hangs above it. */
void op_prediction_forget_tick(op_prediction *p, uintptr_t address);

#endif
