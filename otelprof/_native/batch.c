/* batch.c -- see batch.h. */
#include "compat.h"

#include "batch.h"

#define LEAF_BYTES 768u /* about eight frames */

_Static_assert(OP_FRAME_BYTES % 8 == 0 && OP_THREAD_BYTES % 8 == 0 && OP_CFRAME_BYTES % 8 == 0
                   && OP_CHUNK_HEADER_BYTES % 8 == 0 && OP_BRACKET_OFFSET % 8 == 0,
               "copies follow each other and must be aligned");

static uint32_t
add(op_batch *batch, uintptr_t address, size_t bytes)
{
    const size_t at = batch->bytes;
    bytes = (bytes + 7) & ~(size_t)7;
    if (batch->count == OP_RANGES_MOST || bytes > OP_VIEW_BYTES - batch->bytes) {
        return OP_NOT_COPIED;
    }
    batch->ranges[batch->count] = (struct iovec){(void *)address, bytes};
    batch->count += 1;
    batch->bytes += bytes;
    return (uint32_t)at;
}

static bool
add_piece(op_batch *batch, op_piece *piece, unsigned which)
{
    piece->at[which] = add(batch, piece->address, piece->bytes);
    return piece->at[which] != OP_NOT_COPIED;
}

static bool
add_heap(op_batch *batch, op_prediction *p, uint32_t from, uint32_t to, unsigned which)
{
    bool fits = true;
    for (uint32_t i = from; i < to && i < p->heap_count; i++) {
        fits = add_piece(batch, &p->heap[i], which) && fits;
    }
    return fits;
}

static bool
add_outer(op_batch *batch, op_prediction *p, unsigned which)
{
    bool fits = true;
    for (uint32_t i = p->chunk_count; i-- > 0;) {
        op_piece *chunk = &p->chunks[i];
        size_t bytes = chunk->bytes;
        if (i == 0) {
            /* The rest of it is the leaf; a frame may lie across the border. */
            bytes = batch->leaf.address - chunk->address + OP_FRAME_BYTES;
            bytes = bytes < chunk->bytes ? bytes : chunk->bytes;
        }
        chunk->at[which] = add(batch, chunk->address, bytes);
        fits = fits && chunk->at[which] != OP_NOT_COPIED;
    }
    return add_heap(batch, p, OP_INNER_HEAP_FRAMES, OP_HEAP_FRAMES_MOST, which) && fits;
}

/* Where the leaf begins and ends. */
static op_piece
leaf_of(const op_prediction *p)
{
    const op_piece *chunk = &p->chunks[0];
    uintptr_t begin = chunk->address + OP_CHUNK_HEADER_BYTES;
    if (p->chunk_count == 0) {
        return (op_piece){0};
    }
    if (p->leaf_end > begin + LEAF_BYTES && p->leaf_end - chunk->address <= chunk->bytes) {
        begin = (p->leaf_end - LEAF_BYTES) & ~(uintptr_t)7;
    }
    const size_t before = begin - chunk->address;
    return (op_piece){.address = begin, .bytes = before < chunk->bytes ? chunk->bytes - (uint32_t)before : 0};
}

static bool
add_inner(op_batch *batch, op_prediction *p, unsigned which)
{
    bool fits = batch->leaf.bytes == 0 || add_piece(batch, &batch->leaf, which);
    return add_heap(batch, p, 0, OP_INNER_HEAP_FRAMES, which) && fits;
}

static uint32_t
add_cframe(op_batch *batch, const op_prediction *p)
{
    return p->cframe == 0 ? OP_NOT_COPIED : add(batch, p->cframe, OP_CFRAME_BYTES);
}

static bool
assemble(op_batch *batch, uintptr_t address, op_prediction *p)
{
    batch->count = 0;
    batch->bytes = 0;
    batch->leaf = leaf_of(p);
    batch->bracket[0] = add(batch, address + OP_BRACKET_OFFSET, OP_BRACKET_BYTES);
    for (uint32_t i = 0; i < p->label.count; i++) {
        p->label.at[i] = add(batch, p->label.addresses[i], p->label.bytes[i]);
    }
    bool fits = add_outer(batch, p, 0);
    batch->thread[0] = add(batch, address, OP_THREAD_BYTES);
    batch->cframe[0] = add_cframe(batch, p);
    fits = add_inner(batch, p, 0) && fits;
    fits = add_inner(batch, p, 1) && fits;
    batch->cframe[1] = add_cframe(batch, p);
    batch->thread[1] = add(batch, address, OP_THREAD_BYTES);
    fits = add_outer(batch, p, 1) && fits;
    batch->bracket[1] = add(batch, address + OP_BRACKET_OFFSET, OP_BRACKET_BYTES);
    return fits && batch->bracket[1] != OP_NOT_COPIED;
}

bool
op_batch_copy_tick(op_batch *batch, op_reader *reader, uintptr_t address, op_prediction *p, uintptr_t *missing)
{
    uint32_t i = 0;
    if (!assemble(batch, address, p)) {
        i = batch->count - 1; /* too much was predicted */
    }
    else {
        size_t got = op_read_tick(reader, batch->ranges, batch->count, 0);
        while (i < batch->count && got >= batch->ranges[i].iov_len) {
            got -= batch->ranges[i].iov_len;
            i += 1;
        }
    }
    if (i < batch->count) {
        *missing = (uintptr_t)batch->ranges[i].iov_base;
    }
    return i == batch->count;
}

void
op_prediction_forget_tick(op_prediction *p, uintptr_t address)
{
    for (uint32_t i = 0; i < p->chunk_count; i++) {
        if (address - p->chunks[i].address < p->chunks[i].bytes) {
            const bool is_top = i < p->top_count;
            p->chunk_count = is_top ? p->chunk_count - i - 1 : 0;
            p->top_count = is_top ? p->top_count - i - 1 : 0;
            memmove(p->chunks, p->chunks + i + 1, p->chunk_count * sizeof p->chunks[0]);
            return;
        }
    }
    p->heap_count = 0;
    p->cframe = 0;
    p->label.count = 0;
}
