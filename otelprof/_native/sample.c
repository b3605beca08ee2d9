/* sample.c -- see sample.h. */
#include "compat.h"

#include "clock.h"
#include "records.h"
#include "sample.h"

/* Where tasks take turns every half microsecond, between two of them is an instant too short to be proved, and what
 * an attempt proves is one in five: with 8 attempts up to 29 % of such samples had no label, with 24 up to 7 %. */
#define ATTEMPTS 64u
#define ATTEMPTS_FOR_LEAF 5u /* so many if only the leaf is not proved */

/* The frames that are shown: Python's, and the mark of a gap. */
static bool
is_shown(const op_raw_frame *frame)
{
    return frame->is_gap || frame->owner < OP_OWNER_SHIM;
}

typedef struct {
    uint32_t row; /* of the window's stacks */
    bool is_good; /* every frame was one of code that lives still */
} resolved;

/* Put one frame on the stack being built. False if it is no code object: a torn read. */
static bool
resolve_frame(op_sampler *s, const op_raw_frame *frame, uint32_t *count, bool *is_full)
{
    op_window *window = op_active_window_tick(s);
    uint32_t code = OP_CODE_ELIDED;
    int32_t offset = 0;
    if (!frame->is_gap) {
        switch (op_codes_resolve_tick(window->codes, &s->walker.reader, frame->code, frame->ip,
                                      frame->owner == OP_OWNER_GENERATOR, &code, &offset)) {
        case OP_NOT_CODE:
            return false;
        case OP_INCOMPLETE:
            return true;
        case OP_RESOLVED:
            break;
        }
    }
    const uint32_t place = op_window_place_tick(window, code, offset);
    *is_full = *is_full || place == UINT32_MAX;
    s->addresses[*count] = frame->code;
    s->places[*count] = place;
    *count += 1;
    return true;
}

static void
push_synthetic(op_sampler *s, uint32_t code, uint32_t *count)
{
    s->addresses[*count] = 0;
    s->places[*count] = op_window_place_tick(op_active_window_tick(s), code, 0);
    *count += 1;
}

/* Intern frames[first..count): of a stack deeper than `max_depth` the leaf-most three quarters and the
 * root-most rest are kept. If code died since it was read, its place in memory may be another's by now. */
static resolved
resolve(op_sampler *s, uint32_t first, uint32_t count, bool is_truncated)
{
    const op_raw_frame *frames = s->walker.frames;
    const uint32_t leaf_most = s->max_depth * 3 / 4;
    uint32_t shown = 0, seen = 0, n = 0;
    bool is_full = false, is_elided = false;
    for (uint32_t i = first; i < count; i++) {
        shown += is_shown(&frames[i]);
    }
    const uint32_t left_out = shown > s->max_depth ? shown - s->max_depth + 1 : 0;
    if (is_truncated) {
        push_synthetic(s, OP_CODE_TRUNCATED, &n);
    }
    for (uint32_t i = first; i < count; i++) {
        if (!is_shown(&frames[i])) {
            continue;
        }
        seen += 1;
        if (seen > leaf_most && seen <= leaf_most + left_out) {
            if (!is_elided) {
                push_synthetic(s, OP_CODE_ELIDED, &n);
            }
            is_elided = true;
            continue;
        }
        if (!resolve_frame(s, &frames[i], &n, &is_full)) {
            return (resolved){0, false};
        }
    }
    if (op_codes_bury_tick(op_active_window_tick(s)->codes, s->addresses, n) || n == (is_truncated ? 1 : 0)) {
        return (resolved){0, false};
    }
    if (is_full) {
        return (resolved){op_window_synthetic_tick(op_active_window_tick(s), OP_CODE_OVERFLOW), true};
    }
    return (resolved){op_window_stack_tick(op_active_window_tick(s), s->places, n), true};
}

