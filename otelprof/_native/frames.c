/* frames.c -- the data stack of a thread and the frames in it, as one attempt has copied them; see attempt.h. */
#include "compat.h"

#include "attempt.h"

#define SLACK_BYTES 512u /* the top chunk is copied a bit beyond its end: it may have grown by the next time */
#define CHUNK_BYTES_MOST ((size_t)96 << 10) /* of a larger one, made for one huge frame, nothing is copied */
#define CHUNKS_WALKED_MOST 8192u
#define CHASES_MOST 256u
#define LATE_OFFSET ((size_t)64 << 10) /* in the scratch: behind what single reads use */
#define SCRATCH OP_VIEW_BYTES

/* ---- the data stack ---- */

/* Find the chunks below `top`, whose used part is `top_bytes` long, by one read each. */
static void
find_chunks(op_walker *walker, uintptr_t top, size_t top_bytes, op_prediction *p)
{
    uint8_t *const header = walker->reader.view + SCRATCH;
    op_piece ring[OP_BOTTOM_CHUNKS_MOST + 1]; /* the last ones seen: the bottom, and the one above it */
    uint32_t seen = 0;
    p->chunk_count = p->top_count = 0;
    p->bridge = 0;
    for (uintptr_t at = top; at != 0 && seen < CHUNKS_WALKED_MOST; seen++) {
        if (!op_read_one_tick(&walker->reader, at, OP_CHUNK_HEADER_BYTES, SCRATCH)) {
            return;
        }
        const size_t whole = op_chunk_bytes_tick(header);
        size_t bytes = seen > 0 ? op_chunk_used_tick(header) : top_bytes < whole ? top_bytes : whole;
        bytes = bytes > CHUNK_BYTES_MOST ? OP_CHUNK_HEADER_BYTES : bytes;
        const op_piece piece = {at, (uint32_t)bytes, {0, 0}};
        if (seen < OP_TOP_CHUNKS_MOST) {
            p->chunks[seen] = piece;
            p->top_count = p->chunk_count = seen + 1;
        }
        ring[seen % (OP_BOTTOM_CHUNKS_MOST + 1)] = piece;
        at = op_chunk_previous_tick(header);
    }
    if (seen <= OP_TOP_CHUNKS_MOST) {
        return;
    }
    const uint32_t below = seen - OP_TOP_CHUNKS_MOST;
    const uint32_t bottom = below < OP_BOTTOM_CHUNKS_MOST ? below : OP_BOTTOM_CHUNKS_MOST;
    for (uint32_t i = 0; i < bottom; i++) {
        p->chunks[OP_TOP_CHUNKS_MOST + i] = ring[(seen - bottom + i) % (OP_BOTTOM_CHUNKS_MOST + 1)];
    }
    p->chunk_count = OP_TOP_CHUNKS_MOST + bottom;
    if (below > bottom) {
        /* A chunk that is not the first of its thread begins with a frame (pystate.c, push_chunk). */
        p->bridge = ring[(seen - bottom - 1) % (OP_BOTTOM_CHUNKS_MOST + 1)].address + OP_CHUNK_HEADER_BYTES;
    }
    else {
        p->top_count = p->chunk_count;
    }
}

/* Find the chunks as they are now, for the next attempt, and copy the top one: frames below it may have been
 * copied already, and those in it lead there. */
static void
find_chunks_late(op_attempt *a, size_t top_bytes)
{
    op_prediction *next = a->next;
    find_chunks(a->walker, a->thread.chunk, top_bytes, next);
    if (next->chunk_count > 0 && next->chunks[0].bytes <= OP_SCRATCH_BYTES - LATE_OFFSET
        && op_read_one_tick(&a->walker->reader, next->chunks[0].address, next->chunks[0].bytes,
                            SCRATCH + LATE_OFFSET)) {
        a->late = next->chunks[0];
        a->late.at[0] = (uint32_t)(SCRATCH + LATE_OFFSET);
    }
}

