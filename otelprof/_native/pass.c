/* pass.c -- one pass over all threads, and whose time it is. */
#include "compat.h"

#include "clock.h"
#include "records.h"
#include "sample.h"

#define POOL_NS (3 * OP_NS_PER_S)   /* CPU time waits so long for its thread to be seen on the CPU */
#define LONG_NS OP_NS_PER_S         /* and so long for where it surely is */
#define LOOK_NS (OP_NS_PER_S / 250) /* so often at most the kernel is asked about a thread */
#define LOOK_FOR_NS (OP_NS_PER_S / 500) /* and for so much CPU time at least */
#define UNASKED_MOST 7u             /* every eighth pass every clock is read */

/* CPU time goes to a stack that was seen using it: held back until the thread is seen on the CPU. A thread that
 * was not running while it was read may yet be ready to: if it holds the GIL, or if we took its processor, which
 * the kernel is asked about. One that waits for another processor was mostly just woken up, or has woken up others:
 * what it has used is not of there, unless it is in the span in which it was seen last, or has waited for long. Not
 * often: that is dear. And as seldom for a thread that holds the GIL, of which we know without asking: else the
 * time of its C functions without the GIL would go to what it does with it. Where the kernel cannot be asked, it
 * may be running: who waits for most has mostly used it where it is. */
static bool
is_on_cpu(op_sampler *s, const op_record *r, const op_sample *taken, uint64_t now_ns)
{
    if (taken->has_moved) {
        return true;
    }
    /* One of those that wait for most. */
    if (r->pool_ns < LOOK_FOR_NS || now_ns - s->looked_ns < LOOK_NS || 2 * r->pool_ns < s->largest_pool_ns[1]) {
        return false;
    }
    s->looked_ns = now_ns;
    if (taken->flags & OP_FLAG_HELD_GIL) {
        return true;
    }
    switch (op_readiness_tick(&s->states, r->native_id)) {
    case OP_NOT_READY:
        return false;
    case OP_READY_HERE:
        return true;
    case OP_READY_ELSEWHERE:
        return r->is_in_span || now_ns - r->pool_since_ns > LONG_NS;
    }
    return false;
}

static void
account(op_sampler *s, op_record *r, const op_sample *taken, uint64_t used_ns, uint64_t now_ns)
{
    const uint64_t spent_ns = used_ns > r->counted_ns ? used_ns - r->counted_ns : 0;
    const uint64_t wall_ns = now_ns - r->sampled_ns;
    uint64_t cpu_ns = 0;
    uint32_t flags = taken->flags;
    if (r->window != s->serial || r->label != taken->label) {
        op_record_leave_span_tick(s, r);
    }
    else if (taken->label >= OP_LABELS_RESERVED && taken->label != OP_NO_ROOM_LABEL) {
        r->is_in_span = true;
        r->span_pool_ns += spent_ns;
    }
    if (r->pool_ns == 0) {
        r->pool_since_ns = now_ns;
    }
    r->pool_ns += spent_ns;
    s->accounted_ns += spent_ns;
    if (is_on_cpu(s, r, taken, now_ns)) {
        flags |= OP_FLAG_ON_CPU;
        cpu_ns = r->pool_ns;
        r->pool_ns = r->span_pool_ns = 0;
        r->has_run = true;
        r->run_stack = taken->stack;
        r->run_flags = flags;
    }
    if (r->pool_ns > s->largest_pool_ns[0]) {
        s->largest_pool_ns[0] = r->pool_ns;
    }
    r->counted_ns = used_ns;
    r->sampled_ns = now_ns;
    (void)op_record_add_tick(s, r, taken->stack, taken->label, flags, 1, wall_ns, cpu_ns, now_ns);
    if (now_ns - r->pool_since_ns > POOL_NS) {
        op_record_leave_span_tick(s, r);
        op_record_add_unsampled_tick(s, r, 0, r->pool_ns, now_ns);
        r->pool_ns = 0;
    }
    r->stack = taken->stack;
    r->label = taken->label;
    r->flags = flags & ~OP_FLAG_ON_CPU;
    r->clock_ns = taken->clock_after_ns;
    r->is_still = taken->is_still;
    r->group = UINT32_MAX;
}