static uint32_t
label_row(op_sampler *s, const op_walk *walk)
{
    if (walk->has_label && walk->label_state == OP_LABEL_FOUND) {
        return op_window_label_tick(op_active_window_tick(s), &walk->label);
    }
    return walk->has_label && walk->label_state == OP_LABEL_NONE ? OP_NO_LABEL : OP_UNKNOWN_LABEL;
}

/* Keep what an attempt has proved of a thread that ran, if it is more than what was kept before: the label, and
 * frames from the root on. */
static void
keep_part(op_sampler *s, const op_walk *walk, op_sample *out)
{
    const uint32_t frames = walk->ends_at_root ? walk->count - walk->first : 0;
    const uint32_t worth = frames + (walk->has_label ? OP_FRAMES_MOST : 0);
    if (worth <= out->worth) {
        return;
    }
    resolved stack = {0, false};
    if (frames > 0) {
        stack = resolve(s, walk->first, walk->count, walk->first > 0);
    }
    if (!stack.is_good) {
        stack.row = op_window_synthetic_tick(op_active_window_tick(s), OP_CODE_UNREAD);
    }
    out->stack = stack.row;
    out->label = label_row(s, walk);
    out->worth = worth;
    out->is_torn = !stack.is_good;
    out->is_truncated = stack.is_good && walk->first > 0;
}

/* Make a sample of what was kept. */
static void
settle(op_sampler *s, op_sample *out)
{
    op_window *window = op_active_window_tick(s);
    if (out->worth == 0) {
        out->stack = op_window_synthetic_tick(window, OP_CODE_UNREAD);
        out->label = OP_UNKNOWN_LABEL;
        out->is_torn = true;
    }
    window->losses[OP_LOSS_TORN] += out->is_torn;
    s->counters.torn += out->is_torn;
    window->losses[OP_LOSS_TRUNCATED] += out->is_truncated;
    s->counters.truncated += out->is_truncated;
}

op_walk_status
op_sample_take_tick(op_sampler *s, op_record *r, uint64_t used_ns, op_sample *out)
{
    op_walk walk = {0};
    *out = (op_sample){0};
    for (uint32_t attempt = 0; attempt < ATTEMPTS; attempt++) {
        /* If the clock shows the same after this attempt as after the last one, nothing moved in between. */
        const uint64_t before_ns = attempt == 0 ? used_ns : walk.clock_after_ns;
        s->counters.retries += attempt > 0;
        (void)op_codes_bury_tick(op_active_window_tick(s)->codes, NULL, 0);
        /* The clock of a thread that runs beside us goes on; the copies alone can prove something. */
        const clockid_t clock = out->has_moved ? 0 : r->clock;
        op_walk_tick(&s->walker, r->address, r->id, clock, before_ns, r->prediction, &walk);
        if (walk.status == OP_WALK_GONE || walk.status == OP_WALK_NO_FRAMES) {
            return walk.status;
        }
        if (walk.has_thread && walk.native_id != r->native_id) {
            r->native_id = walk.native_id;
            return OP_WALK_GONE;
        }
        r->ident = walk.has_thread ? walk.ident : r->ident;
        out->has_moved = out->has_moved || (r->clock != 0 && walk.clock_after_ns != used_ns);
        out->clock_after_ns = walk.clock_after_ns;
        out->flags = op_holds_gil_tick(walk.says_it_holds_gil, r->address, &s->interpreter) ? OP_FLAG_HELD_GIL : 0;
        if (walk.status != OP_WALK_PROVED) {
            if (attempt >= ATTEMPTS_FOR_LEAF / 2) {
                keep_part(s, &walk, out);
            }
            if (attempt + 1 >= ATTEMPTS_FOR_LEAF && out->worth > OP_FRAMES_MOST) {
                break;
            }
            continue;
        }
        const resolved stack = resolve(s, 0, walk.count, false);
        if (stack.is_good) {
            out->stack = stack.row;
            out->is_still = walk.is_still;
            out->label = label_row(s, &walk);
            return OP_WALK_PROVED;
        }
    }
    settle(s, out);
    return OP_WALK_PROVED;
}
