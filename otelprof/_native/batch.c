/* batch.c -- see batch.h. */
#include "compat.h"

#include "batch.h"
#include "objects.h"

#define LEAF_BYTES 768u       /* about eight frames */
#define LEAF_AFTER_BYTES 384u /* and those that are called just now */
#define VIEW_PAGE_BYTES 4096u /* the kernel takes half a microsecond for each page that it writes to */

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
        const size_t bytes = i == 0 ? op_outer_bytes_tick(batch, chunk) : chunk->bytes;
        chunk->at[which] = add(batch, chunk->address, bytes);
        fits = fits && chunk->at[which] != OP_NOT_COPIED;
    }
    return add_heap(batch, p, OP_INNER_HEAP_FRAMES, p->heap_count, which) && fits;
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
    const uint32_t rest = before < chunk->bytes ? chunk->bytes - (uint32_t)before : 0;
    return (op_piece){begin, rest < LEAF_BYTES + LEAF_AFTER_BYTES ? rest : LEAF_BYTES + LEAF_AFTER_BYTES, {0, 0}};
}

static bool
add_inner(op_batch *batch, op_prediction *p, unsigned which)
{
    bool fits = batch->leaf.bytes == 0 || add_piece(batch, &batch->leaf, which);
    return add_heap(batch, p, 0, OP_INNER_HEAP_FRAMES, which) && fits;
}

static void
add_cframes(op_batch *batch, const op_prediction *p)
{
    for (uint32_t i = 0; i < p->cframe_count; i++) {
        batch->cframes[i] = add(batch, p->cframes[i], OP_CFRAME_BYTES);
    }
}

static uint32_t
add_bracket(op_batch *batch, uintptr_t address)
{
    return add(batch, address + OP_BRACKET_OFFSET, OP_BRACKET_BYTES);
}

static void
add_thread(op_batch *batch, uintptr_t address, const op_prediction *p)
{
    batch->thread[0] = batch->thread[1] = add(batch, address, OP_THREAD_BYTES);
    if (OP_THREAD_HAS_CFRAME) {
        add_cframes(batch, p);
        batch->thread[1] = add(batch, address, OP_THREAD_BYTES);
    }
}

static bool
assemble(op_batch *batch, uintptr_t address, op_prediction *p)
{
    batch->count = 0;
    batch->bytes = batch->begin;
    batch->leaf = leaf_of(p);
    bool fits = add_outer(batch, p, 0);
    batch->bracket[0] = add_bracket(batch, address);
    fits = add_inner(batch, p, 0) && fits;
    add_thread(batch, address, p);
    fits = add_inner(batch, p, 1) && fits;
    batch->bracket[1] = add_bracket(batch, address);
    fits = add_outer(batch, p, 1) && batch->bracket[1] != OP_NOT_COPIED && fits;
    batch->vars = p->context == 0 ? OP_NOT_COPIED : add(batch, p->context, OP_CONTEXT_BYTES);
    return fits;
}

/* What lies around the leaf should go to one page of the view. If it does not, begin where it will. */
static bool
assemble_on_one_page(op_batch *batch, uintptr_t address, op_prediction *p)
{
    const bool fits = assemble(batch, address, p);
    const size_t lead = batch->bracket[0] - batch->begin;
    if (!fits || batch->bracket[0] / VIEW_PAGE_BYTES == batch->bracket[1] / VIEW_PAGE_BYTES) {
        return fits;
    }
    batch->begin = (VIEW_PAGE_BYTES - lead % VIEW_PAGE_BYTES) % VIEW_PAGE_BYTES;
    return assemble(batch, address, p);
}

bool
op_batch_copy_tick(op_batch *batch, op_reader *reader, uintptr_t address, op_prediction *p, uintptr_t *missing)
{
    uint32_t i = 0;
    if (!assemble_on_one_page(batch, address, p)) {
        i = batch->count - 1; /* too much was predicted */
    }
    else {
        size_t got = op_read_tick(reader, batch->ranges, batch->count, batch->begin);
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
op_prediction_add_frames_tick(op_prediction *p, const op_piece *frames, uint32_t count)
{
    uint32_t known = p->heap_count;
    for (uint32_t i = 0, added = 0; i < count && i < 2 * OP_RECENT_FRAMES && added < OP_RECENT_FRAMES; i++) {
        bool is_new = true;
        for (uint32_t j = 0; j < known && is_new; j++) {
            is_new = p->heap[j].address != frames[i].address;
        }
        if (is_new) {
            p->heap[p->heap_count++] = (op_piece){frames[i].address, OP_FRAME_BYTES, {0, 0}};
            added += 1;
        }
    }
}

void
op_prediction_add_cframe_tick(op_prediction *p, uintptr_t cframe)
{
    uintptr_t carried = cframe;
    for (uint32_t i = 0; i < OP_CFRAMES_MOST; i++) {
        const uintptr_t older = i < p->cframe_count ? p->cframes[i] : 0;
        p->cframes[i] = carried;
        if (older == cframe) {
            return;
        }
        if (older == 0) {
            p->cframe_count = i + 1;
            return;
        }
        carried = older;
    }
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
    p->cframe_count = 0;
    p->context = 0;
}
