/* walk.c -- see walk.h. */
#include "compat.h"

#include "attempt.h"
#include "clock.h"
#include "hash.h"
#include "objects.h"

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
top_frame(op_attempt *a, bool *is_predicted)
{
#if OP_THREAD_HAS_CFRAME
    const uint8_t *const view = a->walker->reader.view;
    for (uint32_t i = 0; i < a->prediction->cframe_count; i++) {
        const uint32_t at = a->walker->batch->cframes[i];
        if (a->prediction->cframes[i] == a->thread.link && at != OP_NOT_COPIED) {
            *is_predicted = true;
            return op_cframe_top_tick(view + at);
        }
    }
    *is_predicted = false;
    if (!op_read_one_tick(&a->walker->reader, a->thread.link, OP_CFRAME_BYTES, SCRATCH)) {
        return 0;
    }
    return op_cframe_top_tick(view + SCRATCH);
#else
    *is_predicted = true;
    return a->thread.link;
#endif
}

/* Whether what leads to the top frame was the same before and after that was copied. */
static bool
is_same_link(const op_attempt *a)
{
    op_thread_view after;
    op_thread_parse_tick(a->walker->reader.view + a->walker->batch->thread[1], &after);
    return after.link == a->thread.link;
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

/* The sighting of this Context, made empty if its place was another's: one place serves many. */
static op_sighting *
claim_sighting(op_walker *walker, uintptr_t context)
{
    op_sighting *seen = sighting_of(walker, context);
    if (seen->context != context) {
        *seen = (op_sighting){.context = context};
    }
    return seen;
}

/* Whether the thread was in one and the same Context while the leaf was copied. */
static bool
was_in_context(const op_attempt *a)
{
    const op_batch *batch = a->walker->batch;
    const uint8_t *view = a->walker->reader.view;
    const uint64_t expected[2] = {a->thread.context, a->thread.context_ver};
    return memcmp(view + batch->bracket[0], expected, OP_BRACKET_BYTES) == 0
           && memcmp(view + batch->bracket[1], expected, OP_BRACKET_BYTES) == 0;
}

/* What may change a label without a trace: counted before anything was copied. */
typedef struct {
    bool is_quiet; /* no change was under way */
    uint64_t changes;
} op_since;

/* The trie that the Context leads to now, after the instant; 0 if it cannot be told. */
static uintptr_t
vars_after(op_attempt *a, uintptr_t context)
{
    op_reader *reader = &a->walker->reader;
    const uint32_t copied = a->walker->batch->vars;
    if (a->prediction->context == context && copied != OP_NOT_COPIED) {
        return op_context_vars_tick(reader->view + copied);
    }
    return op_read_one_tick(reader, context, OP_CONTEXT_BYTES, SCRATCH) ? op_context_vars_tick(reader->view + SCRATCH)
                                                                        : 0;
}

/* Find the label of the Context that the thread was in, and tell whether that is proved. */
static bool
find_label(op_attempt *a, const op_since *since, op_walk *walk)
{
    op_walker *walker = a->walker;
    const uintptr_t context = a->thread.context;
    if (walker->labels.var == 0 || context == 0) {
        walk->label_state = context == 0 ? OP_LABEL_NONE : OP_LABEL_HIDDEN;
        return walker->labels.var == 0 || was_in_context(a);
    }
    op_label_sighting *seen = &claim_sighting(walker, context)->label;
    const bool is_as_seen = seen->context != 0 && op_label_is_as_seen_tick(seen, vars_after(a, context));
    if (!is_as_seen && !op_label_sight_tick(&walker->labels, &walker->reader, context, seen)) {
        walk->label_state = OP_LABEL_TORN;
        return false;
    }
    walk->label_state = seen->state;
    walk->label = seen->label;
    /* All Contexts without values have one trie: another may have been there in between. */
    const bool is_unique = seen->vars != walker->labels.no_values
                           || (since->is_quiet && op_label_stood_still_tick(since->changes));
    return is_as_seen && is_unique && was_in_context(a);
}

/* Say what is proved: all of a thread that stood still, and of one that ran what both copies agree on. */
static void
judge(op_attempt *a, uintptr_t top, bool is_predicted, bool has_label, op_walk *walk)
{
    /* Nobody else changes what is in the Context of a thread that stood still. */
    walk->has_label = has_label || (walk->is_still && walk->label_state != OP_LABEL_TORN);
    const bool is_same = walk->count > 0 && a->walker->frames[0].address == top && is_same_link(a);
    if (walk->is_still && walk->ends_at_root && is_same && !is_any_disproved(a->walker, walk)) {
        walk->first = 0;
        walk->status = walk->has_label ? OP_WALK_PROVED : OP_WALK_MOVED;
        return;
    }
    walk->is_still = false; /* the copies differ, whatever the clock says */
    walk->has_label = has_label;
    walk->first = first_proved(a->walker, walk);
    if (walk->first == 0 && walk->count > 0 && !(is_same && is_predicted)) {
        walk->first = 1;
    }
    if (walk->has_label && walk->ends_at_root && walk->first == 0) {
        walk->status = OP_WALK_PROVED;
    }
}

/* Predict label and coroutines by the Context that the thread is in now. */
static void
predict_by_context(op_walker *walker, uintptr_t address, const op_prediction *last, op_prediction *used)
{
    if (!op_read_one_tick(&walker->reader, address + OP_BRACKET_OFFSET, OP_BRACKET_BYTES, SCRATCH)) {
        return;
    }
    const uintptr_t context = op_bracket_context_tick(walker->reader.view + SCRATCH);
    const op_sighting *seen = sighting_of(walker, context);
    if (context == used->context || context == 0 || seen->context != context) {
        return;
    }
    used->context = context;
    used->heap_count = 0;
    op_prediction_add_frames_tick(used, seen->heap, seen->heap_count);
    op_prediction_add_frames_tick(used, last->heap, last->heap_count);
}

static void
note_frames_of_context(op_attempt *a)
{
    if (a->thread.context == 0) {
        return;
    }
    op_sighting *seen = claim_sighting(a->walker, a->thread.context);
    seen->heap_count = a->next->heap_count < OP_SIGHTED_FRAMES ? a->next->heap_count : OP_SIGHTED_FRAMES;
    memcpy(seen->heap, a->next->heap, seen->heap_count * sizeof seen->heap[0]);
}

/* The leaf was cut off while it was copied, as that of a generator is that yields: start from where the thread is
 * now. */
static void
follow_later(op_attempt *a, uintptr_t address, op_walk *walk)
{
    op_reader *reader = &a->walker->reader;
    bool is_predicted;
    a->next->heap_count = 0;
    if (op_read_one_tick(reader, address, OP_THREAD_BYTES, SCRATCH)) {
        op_thread_parse_tick(reader->view + SCRATCH, &a->thread);
        op_attempt_follow_tick(a, top_frame(a, &is_predicted), walk);
    }
}

void
op_walk_tick(op_walker *walker, uintptr_t address, uint64_t id, clockid_t clock, uint64_t clock_ns,
             op_prediction *prediction, op_walk *walk)
{
    op_prediction used;
    op_attempt a = {.walker = walker, .prediction = &used, .next = prediction, .chases = 0};
    bool top_is_predicted = false;
    op_since since;
    since.is_quiet = op_label_is_quiet_tick(&since.changes);
    *walk = (op_walk){.status = OP_WALK_MOVED, .clock_before_ns = clock_ns, .clock_after_ns = clock_ns};

    uintptr_t missing;
    memcpy(&used, prediction, op_prediction_bytes_tick(prediction));
    if (prediction->changes_context) {
        predict_by_context(walker, address, prediction, &used);
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
    a.chunk = a.thread.chunk;
    a.chunk_top = a.thread.chunk_top;
    walk->has_thread = true;
    walk->ident = a.thread.ident;
    walk->native_id = a.thread.native_id;
    walk->says_it_holds_gil = a.thread.holds_gil;

    const uintptr_t top = top_frame(&a, &top_is_predicted);
    if (OP_THREAD_HAS_CFRAME) {
        op_prediction_add_cframe_tick(prediction, a.thread.link);
    }
    prediction->leaf_end = a.thread.chunk_top;
    prediction->changes_context = prediction->context != a.thread.context;
    prediction->context = a.thread.context;
    prediction->heap_count = 0;
    if (top == 0 || top == a.thread.root) {
        walk->status = top_is_predicted && is_same_link(&a) ? OP_WALK_NO_FRAMES : OP_WALK_MOVED;
        return;
    }
    const bool has_all = op_attempt_has_chunks_tick(&a);
    const bool has_label = find_label(&a, &since, walk);
    op_attempt_follow_tick(&a, top, walk);
    if (walk->ends_at_root) {
        note_frames_of_context(&a);
    }
    else {
        follow_later(&a, address, walk);
    }
    if (prediction->heap_count > OP_HEAP_FRAMES_MOST) {
        prediction->heap_count = OP_HEAP_FRAMES_MOST;
    }
    op_prediction_add_frames_tick(prediction, used.heap, used.heap_count);
    if (clock == 0 || !op_clock_read_tick(clock, &walk->clock_after_ns)) {
        walk->clock_after_ns = clock_ns + 1; /* nothing is proved by a clock that cannot be read */
    }
    walk->is_still = walk->clock_after_ns == clock_ns;
    judge(&a, top, top_is_predicted && has_all, has_label, walk);
}
