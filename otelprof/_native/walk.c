/* walk.c -- see walk.h. */
#include "compat.h"

#include "clock.h"
#include "hash.h"
#include "walk.h"

#define SLACK_BYTES 512u /* the top chunk is copied a bit beyond its end: it may have grown by the next time */
#define CHUNK_BYTES_MOST ((size_t)96 << 10) /* of a larger one, made for one huge frame, nothing is copied */
#define CHUNKS_WALKED_MOST 8192u
#define CHASES_MOST 256u
#define SCRATCH OP_VIEW_BYTES
#define LATE_OFFSET ((size_t)64 << 10) /* in the scratch: behind what single reads use */

typedef struct {
    op_walker *walker;
    const op_prediction *prediction;
    op_prediction *next; /* what to predict the next time, found by this attempt */
    op_thread_view thread;
    op_piece late; /* the top chunk, if it was not predicted: it is copied once, later */
    uint32_t chases;
} attempt;

size_t
op_walker_memory_bytes(void)
{
    return OP_FRAMES_MOST * sizeof(op_raw_frame) + OP_SIGHTINGS_KEPT * sizeof(op_sighting) + sizeof(op_batch);
}

void
op_walker_init(op_walker *walker, void *memory)
{
    walker->batch = memory;
    walker->sightings = (op_sighting *)(void *)((uint8_t *)memory + sizeof(op_batch));
    walker->frames = (op_raw_frame *)(void *)(walker->sightings + OP_SIGHTINGS_KEPT);
}

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
find_chunks_late(attempt *a, size_t top_bytes)
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

/* Whether the chunks that were copied hold the thread's frames; if not, find them for the next attempt. */
static bool
has_chunks(attempt *a)
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

