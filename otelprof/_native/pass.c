/* pass.c -- one pass over all threads: who is there, what each does, and whose time it is. */
#include "compat.h"

#include "clock.h"
#include "deaths.h"
#include "sampler.h"

#include <fcntl.h>
#include <sys/types.h>
#include <unistd.h>

#define ATTEMPTS 8u
#define ATTEMPTS_FOR_LEAF 5u /* so many if only the leaf is not proved */
#define DISCOVERY_NS OP_NS_PER_S         /* all thread states are listed at least so often */
#define LISTED_MOST 8192u
#define UNASKED_MOST 7u                  /* every eighth pass every clock is read */
#define POOL_NS (3 * OP_NS_PER_S)        /* CPU time waits so long for its thread to be seen on the CPU */
#define LOOK_NS (OP_NS_PER_S / 25)       /* so often the kernel is asked about one thread: 50 us each */
#define SCRATCH OP_VIEW_BYTES

static op_window *
window_of(op_sampler *s)
{
    return &s->windows[s->active];
}

/* ---- adding ---- */

static uint32_t
add(op_sampler *s, op_record *r, uint32_t stack, uint32_t label, uint32_t flags, uint64_t samples,
    uint64_t wall_ns, uint64_t cpu_ns, uint64_t now_ns)
{
    op_window *window = window_of(s);
    if (r->window != s->serial) {
        r->window = s->serial;
        r->is_still = false; /* its stack and label were rows of another window */
        r->thread = op_window_thread_tick(window, r->ident, r->native_id);
    }
    return op_window_add_tick(window, &(op_group){
                                          .stack = stack,
                                   .label = label,
                                   .thread = r->thread,
                                   .flags = flags,
                                   .samples = samples,
                                   .wall_ns = wall_ns,
                                   .cpu_ns = cpu_ns,
                                   .first_ns = now_ns,
                                   .last_ns = now_ns,
                               });
}

/* Time of a thread that no sample covers. */
static void
add_unsampled(op_sampler *s, op_record *r, uint64_t wall_ns, uint64_t cpu_ns, uint64_t now_ns)
{
    if (wall_ns > 0 || cpu_ns > 0) {
        add(s, r, op_window_synthetic_tick(window_of(s), OP_CODE_UNSAMPLED), OP_NO_LABEL, 0, 0, wall_ns, cpu_ns,
            now_ns);
    }
}

/* ---- who is there ---- */

static void
drop(op_sampler *s, op_record *r, uint64_t now_ns)
{
    add_unsampled(s, r, 0, r->pool_ns, now_ns);
    s->record_count -= 1;
    op_prediction *const free_prediction = r->prediction;
    *r = s->records[s->record_count];
    s->records[s->record_count].prediction = free_prediction;
}

static bool
is_own(const op_sampler *s, uint32_t native_id)
{
    for (uint32_t i = 0; i < s->own_count; i++) {
        if (s->own[i].native_id == native_id) {
            return true;
        }
    }
    return false;
}

/* Take what a thread has used so far as its beginning; of a thread born since the last pass all is new, but
 * no more than the time that has passed. */
static void
begin_record(op_sampler *s, op_record *r, uint32_t native_id, uint64_t now_ns)
{
    const uint64_t since_ns = s->last_pass_ns;
    uint64_t used_ns = 0;
    r->native_id = native_id;
    r->clock = native_id == 0 ? 0 : op_clock_of_thread_tick(native_id);
    if (r->clock != 0 && !op_clock_read_tick(r->clock, &used_ns)) {
        r->clock = 0;
    }
    r->is_own = is_own(s, native_id);
    r->is_still = false;
    r->counted_ns = used_ns > now_ns - since_ns ? used_ns - (now_ns - since_ns) : 0;
    r->sampled_ns = since_ns;
    r->pool_ns = 0;
    r->pool_since_ns = now_ns;
}

static op_record *
find_record(op_sampler *s, uintptr_t address)
{
    for (uint32_t i = 0; i < s->record_count; i++) {
        if (s->records[i].address == address) {
            return &s->records[i];
        }
    }
    return NULL;
}

/* List the thread states, newest first, and make records of the new ones. With `all` to the end of the list,
 * else to the first that is known: new ones are put at the head (Python/pystate.c, add_threadstate). */
static void
list_threads(op_sampler *s, uintptr_t head, bool all, uint64_t now_ns)
{
    op_reader *reader = &s->walker.reader;
    uint32_t listed = 0;
    for (uintptr_t at = head; at != 0 && listed < LISTED_MOST; listed++) {
        op_thread_view thread;
        if (!op_read_one_tick(reader, at, OP_THREAD_BYTES, SCRATCH)) {
            return;
        }
        op_thread_parse_tick(reader->view + SCRATCH, &thread);
        op_record *r = find_record(s, at);
        if (r != NULL && r->id != thread.id) {
            drop(s, r, now_ns);
            r = NULL;
        }
        if (r != NULL && !all) {
            return;
        }
        if (r == NULL && s->record_count == OP_RECORDS_MOST) {
            s->counters.threads_refused += 1;
            return;
        }
        if (r == NULL) {
            r = &s->records[s->record_count];
            s->record_count += 1;
            /* Records change places; what was another's goes with the place. */
            op_prediction *const prediction =
                r->prediction != NULL ? r->prediction : &s->predictions[s->record_count - 1];
            *prediction = (op_prediction){0};
            *r = (op_record){.address = at, .id = thread.id, .ident = thread.ident, .prediction = prediction};
            begin_record(s, r, thread.native_id, now_ns);
        }
        at = thread.next;
    }
}

