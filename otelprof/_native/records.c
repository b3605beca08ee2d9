/* records.c -- see records.h. */
#include "compat.h"

#include "clock.h"
#include "objects.h"
#include "records.h"

#define DISCOVERY_NS OP_NS_PER_S /* all thread states are listed at least so often */
#define LISTED_MOST 8192u
#define LISTINGS_MOST 3u /* of a list that changes while it is read */
#define SCRATCH OP_VIEW_BYTES

/* ---- adding ---- */

uint32_t
op_record_add_tick(op_sampler *s, op_record *r, uint32_t stack, uint32_t label, uint32_t flags, uint64_t samples,
                   uint64_t wall_ns, uint64_t cpu_ns, uint64_t now_ns)
{
    op_window *window = op_active_window_tick(s);
    if (r->window != s->serial) {
        r->window = s->serial;
        r->is_still = false; /* its stack and label were rows of another window */
        r->thread = op_window_thread_tick(window, r->ident, r->native_id);
    }
    s->counters.unknown += label == OP_NO_ROOM_LABEL ? samples : 0; /* what was not proved is counted before */
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

void
op_record_add_unsampled_tick(op_sampler *s, op_record *r, uint64_t wall_ns, uint64_t cpu_ns, uint64_t now_ns)
{
    if (wall_ns > 0 || cpu_ns > 0) {
        (void)op_record_add_tick(s, r, op_window_synthetic_tick(op_active_window_tick(s), OP_CODE_UNSAMPLED), OP_NO_LABEL, 0, 0, wall_ns, cpu_ns,
            now_ns);
    }
}

void
op_record_leave_span_tick(op_sampler *s, op_record *r)
{
    if (r->span_pool_ns > 0 && r->window == s->serial) { /* else its rows are of another window */
        const uint32_t unsampled = op_window_synthetic_tick(op_active_window_tick(s), OP_CODE_UNSAMPLED);
        const uint32_t stack = r->has_run ? r->run_stack : unsampled;
        const uint32_t flags = r->has_run ? r->run_flags : 0;
        (void)op_record_add_tick(s, r, stack, r->label, flags, 0, 0, r->span_pool_ns, r->sampled_ns);
        r->pool_ns -= r->span_pool_ns;
    }
    r->span_pool_ns = 0;
    r->is_in_span = r->has_run = false;
}

/* ---- who is there ---- */

void
op_record_drop_tick(op_sampler *s, op_record *r, uint64_t now_ns)
{
    op_record_leave_span_tick(s, r);
    op_record_add_unsampled_tick(s, r, 0, r->pool_ns, now_ns);
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

bool
op_record_begin_tick(op_sampler *s, op_record *r, uint32_t native_id, uint64_t now_ns)
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
    r->pool_ns = r->span_pool_ns = 0;
    r->is_in_span = r->has_run = false;
    r->pool_since_ns = now_ns;
    s->has_clocks = s->has_clocks || r->clock != 0;
    return r->clock != 0 || native_id == 0 || !s->has_clocks;
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

/* Read the thread state at `at`, to which the one at `from` leads, or the head of the list if that is 0. False if it is
 * none, or none any more: what was freed meanwhile may hold anything, also what once was true. */
static bool
read_listed(op_sampler *s, uintptr_t from, uintptr_t at, op_thread_view *thread, op_links_view *links)
{
    op_reader *reader = &s->walker.reader;
    op_links_view before = {0};
    if (!op_read_one_tick(reader, at, OP_THREAD_BYTES, SCRATCH)) {
        return false;
    }
    op_thread_parse_tick(reader->view + SCRATCH, thread);
    op_links_parse_tick(reader->view + SCRATCH, links);
    if (from != 0) {
        if (!op_read_one_tick(reader, from, OP_LINKS_BYTES, SCRATCH)) {
            return false;
        }
        op_links_parse_tick(reader->view + SCRATCH, &before);
    }
    const op_threads_view now = op_threads_tick(&s->interpreter);
    return (from == 0 ? now.head : before.next) == at && links->previous == from
           && links->interpreter == s->interpreter.address && thread->id <= now.made;
}

/* Make a record of a thread. NULL if there is no room, or if it has ended by now. */
static op_record *
make_record(op_sampler *s, uintptr_t address, const op_thread_view *thread, uint64_t now_ns)
{
    if (s->record_count == OP_RECORDS_MOST) {
        return NULL;
    }
    op_record *r = &s->records[s->record_count];
    s->record_count += 1;
    /* Records change places; what was another's goes with the place. */
    op_prediction *const prediction =
        r->prediction != NULL ? r->prediction : &s->predictions[s->record_count - 1];
    *prediction = (op_prediction){0};
    *r = (op_record){.address = address, .id = thread->id, .ident = thread->ident, .prediction = prediction};
    if (!op_record_begin_tick(s, r, thread->native_id, now_ns)) {
        op_record_drop_tick(s, r, now_ns);
        return NULL;
    }
    return r;
}

/* Whether a list that has led from the newest thread state to this one, and no further, was whole. A thread state is
 * at the head before it leads on to the others (3.11, Python/pystate.c, new_threadstate), whose threads live. */
static bool
is_end_of_list(const op_sampler *s, uint64_t last_id)
{
    uint64_t used_ns = 0;
    for (uint32_t i = 0; i < s->record_count; i++) {
        const op_record *r = &s->records[i];
        if (!r->is_listed && r->id < last_id && r->clock != 0 && op_clock_read_tick(r->clock, &used_ns)) {
            return false;
        }
    }
    return true;
}

/* List the thread states, newest first, and make records of the new ones. With `all` to the end of the list, and drop
 * the records of those that are not in it; else to the first that is known: new ones are put at the head. False if the
 * list changed meanwhile. */
static bool
list_threads(op_sampler *s, bool all, uint64_t now_ns)
{
    uintptr_t from = 0, at = s->listed.head;
    uint64_t last_id = 0;
    uint32_t listed = 0, refused = 0;
    for (uint32_t i = 0; i < s->record_count; i++) {
        s->records[i].is_listed = false;
    }
    while (at != 0 && listed < LISTED_MOST) {
        op_thread_view thread;
        op_links_view links;
        if (!read_listed(s, from, at, &thread, &links)) {
            return false;
        }
        op_record *r = find_record(s, at);
        if (r != NULL && r->id != thread.id) {
            op_record_drop_tick(s, r, now_ns);
            r = NULL;
        }
        if (r != NULL && !all) {
            return true;
        }
        refused += r == NULL && s->record_count == OP_RECORDS_MOST;
        r = r == NULL ? make_record(s, at, &thread, now_ns) : r;
        if (r != NULL) {
            r->is_listed = true;
        }
        last_id = thread.id;
        from = at;
        at = links.next;
        listed += 1;
    }
    if (refused > s->counters.threads_refused) {
        s->counters.threads_refused = refused;
    }
    if (at == 0 && !is_end_of_list(s, last_id)) {
        return false;
    }
    for (uint32_t i = 0; at == 0 && i < s->record_count;) {
        if (s->records[i].is_listed) {
            i += 1;
        }
        else {
            op_record_drop_tick(s, &s->records[i], now_ns);
        }
    }
    return true;
}

/* A thread state that is made changes the count, and then the head of the list: either means to look. */
void
op_records_discover_tick(op_sampler *s, uint64_t now_ns)
{
    const bool all = now_ns - s->last_discovery_ns >= DISCOVERY_NS;
    const op_threads_view now = op_threads_tick(&s->interpreter);
    bool is_done = !all && now.made == s->listed.made && now.head == s->listed.head;
    for (uint32_t i = 0; !is_done && i < LISTINGS_MOST; i++) {
        s->listed = op_threads_tick(&s->interpreter);
        is_done = list_threads(s, all, now_ns);
    }
    if (!is_done) {
        s->listed = (op_threads_view){0}; /* again in the next pass */
    }
    else if (all) {
        s->last_discovery_ns = now_ns;
    }
}