bool
op_attempt_has_chunks_tick(op_attempt *a)
{
    const op_prediction *p = a->prediction;
    const uint8_t *view = a->walker->reader.view;
    const size_t used = a->thread.chunk_top - a->thread.chunk; /* wraps to something huge if torn */
    uint32_t top = 0;
    if (a->thread.chunk == 0) {
        a->next->chunk_count = a->next->top_count = 0;
        return p->chunk_count == 0;
    }
    while (top < p->top_count && p->chunks[top].address != a->thread.chunk) {
        top += 1; /* its leaf-ward chunks may have been popped */
    }
    bool is_same = top < p->top_count && (used <= p->chunks[top].bytes || used > CHUNK_BYTES_MOST);
    for (uint32_t i = top; is_same && i + 1 < p->top_count; i++) {
        is_same = op_chunk_previous_tick(view + p->chunks[i].at[0]) == p->chunks[i + 1].address;
    }
    if (is_same && p->top_count == p->chunk_count) {
        is_same = op_chunk_previous_tick(view + p->chunks[p->chunk_count - 1].at[0]) == 0;
    }
    const bool is_wasteful = top == 0 && p->chunk_count > 0 && p->chunks[0].bytes > used + 4 * SLACK_BYTES;
    if (!is_same || (is_wasteful && used <= CHUNK_BYTES_MOST)) {
        find_chunks_late(a, used > CHUNK_BYTES_MOST ? used : used + SLACK_BYTES);
    }
    return is_same;
}

/* ---- frames ---- */

/* The first copy of a frame on the data stack, and the second; NULL if its chunk was not copied. `room` bytes of
 * it, and of what follows, were. */
static const uint8_t *
copy_in_chunk(const op_attempt *a, uintptr_t address, const uint8_t **second, size_t *room)
{
    const op_prediction *p = a->prediction;
    const uint8_t *view = a->walker->reader.view;
    for (uint32_t i = 0; i < p->chunk_count; i++) {
        const op_piece *piece = &p->chunks[i];
        const op_piece *leaf = &a->walker->batch->leaf;
        uint32_t bytes = piece->bytes;
        if (i == 0 && address >= leaf->address) {
            piece = leaf;
            bytes = leaf->bytes;
        }
        else if (i == 0) {
            bytes = op_outer_bytes_tick(a->walker->batch, piece);
        }
        /* By subtraction: a garbage address near the top must not wrap around. */
        const uintptr_t inside = address - piece->address;
        if (inside < bytes && bytes - inside >= OP_FRAME_BYTES && inside % 8 == 0) {
            const bool is_dead = p->chunks[i].address == a->chunk && address >= a->chunk_top;
            *second = is_dead ? NULL : view + piece->at[1] + inside;
            *room = bytes - inside;
            return view + piece->at[0] + inside;
        }
    }
    *second = NULL;
    const uintptr_t inside = address - a->late.address;
    if (inside < a->late.bytes && a->late.bytes - inside >= OP_FRAME_BYTES && inside % 8 == 0) {
        return view + a->late.at[0] + inside;
    }
    return NULL;
}

/* The copies of a frame elsewhere. One that was not predicted is read now, and has no second copy. */
static const uint8_t *
copy_elsewhere(op_attempt *a, uintptr_t address, const uint8_t **second)
{
    const op_prediction *p = a->prediction;
    uint8_t *const view = a->walker->reader.view;
    op_prediction *next = a->next;
    /* Of too many the last are kept: what is proved must reach the root. */
    next->heap[next->heap_count++ % OP_HEAP_FRAMES_MOST] = (op_piece){address, OP_FRAME_BYTES, {0, 0}};
    for (uint32_t i = 0; i < p->heap_count; i++) {
        if (p->heap[i].address == address) {
            *second = view + p->heap[i].at[1];
            return view + p->heap[i].at[0];
        }
    }
    *second = NULL;
    a->chases += 1;
    if (a->chases > CHASES_MOST || !op_read_one_tick(&a->walker->reader, address, OP_FRAME_BYTES, SCRATCH)) {
        return NULL;
    }
    return view + SCRATCH;
}