/* A thread state that is made changes the count, and then the head of the list: either means to look. */
static void
discover(op_sampler *s, uint64_t now_ns)
{
    const op_threads_view threads = op_threads_tick(&s->interpreter);
    const bool all = now_ns - s->last_discovery_ns >= DISCOVERY_NS;
    if (all) {
        s->last_discovery_ns = now_ns;
    }
    if (all || threads.made != s->listed.made || threads.head != s->listed.head) {
        s->listed = threads;
        list_threads(s, threads.head, all, now_ns);
    }
}

/* ---- what it does ---- */

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
    op_window *window = window_of(s);
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
    s->places[*count] = op_window_place_tick(window_of(s), code, 0);
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
    if (op_codes_bury_tick(window_of(s)->codes, s->addresses, n) || n == (is_truncated ? 1 : 0)) {
        return (resolved){0, false};
    }
    if (is_full) {
        window_of(s)->losses[OP_LOSS_OVERFLOW] += 1;
        return (resolved){op_window_synthetic_tick(window_of(s), OP_CODE_OVERFLOW), true};
    }
    return (resolved){op_window_stack_tick(window_of(s), s->places, n), true};
}

typedef struct {
    uint32_t stack, label, flags;
    bool has_moved, is_still, is_truncated, is_torn;
    uint32_t worth; /* how much is proved of a sample that is not proved in full */
    uint64_t clock_after_ns;
} sample;

static uint32_t
label_row(op_sampler *s, const op_walk *walk)
{
    if (walk->has_label && walk->label_state == OP_LABEL_FOUND) {
        return op_window_label_tick(window_of(s), &walk->label);
    }
    return walk->has_label && walk->label_state == OP_LABEL_NONE ? OP_NO_LABEL : OP_UNKNOWN_LABEL;
}

/* Keep what an attempt has proved of a thread that ran, if it is more than what was kept before: the label, and
 * frames from the root on. */
static void
keep_part(op_sampler *s, const op_walk *walk, sample *out)
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
        stack.row = op_window_synthetic_tick(window_of(s), OP_CODE_UNREAD);
    }
    out->stack = stack.row;
    out->label = label_row(s, walk);
    out->worth = worth;
    out->is_torn = !stack.is_good;
    out->is_truncated = stack.is_good && walk->first > 0;
}

