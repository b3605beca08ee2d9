/* walk.c -- see walk.h. */
#include "compat.h"

#include "attempt.h"
#include "clock.h"
#include "hash.h"

#define SCRATCH OP_VIEW_BYTES

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

/* ---- an attempt ---- */

static uintptr_t
top_frame(op_attempt *a, uint32_t which, bool *is_predicted)
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
is_same_top(op_attempt *a, uintptr_t top, bool top_is_predicted)
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

/* Whether a sighting is of this Context: one slot serves many. */
static bool
is_of(const op_sighting *seen, uintptr_t context)
{
    return seen->path.count > 0 && seen->path.addresses[0] == context;
}

static bool
is_same_sighting(const op_sighting *seen, uintptr_t context, const op_walk *walk)
{
    return is_of(seen, context) && seen->state == walk->label_state
           && (seen->state != OP_LABEL_FOUND || memcmp(&seen->label, &walk->label, sizeof walk->label) == 0);
}

/* Whether the thread is still in the Context that it was in around the leaf. */
static bool
is_still_in_context(const op_attempt *a, uintptr_t address, bool is_predicted)
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
find_label(op_attempt *a, uintptr_t address, uint64_t changes, op_walk *walk)
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
judge(op_attempt *a, uintptr_t top, bool is_predicted, op_walk *walk)
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
        if (context != 0 && is_of(seen, context)) {
            used->label = seen->path;
        }
    }
}

/* The leaf was cut off while it was copied, as that of a generator is that yields: start from where the thread
 * was after the copies. */
static void
follow_later(op_attempt *a, op_walk *walk)
{
    bool is_predicted;
    a->next->heap_count = 0;
    op_thread_parse_tick(a->walker->reader.view + a->walker->batch->thread[1], &a->thread);
    op_attempt_follow_tick(a, top_frame(a, 1, &is_predicted), walk);
}

void
op_walk_tick(op_walker *walker, uintptr_t address, uint64_t id, clockid_t clock, uint64_t clock_ns,
             bool look_first, op_prediction *prediction, op_walk *walk)
{
    op_prediction used = *prediction;
    op_attempt a = {.walker = walker, .prediction = &used, .next = prediction, .chases = 0};
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
    const bool has_all = op_attempt_has_chunks_tick(&a);
    walk->has_label = find_label(&a, address, changes, walk) && is_quiet;
    op_attempt_follow_tick(&a, top, walk);
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