/* Where the walk goes on behind the gap in a deep data stack; 0 if the frame at `address` is not in it. */
static uintptr_t
cross_gap(const op_attempt *a, uintptr_t address)
{
    const op_prediction *p = a->prediction;
    if (p->bridge == 0 || p->top_count == 0) {
        return 0;
    }
    uint8_t *const view = a->walker->reader.view;
    const uintptr_t below = op_chunk_previous_tick(view + p->chunks[p->top_count - 1].at[0]);
    if (!op_read_one_tick(&a->walker->reader, below, OP_CHUNK_HEADER_BYTES, SCRATCH)
        || address - below >= op_chunk_used_tick(view + SCRATCH)) {
        return 0;
    }
    return p->bridge;
}

/* Whether a frame on the data stack that has called another has the same locals in both copies. While it waits they
 * stay; so this tells a loop that has come round again, to the very same calls. `end` is where the frame ends. */
static bool
has_same_locals(uintptr_t at, uintptr_t end, size_t room, const uint8_t *first, const uint8_t *second)
{
    const size_t bytes = end > at && end - at < room ? end - at : 0;
    return bytes <= OP_FRAME_BYTES || memcmp(first + OP_FRAME_BYTES, second + OP_FRAME_BYTES, bytes - OP_FRAME_BYTES) == 0;
}

/* Note a frame, of which there are one or two copies, and return where its caller is. */
static uintptr_t
note_frame(op_attempt *a, uintptr_t at, const uint8_t *first, const uint8_t *second, op_walk *walk)
{
    op_frame_view frame, other;
    op_frame_parse_tick(first, &frame);
    bool is_proved = false, is_disproved = false;
    if (second != NULL) {
        op_frame_parse_tick(second, &other);
        is_proved = frame.code == other.code && frame.previous == other.previous && frame.owner == other.owner;
        is_disproved = !is_proved || frame.ip != other.ip;
        /* The leaf's instruction may move on. A popped frame is none, though it looks the same. */
        is_proved = is_proved
                    && (walk->count == 0 ? frame.may_be_leaf && other.may_be_leaf : frame.ip == other.ip)
                    && (frame.code != 0 || frame.owner >= OP_OWNER_SHIM);
    }
    a->walker->frames[walk->count++] =
        (op_raw_frame){at, frame.code, frame.ip, frame.owner, is_proved, is_disproved, false};
    walk->ends_at_root = frame.previous == 0 && op_frame_is_root_tick(&frame, at, &a->thread);
    return frame.previous;
}

void
op_attempt_follow_tick(op_attempt *a, uintptr_t top, op_walk *walk)
{
    bool has_crossed = false;
    uintptr_t at = top;
    uintptr_t end = a->thread.chunk_top; /* of the next frame on the data stack: where the one above it begins */
    uintptr_t passed = top; /* a frame that was met; meeting it again is going in circles (Brent, 1980) */
    uint32_t pass_at = 1;
    walk->count = 0;
    walk->ends_at_root = false;
    while (at != 0 && walk->count < OP_FRAMES_MOST) {
        const uint8_t *second;
        size_t room = 0;
        if (at == a->thread.root) {
            walk->ends_at_root = true;
            return;
        }
        const uint8_t *first = copy_in_chunk(a, at, &second, &room);
        const uintptr_t bridge = first != NULL || has_crossed ? 0 : cross_gap(a, at);
        if (bridge != 0) {
            has_crossed = true;
            a->walker->frames[walk->count++] = (op_raw_frame){at, 0, 0, 0, true, false, true};
            at = bridge;
            continue;
        }
        if (first == NULL) {
            first = copy_elsewhere(a, at, &second);
        }
        if (first == NULL) {
            return;
        }
        const uintptr_t caller = note_frame(a, at, first, second, walk);
        if (second != NULL && room > 0) {
            if (walk->count > 1 && !has_same_locals(at, end, room, first, second)) {
                a->walker->frames[walk->count - 1].is_proved = false;
            }
            end = at;
        }
        at = caller;
        if (at == passed) {
            return; /* it is torn */
        }
        if (walk->count == pass_at) {
            passed = at;
            pass_at *= 2;
        }
    }
}