/* Make a sample of what was kept. */
static void
settle(op_sampler *s, sample *out)
{
    op_window *window = window_of(s);
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

/* Read a thread until it is proved, a few times at most. */
static op_walk_status
take_sample(op_sampler *s, op_record *r, uint64_t used_ns, sample *out)
{
    op_walk walk = {0};
    *out = (sample){0};
    for (uint32_t attempt = 0; attempt < ATTEMPTS; attempt++) {
        uint64_t before_ns = used_ns;
        if (attempt > 0) {
            s->counters.retries += 1;
            if (r->clock != 0) {
                (void)op_clock_read_tick(r->clock, &before_ns);
            }
        }
        (void)op_codes_bury_tick(window_of(s)->codes, NULL, 0);
        op_walk_tick(&s->walker, r->address, r->id, r->clock, before_ns, attempt > 0, r->prediction, &walk);
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

/* ---- whose time it is ---- */

/* Whether the kernel would run the thread now ('R' in /proc/self/task/TID/stat). About 50 us. */
static bool
is_runnable(uint32_t native_id)
{
    char path[40] = "/proc/self/task/";
    char text[256];
    size_t at = 16, digits = 0;
    char reversed[12];
    do {
        reversed[digits++] = (char)('0' + native_id % 10);
        native_id /= 10;
    } while (native_id > 0);
    while (digits > 0) {
        path[at++] = reversed[--digits];
    }
    memcpy(path + at, "/stat", 6);
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    const ssize_t got = read(fd, text, sizeof text - 1);
    (void)close(fd);
    /* "TID (name) STATE ..."; the name may hold anything, so the last parenthesis counts. */
    for (ssize_t i = got - 1; i > 0; i--) {
        if (text[i] == ')') {
            return i + 2 < got && text[i + 2] == 'R';
        }
    }
    return false;
}

/* CPU time goes to a stack that was seen using it: held back until the thread is seen on the CPU. A thread that
 * was not running while it was read may yet be ready to: if it holds the GIL, or if we took its processor, which
 * the kernel is asked about. Not often: that is dear, and a thread just woken is ready, too. */
static bool
is_on_cpu(op_sampler *s, const op_record *r, const sample *taken, bool has_used, uint64_t now_ns)
{
    if (taken->has_moved || (has_used && (taken->flags & OP_FLAG_HELD_GIL))) {
        return true;
    }
    /* One of those that wait for most. */
    if (!has_used || now_ns - s->looked_ns < LOOK_NS || 2 * r->pool_ns < s->largest_pool_ns[1]) {
        return false;
    }
    s->looked_ns = now_ns;
    return is_runnable(r->native_id);
}

static void
account(op_sampler *s, op_record *r, const sample *taken, uint64_t used_ns, uint64_t now_ns)
{
    const uint64_t spent_ns = used_ns > r->counted_ns ? used_ns - r->counted_ns : 0;
    const uint64_t wall_ns = now_ns - r->sampled_ns;
    uint64_t cpu_ns = 0;
    uint32_t flags = taken->flags;
    if (r->pool_ns == 0) {
        r->pool_since_ns = now_ns;
    }
    r->pool_ns += spent_ns;
    s->accounted_ns += spent_ns;
    if (is_on_cpu(s, r, taken, spent_ns > 0, now_ns)) {
        flags |= OP_FLAG_ON_CPU;
        cpu_ns = r->pool_ns;
        r->pool_ns = 0;
    }
    if (r->pool_ns > s->largest_pool_ns[0]) {
        s->largest_pool_ns[0] = r->pool_ns;
    }
    r->counted_ns = used_ns;
    r->sampled_ns = now_ns;
    add(s, r, taken->stack, taken->label, flags, 1, wall_ns, cpu_ns, now_ns);
    if (now_ns - r->pool_since_ns > POOL_NS) {
        add_unsampled(s, r, 0, r->pool_ns, now_ns);
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
    if (r->group == UINT32_MAX) {
        r->group = add(s, r, r->stack, r->label, r->flags, 1, wall_ns, 0, now_ns);
    }
    else {
        op_window_repeat_tick(window_of(s), r->group, wall_ns, now_ns);
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
    sample taken;
    const bool may_repeat = r->is_still && r->window == s->serial;
    if (may_repeat && lacks_gil(r, gil)) {
        r->unasked += 1;
        repeat_sample(s, r, now_ns);
        return true;
    }
    if (r->clock != 0 && !op_clock_read_tick(r->clock, &used_ns)) {
        drop(s, r, now_ns);
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
    switch (take_sample(s, r, used_ns, &taken)) {
    case OP_WALK_GONE:
        if (r->native_id != 0 && op_clock_of_thread_tick(r->native_id) != r->clock) {
            begin_record(s, r, r->native_id, now_ns); /* it was bound to its thread only now */
            return true;
        }
        drop(s, r, now_ns);
        s->last_discovery_ns = 0; /* whoever has its place in memory now is not at the head of the list */
        return false;
    case OP_WALK_NO_FRAMES:
        /* In C, or not begun: its time is not Python's, its CPU time that of "threads that are not". */
        r->sampled_ns = now_ns;
        r->counted_ns = used_ns;
        r->is_still = false;
        return true;
    case OP_WALK_PROVED:
    case OP_WALK_MOVED:
        break;
    }
    s->counters.samples += 1;
    s->counters.unknown += taken.label == OP_UNKNOWN_LABEL;
    account(s, r, &taken, used_ns, now_ns);
    return true;
}

void
op_pass_begin_tick(op_sampler *s, uint64_t now_ns)
{
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
    discover(s, now_ns);
    for (uint32_t i = 0; i < s->record_count; i++) {
        op_record *r = &s->records[i];
        (void)(r->clock != 0 && op_clock_read_tick(r->clock, &r->counted_ns));
    }
    s->is_begun = true;
}

void
op_pass_tick(op_sampler *s, uint64_t now_ns)
{
    (void)op_codes_bury_tick(window_of(s)->codes, NULL, 0);
    discover(s, now_ns);
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

void
op_pass_account_tick(op_sampler *s, uint64_t now_ns)
{
    uint64_t process_ns = 0, used_ns = 0;
    op_pass_note_cost_tick(s);
    (void)op_clock_read_tick(CLOCK_PROCESS_CPUTIME_ID, &process_ns);
    uint64_t known_ns = s->accounted_ns + s->own_ended_ns + (s->sampler_seen_ns - s->sampler_begin_ns);
    for (uint32_t i = 0; i < s->record_count; i++) {
        const op_record *r = &s->records[i];
        if (!r->is_own && r->clock != 0 && op_clock_read_tick(r->clock, &used_ns) && used_ns > r->counted_ns) {
            known_ns += used_ns - r->counted_ns;
        }
    }
    for (uint32_t i = 0; i < s->own_count; i++) {
        (void)op_clock_read_tick(op_clock_of_thread_tick(s->own[i].native_id), &s->own[i].seen_ns);
        known_ns += s->own[i].seen_ns - s->own[i].begin_ns;
    }
    const uint64_t since_ns = process_ns - s->process_begin_ns;
    if (since_ns > known_ns && since_ns - known_ns > s->unseen_ns) {
        op_window *window = window_of(s);
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
        add_unsampled(s, r, now_ns - r->sampled_ns, r->pool_ns + spent_ns, now_ns);
    }
    s->record_count = 0;
    s->is_begun = false;
}