/* The first copy of a frame on the data stack, and the second; NULL if its chunk was not copied. */
static const uint8_t *
copy_in_chunk(const attempt *a, uintptr_t address, const uint8_t **second)
{
    const op_prediction *p = a->prediction;
    const uint8_t *view = a->walker->reader.view;
    for (uint32_t i = 0; i < p->chunk_count; i++) {
        const op_piece *piece = &p->chunks[i];
        /* By subtraction: a garbage address near the top must not wrap around. */
        uintptr_t inside = address - piece->address;
        if (inside >= piece->bytes || piece->bytes - inside < OP_FRAME_BYTES || inside % 8 != 0) {
            continue;
        }
        if (i == 0 && address >= a->walker->batch->leaf.address) {
            piece = &a->walker->batch->leaf;
            inside = address - piece->address;
        }
        *second = view + piece->at[1] + inside;
        return view + piece->at[0] + inside;
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
copy_elsewhere(attempt *a, uintptr_t address, const uint8_t **second)
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
cross_gap(const attempt *a, uintptr_t address)
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

/* Note a frame, of which there are one or two copies, and return where its caller is. */
static uintptr_t
note_frame(attempt *a, uintptr_t at, const uint8_t *first, const uint8_t *second, op_walk *walk)
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

/* Follow the frames from `top` to the root into `walker->frames`. */
static void
follow(attempt *a, uintptr_t top, op_walk *walk)
{
    bool has_crossed = false;
    uintptr_t at = top;
    walk->count = 0;
    walk->ends_at_root = false;
    while (at != 0 && walk->count < OP_FRAMES_MOST) {
        const uint8_t *second;
        if (at == a->thread.root) {
            walk->ends_at_root = true;
            return;
        }
        const uint8_t *first = copy_in_chunk(a, at, &second);
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
        at = note_frame(a, at, first, second, walk);
    }
}

/* ---- an attempt ---- */

static uintptr_t
top_frame(attempt *a, uint32_t which, bool *is_predicted)
{
#if OP_THREAD_HAS_CFRAME
    const op_batch *batch = a->walker->batch;
    *is_predicted = batch->cframe[which] != UINT32_MAX && a->prediction->cframe == a->thread.link;
    if (*is_predicted) {
        return op_cframe_top_tick(a->walker->reader.view + batch->cframe[which]);
    }
    if (!op_read_one_tick(&a->walker->reader, a->thread.link, OP_CFRAME_BYTES, SCRATCH)) {
        return 0;
    }
    return op_cframe_top_tick(a->walker->reader.view + SCRATCH);
#else
    (void)which;
    *is_predicted = true;
    return a->thread.link;
#endif
}

/* Whether the thread state was the same before and after the leaf was copied. */
static bool
is_same_top(attempt *a, uintptr_t top, bool top_is_predicted)
{
    const op_walker *walker = a->walker;
    op_thread_view after;
    bool again;
    op_thread_parse_tick(walker->reader.view + walker->batch->thread[1], &after);
    return after.link == a->thread.link && after.chunk == a->thread.chunk && after.chunk_top == a->thread.chunk_top
           && walker->frames[0].address == top && (!top_is_predicted || top_frame(a, 1, &again) == top);
}

/* The first of the frames that are proved without a gap to the root. */
static uint32_t
first_proved(const op_walker *walker, const op_walk *walk)
{
    uint32_t first = walk->count;
    while (walk->ends_at_root && first > 0 && walker->frames[first - 1].is_proved) {
        first -= 1;
    }
    return first;
}

static bool
is_any_disproved(const op_walker *walker, const op_walk *walk)
{
    for (uint32_t i = 0; i < walk->count; i++) {
        if (walker->frames[i].is_disproved) {
            return true;
        }
    }
    return false;
}

static op_sighting *
sighting_of(op_walker *walker, uintptr_t context)
{
    return &walker->sightings[(op_hash_add(0, context >> 4) >> 32) % OP_SIGHTINGS_KEPT];
}

static bool
is_same_sighting(const op_sighting *seen, uintptr_t context, const op_walk *walk)
{
    return seen->path.count > 0 && seen->path.addresses[0] == context && seen->state == walk->label_state
           && (seen->state != OP_LABEL_FOUND || memcmp(&seen->label, &walk->label, sizeof walk->label) == 0);
}

/* Whether the thread is still in the Context that it was in around the leaf. */
static bool
is_still_in_context(const attempt *a, uintptr_t address, bool is_predicted)
{
    const op_batch *batch = a->walker->batch;
    op_reader *reader = &a->walker->reader;
    size_t bracket = batch->bracket[1];
    const uint64_t expected[2] = {a->thread.context, a->thread.context_ver};
    if (!is_predicted) {
        bracket = SCRATCH;
        if (!op_read_one_tick(reader, address + OP_BRACKET_OFFSET, OP_BRACKET_BYTES, SCRATCH)) {
            return false;
        }
    }
    return memcmp(reader->view + bracket, expected, OP_BRACKET_BYTES) == 0
           && (!is_predicted || memcmp(reader->view + batch->bracket[0], expected, OP_BRACKET_BYTES) == 0);
}

/* Find the label of the Context that the thread was in, and tell whether that is proved. `changes` were begun
 * before everything was copied. */
static bool
find_label(attempt *a, uintptr_t address, uint64_t changes, op_walk *walk)
{
    op_walker *walker = a->walker;
    const uintptr_t context = a->thread.context;
    const op_label_env *env = &walker->labels;
    op_thread_view after;
    op_sighting now;
    bool is_predicted = false;
    walk->label_state = op_label_find_tick(env, &walker->reader, context, &a->prediction->label, &now.path,
                                           &is_predicted, &walk->label);
    a->next->label = now.path;
    if (env->var == 0 || walk->label_state == OP_LABEL_TORN) {
        return env->var == 0;
    }
    op_thread_parse_tick(walker->reader.view + walker->batch->thread[1], &after);
    bool is_same = after.context == context && after.context_ver == a->thread.context_ver;
    if (is_same && context != 0 && !is_still_in_context(a, address, is_predicted)) {
        op_sighting before = *sighting_of(walker, context);
        if (is_predicted) {
            /* It was read before the leaf was copied, so it is what is to be compared with. */
            const op_label_path none = {.count = 0};
            before = (op_sighting){now.path, walk->label_state, walk->label};
            walk->label_state = op_label_find_tick(env, &walker->reader, context, &none, &now.path, &is_predicted,
                                                   &walk->label);
        }
        is_same = is_same_sighting(&before, context, walk);
    }
    if (walk->label_state != OP_LABEL_TORN && context != 0) {
        now.state = walk->label_state;
        now.label = walk->label;
        *sighting_of(walker, context) = now;
    }
    return is_same && walk->label_state != OP_LABEL_TORN && op_label_stood_still_tick(changes);
}

/* Say what is proved: all of a thread that stood still, and of one that ran what both copies agree on. */
static void
judge(attempt *a, uintptr_t top, bool is_predicted, op_walk *walk)
{
    const bool is_same = walk->count > 0 && is_same_top(a, top, is_predicted);
    if (walk->is_still && walk->ends_at_root && is_same && !is_any_disproved(a->walker, walk)) {
        walk->first = 0;
        walk->status = walk->has_label ? OP_WALK_PROVED : OP_WALK_MOVED;
        return;
    }
    walk->is_still = false; /* the copies differ, whatever the clock says */
    walk->first = first_proved(a->walker, walk);
    if (walk->first == 0 && walk->count > 0 && !(is_same && is_predicted)) {
        walk->first = 1;
    }
    if (walk->has_label && walk->ends_at_root && walk->first == 0) {
        walk->status = OP_WALK_PROVED;
    }
}

/* Predict the label's path by the Context that the thread is in now. */
static void
predict_path(op_walker *walker, uintptr_t address, op_prediction *used)
{
    if (op_read_one_tick(&walker->reader, address + OP_BRACKET_OFFSET, OP_BRACKET_BYTES, SCRATCH)) {
        const uintptr_t context = op_bracket_context_tick(walker->reader.view + SCRATCH);
        const op_sighting *seen = sighting_of(walker, context);
        if (context != 0 && seen->path.count > 0 && seen->path.addresses[0] == context) {
            used->label = seen->path;
        }
    }
}

/* The leaf was cut off while it was copied, as that of a generator is that yields: start from where the thread
 * was after the copies. */
static void
follow_later(attempt *a, op_walk *walk)
{
    bool is_predicted;
    a->next->heap_count = 0;
    op_thread_parse_tick(a->walker->reader.view + a->walker->batch->thread[1], &a->thread);
    follow(a, top_frame(a, 1, &is_predicted), walk);
}

void
op_walk_tick(op_walker *walker, uintptr_t address, uint64_t id, clockid_t clock, uint64_t clock_ns,
             bool look_first, op_prediction *prediction, op_walk *walk)
{
    op_prediction used = *prediction;
    attempt a = {.walker = walker, .prediction = &used, .next = prediction, .chases = 0};
    bool top_is_predicted = false;
    uint64_t changes;
    const bool is_quiet = op_label_is_quiet_tick(&changes);
    *walk = (op_walk){.status = OP_WALK_MOVED, .clock_before_ns = clock_ns, .clock_after_ns = clock_ns};

    uintptr_t missing;
    if (look_first) {
        predict_path(walker, address, &used);
    }
    for (uint32_t tries = 0; !op_batch_copy_tick(walker->batch, &walker->reader, address, &used, &missing);
         tries++) {
        if (missing - address < OP_THREAD_BYTES) {
            walk->status = OP_WALK_GONE;
            return;
        }
        if (tries == OP_CHUNKS_MOST) {
            *prediction = (op_prediction){0};
            return;
        }
        op_prediction_forget_tick(&used, missing);
        op_prediction_forget_tick(prediction, missing);
    }
    op_thread_parse_tick(walker->reader.view + walker->batch->thread[0], &a.thread);
    if (a.thread.id != id) {
        walk->status = OP_WALK_GONE;
        return;
    }
    walk->has_thread = true;
    walk->ident = a.thread.ident;
    walk->native_id = a.thread.native_id;
    walk->says_it_holds_gil = a.thread.holds_gil;

    const uintptr_t top = top_frame(&a, 0, &top_is_predicted);
    prediction->cframe = OP_THREAD_HAS_CFRAME ? a.thread.link : 0;
    prediction->leaf_end = a.thread.chunk_top;
    prediction->heap_count = 0;
    if (top == 0 || top == a.thread.root) {
        bool again;
        walk->status = top_frame(&a, 1, &again) == top ? OP_WALK_NO_FRAMES : OP_WALK_MOVED;
        return;
    }
    const bool has_all = has_chunks(&a);
    walk->has_label = find_label(&a, address, changes, walk) && is_quiet;
    follow(&a, top, walk);
    if (!walk->ends_at_root) {
        follow_later(&a, walk);
    }
    if (prediction->heap_count > OP_HEAP_FRAMES_MOST) {
        prediction->heap_count = OP_HEAP_FRAMES_MOST;
    }
    if (clock == 0 || !op_clock_read_tick(clock, &walk->clock_after_ns)) {
        walk->clock_after_ns = clock_ns + 1; /* nothing is proved by a clock that cannot be read */
    }
    walk->is_still = walk->clock_after_ns == clock_ns;
    judge(&a, top, top_is_predicted && has_all, walk);
}