/* The same sample again, of a thread that has not moved. */
static void
repeat_sample(op_sampler *s, op_record *r, uint64_t now_ns)
{
    const uint64_t wall_ns = now_ns - r->sampled_ns;
    s->counters.unmoved += 1;
    s->counters.samples += 1;
    s->counters.unknown += r->label == OP_UNKNOWN_LABEL;
    if (r->group == UINT32_MAX) {
        r->group = op_record_add_tick(s, r, r->stack, r->label, r->flags, 1, wall_ns, 0, now_ns);
    }
    else {
        op_window_repeat_tick(op_active_window_tick(s), r->group, wall_ns, now_ns);
    }
    r->sampled_ns = now_ns;
}

/* Whether a thread that stood still cannot have moved, without a look at its clock: it would have needed the GIL,
 * which nobody else has had since. (It may have used CPU time in a C function; the next look tells.) */
static bool
lacks_gil(const op_record *r, const op_gil_view *gil)
{
    return gil->switches == r->switches && gil->holder != r->address && r->unasked < UNASKED_MOST;
}

/* Sample one thread. False if its record was dropped, and another has taken the place. */
static bool
sample_thread(op_sampler *s, op_record *r, const op_gil_view *gil, uint64_t now_ns)
{
    uint64_t used_ns = 0;
    op_sample taken;
    const bool may_repeat = r->is_still && r->window == s->serial;
    if (may_repeat && lacks_gil(r, gil)) {
        r->unasked += 1;
        repeat_sample(s, r, now_ns);
        return true;
    }
    if (r->clock != 0 && !op_clock_read_tick(r->clock, &used_ns)) {
        op_record_drop_tick(s, r, now_ns);
        return false;
    }
    if (r->is_own) {
        return true;
    }
    r->unasked = 0;
    if (may_repeat && r->clock_ns == used_ns) {
        r->switches = gil->switches;
        repeat_sample(s, r, now_ns);
        return true;
    }
    /* From before it is read: who gets the GIL meanwhile is seen the next time. */
    r->switches = gil->switches;
    const op_walk_status status = op_sample_take_tick(s, r, used_ns, &taken);
    switch (status) {
    case OP_WALK_GONE:
        if (r->native_id != 0 && op_clock_of_thread_tick(r->native_id) != r->clock
            && op_record_begin_tick(s, r, r->native_id, now_ns)) {
            return true; /* it was bound to its thread only now */
        }
        op_record_drop_tick(s, r, now_ns);
        s->last_discovery_ns = 0; /* whoever has its place in memory now is not at the head of the list */
        return false;
    case OP_WALK_NO_FRAMES:
        if (r->has_frames) {
            /* On its way into or out of Python: the sample counts, but what it does is not known. */
            taken = (op_sample){.stack = op_window_synthetic_tick(op_active_window_tick(s), OP_CODE_UNREAD),
                                .label = OP_UNKNOWN_LABEL};
            op_active_window_tick(s)->losses[OP_LOSS_TORN] += 1;
            s->counters.torn += 1;
            break;
        }
        /* In C, or not begun: its time is not Python's, its CPU time that of "threads that are not". */
        r->sampled_ns = now_ns;
        r->counted_ns = used_ns;
        r->is_still = false;
        return true;
    case OP_WALK_PROVED:
    case OP_WALK_MOVED:
        if (r->native_id == 0) {
            r->sampled_ns = now_ns; /* bound to no thread, so it cannot have run */
            return true;
        }
        break;
    }
    r->has_frames = status != OP_WALK_NO_FRAMES;
    s->counters.samples += 1;
    s->counters.unknown += taken.label == OP_UNKNOWN_LABEL;
    account(s, r, &taken, used_ns, now_ns);
    return true;
}

void
op_pass_begin_tick(op_sampler *s, uint64_t now_ns)
{
    op_reader_check_tick(&s->walker.reader);
    s->record_count = 0;
    s->accounted_ns = s->unseen_ns = s->own_ended_ns = 0;
    (void)op_clock_read_tick(CLOCK_PROCESS_CPUTIME_ID, &s->process_begin_ns);
    s->sampler_begin_ns = s->sampler_seen_ns;
    for (uint32_t i = 0; i < s->own_count; i++) {
        (void)op_clock_read_tick(op_clock_of_thread_tick(s->own[i].native_id), &s->own[i].seen_ns);
        s->own[i].begin_ns = s->own[i].seen_ns;
    }
    s->last_pass_ns = now_ns;
    s->last_discovery_ns = 0;
    op_records_discover_tick(s, now_ns);
    for (uint32_t i = 0; i < s->record_count; i++) {
        op_record *r = &s->records[i];
        (void)(r->clock != 0 && op_clock_read_tick(r->clock, &r->counted_ns));
    }
    s->is_begun = true;
}

void
op_pass_tick(op_sampler *s, uint64_t now_ns)
{
    op_reader_check_tick(&s->walker.reader);
    (void)op_codes_bury_tick(op_active_window_tick(s)->codes, NULL, 0);
    op_records_discover_tick(s, now_ns);
    const op_gil_view gil = op_gil_tick(&s->interpreter);
    for (uint32_t i = 0; i < s->record_count;) {
        i += sample_thread(s, &s->records[i], &gil, now_ns);
    }
    s->largest_pool_ns[1] = s->largest_pool_ns[0];
    s->largest_pool_ns[0] = 0;
    s->last_pass_ns = now_ns;
    s->counters.passes += 1;
}

void
op_pass_note_cost_tick(op_sampler *s)
{
    uint64_t used_ns = 0;
    if (s->sampler_clock != 0 && op_clock_read_tick(s->sampler_clock, &used_ns)) {
        s->counters.sampler_cpu_ns += used_ns - s->sampler_seen_ns;
        s->sampler_seen_ns = used_ns;
    }
}

/* Read the clocks of our own threads, and drop those that ended: the kernel may give their ids to the program's
 * threads, as it has where a clock went back. */
static void
count_own(op_sampler *s, uint64_t now_ns)
{
    for (uint32_t i = 0; i < s->own_count;) {
        uint64_t used_ns = 0;
        if (op_clock_read_tick(op_clock_of_thread_tick(s->own[i].native_id), &used_ns)
            && used_ns >= s->own[i].seen_ns) {
            s->own[i].seen_ns = used_ns;
            i += 1;
            continue;
        }
        for (uint32_t j = 0; j < s->record_count; j++) {
            op_record *r = &s->records[j];
            if (r->is_own && r->native_id == s->own[i].native_id) {
                r->is_own = false;
                r->counted_ns = used_ns;
                r->sampled_ns = now_ns;
            }
        }
        s->own_ended_ns += s->own[i].seen_ns - s->own[i].begin_ns;
        s->own_count -= 1;
        s->own[i] = s->own[s->own_count];
    }
}

void
op_pass_account_tick(op_sampler *s, uint64_t now_ns)
{
    uint64_t process_ns = 0, used_ns = 0;
    op_pass_note_cost_tick(s);
    (void)op_clock_read_tick(CLOCK_PROCESS_CPUTIME_ID, &process_ns);
    count_own(s, now_ns);
    uint64_t known_ns = s->accounted_ns + s->own_ended_ns + (s->sampler_seen_ns - s->sampler_begin_ns);
    for (uint32_t i = 0; i < s->record_count; i++) {
        const op_record *r = &s->records[i];
        if (!r->is_own && r->clock != 0 && op_clock_read_tick(r->clock, &used_ns) && used_ns > r->counted_ns) {
            known_ns += used_ns - r->counted_ns;
        }
    }
    for (uint32_t i = 0; i < s->own_count; i++) {
        known_ns += s->own[i].seen_ns - s->own[i].begin_ns;
    }
    const uint64_t since_ns = process_ns - s->process_begin_ns;
    if (since_ns > known_ns && since_ns - known_ns > s->unseen_ns) {
        op_window *window = op_active_window_tick(s);
        op_window_add_tick(window, &(op_group){
                                       .stack = op_window_synthetic_tick(window, OP_CODE_UNSEEN),
                                       .label = OP_NO_LABEL,
                                       .thread = op_window_thread_tick(window, 0, 0),
                                       .cpu_ns = since_ns - known_ns - s->unseen_ns,
                                       .first_ns = now_ns,
                                       .last_ns = now_ns,
                                   });
        s->unseen_ns = since_ns - known_ns;
    }
}

void
op_pass_end_tick(op_sampler *s, uint64_t now_ns)
{
    op_pass_account_tick(s, now_ns);
    for (uint32_t i = 0; i < s->record_count; i++) {
        op_record *r = &s->records[i];
        uint64_t used_ns = r->counted_ns;
        if (r->is_own) {
            continue;
        }
        if (r->clock != 0) {
            (void)op_clock_read_tick(r->clock, &used_ns);
        }
        const uint64_t spent_ns = used_ns > r->counted_ns ? used_ns - r->counted_ns : 0;
        op_record_leave_span_tick(s, r);
        op_record_add_unsampled_tick(s, r, now_ns - r->sampled_ns, r->pool_ns + spent_ns, now_ns);
    }
    s->record_count = 0;
    s->is_begun = false;
}
