/* sampler.c -- see sampler.h. */
#include "compat.h"

#include "clock.h"
#include "loop.h"
#include "sampler.h"

#include <errno.h>
#include <sys/mman.h>

#define FORK_WAIT_NS 50000000 /* a fork waits so long for the end of a pass */

/* All samplers of the process, for forks. `registry` is held to change the list, and throughout a fork. */
static pthread_mutex_t registry = PTHREAD_MUTEX_INITIALIZER;
static op_sampler *samplers;

/* ---- memory ---- */

static size_t
rounded(size_t bytes)
{
    return (bytes + 4095) & ~(size_t)4095;
}

static void
lay_out(op_sampler *s)
{
    uint8_t *at = s->memory;
    for (int i = 0; i < 2; i++) {
        op_codes_init(&s->codes[i], at);
        at += rounded(op_codes_memory_bytes());
        op_window_init(&s->windows[i], at);
        at += rounded(op_window_memory_bytes());
    }
    op_walker_init(&s->walker, at);
    at += rounded(op_walker_memory_bytes());
    s->addresses = (uintptr_t *)(void *)at;
    s->places = (uint32_t *)(void *)(s->addresses + OP_DEPTH_MOST + 2);
    at += rounded((OP_DEPTH_MOST + 2) * (sizeof(uintptr_t) + sizeof(uint32_t)));
    s->records = (op_record *)(void *)at;
    at += rounded(OP_RECORDS_MOST * sizeof(op_record));
    s->predictions = (op_prediction *)(void *)at;
}

static size_t
memory_bytes(void)
{
    return 2 * (rounded(op_codes_memory_bytes()) + rounded(op_window_memory_bytes()))
           + rounded(op_walker_memory_bytes())
           + rounded((OP_DEPTH_MOST + 2) * (sizeof(uintptr_t) + sizeof(uint32_t)))
           + rounded(OP_RECORDS_MOST * sizeof(op_record)) + rounded(OP_RECORDS_MOST * sizeof(op_prediction));
}

/* Give pages back; they are zeros from now on. Locked ones (mlockall) the kernel does not take. */
static void
zero(void *memory, size_t bytes)
{
    if (madvise(memory, bytes, MADV_DONTNEED) != 0) {
        memset(memory, 0, bytes);
    }
}

/* Everything as it was after opening, but the reader. Also in a forked child, in its atfork handler. */
static void
empty(op_sampler *s)
{
    zero(s->memory, s->memory_bytes); /* private and anonymous: zeros from now on */
    for (int i = 0; i < 2; i++) {
        op_codes_clear_tick(&s->codes[i]);
        op_window_clear_tick(&s->windows[i], &s->codes[0], op_clock_monotonic_ns_tick());
    }
    s->active = 0;
    s->serial = 1;
    s->record_count = 0;
    s->own_count = 0;
    s->is_begun = false;
    s->sampler_clock = 0;
    s->is_running = s->must_stop = false;
    s->stretched_ns = s->period_ns;
    s->counters = (op_counters){0};
}

static bool
init_lock(op_sampler *s)
{
    pthread_condattr_t attributes;
    int error = pthread_mutex_init(&s->life, NULL);
    if (error == 0) {
        error = pthread_mutex_init(&s->lock, NULL);
    }
    if (error == 0 && (error = pthread_condattr_init(&attributes)) == 0) {
        (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
        error = pthread_cond_init(&s->wake, &attributes);
        (void)pthread_condattr_destroy(&attributes);
    }
    errno = error;
    return error == 0;
}

static void
destroy_lock(op_sampler *s)
{
    (void)pthread_cond_destroy(&s->wake);
    (void)pthread_mutex_destroy(&s->lock);
    (void)pthread_mutex_destroy(&s->life);
}

bool
op_sampler_open_nogil(op_sampler *s, op_backend first, bool only)
{
    s->first = first;
    s->only = only;
    s->memory_bytes = memory_bytes();
    s->memory = mmap(NULL, s->memory_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                     -1, 0);
    if (s->memory == MAP_FAILED) {
        s->memory = NULL;
        return false;
    }
    /* Little of it is used, here and there. Where that cannot be said, there are no huge pages. */
    (void)madvise(s->memory, s->memory_bytes, MADV_NOHUGEPAGE);
    lay_out(s);
    empty(s);
    s->walker.reader.file.fd = -1;
    s->random = op_clock_monotonic_ns_tick() | 1;
    if (!init_lock(s) || !op_reader_open_nogil(&s->walker.reader, first, only)) {
        const int error = errno;
        (void)munmap(s->memory, s->memory_bytes);
        s->memory = NULL;
        errno = error;
        return false;
    }
    (void)pthread_mutex_lock(&registry);
    s->next = samplers;
    samplers = s;
    (void)pthread_mutex_unlock(&registry);
    return true;
}

void
op_sampler_close_nogil(op_sampler *s)
{
    if (s->memory == NULL) {
        return;
    }
    op_sampler_stop_nogil(s);
    (void)pthread_mutex_lock(&registry);
    for (op_sampler **at = &samplers; *at != NULL; at = &(*at)->next) {
        if (*at == s) {
            *at = s->next;
            break;
        }
    }
    (void)pthread_mutex_unlock(&registry);
    op_reader_close_nogil(&s->walker.reader);
    destroy_lock(s);
    (void)munmap(s->memory, s->memory_bytes);
    s->memory = NULL;
}

/* ---- start and stop ---- */

bool
op_sampler_start_nogil(op_sampler *s)
{
    int error = 0;
    (void)pthread_mutex_lock(&s->life);
    (void)pthread_mutex_lock(&s->lock);
    if (!s->is_running) {
        const uint64_t now_ns = op_clock_monotonic_ns_tick();
        s->must_stop = false;
        if (s->windows[s->active].group_count == 0) {
            s->windows[s->active].start_ns = now_ns;
        }
        s->sampler_seen_ns = 0; /* a new thread's clock */
        s->sampler_clock = 0;
        if (!s->is_paused) {
            op_pass_begin_tick(s, now_ns);
        }
        error = op_loop_create_thread_nogil(s);
        s->is_running = error == 0;
        s->is_begun = s->is_begun && s->is_running;
    }
    (void)pthread_mutex_unlock(&s->lock);
    (void)pthread_mutex_unlock(&s->life);
    errno = error;
    return error == 0;
}

void
op_sampler_stop_nogil(op_sampler *s)
{
    (void)pthread_mutex_lock(&s->life);
    (void)pthread_mutex_lock(&s->lock);
    const bool was_running = s->is_running;
    const pthread_t thread = s->thread;
    op_pass_note_cost_tick(s);
    s->is_running = false;
    s->must_stop = true;
    if (was_running) {
        if (s->is_begun) {
            const uint64_t now_ns = op_clock_monotonic_ns_tick();
            s->looked_ns = 0;
            op_pass_tick(s, now_ns); /* so that little is left without a stack */
            op_pass_end_tick(s, now_ns);
        }
        op_states_close_tick(&s->states);
        (void)pthread_cond_signal(&s->wake);
    }
    (void)pthread_mutex_unlock(&s->lock);
    if (was_running) {
        (void)pthread_join(thread, NULL); /* it holds nothing and waits for nothing but `lock` */
        (void)pthread_mutex_lock(&s->lock);
        s->sampler_clock = 0; /* its number may be another thread's now */
        (void)pthread_mutex_unlock(&s->lock);
    }
    (void)pthread_mutex_unlock(&s->life);
}

/* ---- control ---- */

void
op_sampler_pause_nogil(op_sampler *s, bool paused)
{
    (void)pthread_mutex_lock(&s->lock);
    const uint64_t now_ns = op_clock_monotonic_ns_tick();
    if (s->is_running && s->is_paused && !paused) {
        op_pass_begin_tick(s, now_ns); /* the time of the pause belongs to nobody */
    }
    if (s->is_running && s->is_begun && paused) {
        op_pass_end_tick(s, now_ns);
    }
    s->is_paused = paused;
    (void)pthread_cond_signal(&s->wake);
    (void)pthread_mutex_unlock(&s->lock);
}

void
op_sampler_set_period_nogil(op_sampler *s, uint64_t period_ns)
{
    (void)pthread_mutex_lock(&s->lock);
    /* What a pass costs does not depend on what is asked for: a period that the budget needs stays. */
    if (s->stretched_ns <= s->period_ns || s->stretched_ns < period_ns) {
        s->stretched_ns = period_ns;
    }
    s->period_ns = period_ns;
    (void)pthread_mutex_unlock(&s->lock);
}

void
op_sampler_leave_out_nogil(op_sampler *s, uint32_t native_id)
{
    uint64_t now_ns = 0;
    uint32_t at = 0;
    (void)pthread_mutex_lock(&s->lock);
    while (at < s->own_count && s->own[at].native_id != native_id) {
        at += 1;
    }
    for (uint32_t i = 0; at == OP_OWN_MOST && i < OP_OWN_MOST; i++) {
        if (!op_clock_read_tick(op_clock_of_thread_tick(s->own[i].native_id), &now_ns)) {
            at = i; /* it ended */
        }
    }
    const bool is_new = at < OP_OWN_MOST && (at == s->own_count || s->own[at].native_id != native_id);
    if (is_new && op_clock_read_tick(op_clock_of_thread_tick(native_id), &now_ns)) {
        if (at < s->own_count) {
            s->own_ended_ns += s->own[at].seen_ns - s->own[at].begin_ns;
        }
        s->own_count += at == s->own_count;
        s->own[at].native_id = native_id;
        s->own[at].begin_ns = s->own[at].seen_ns = now_ns;
        for (uint32_t i = 0; i < s->record_count; i++) {
            s->records[i].is_own = s->records[i].is_own || s->records[i].native_id == native_id;
        }
    }
    (void)pthread_mutex_unlock(&s->lock);
}

op_window *
op_sampler_take_window_nogil(op_sampler *s)
{
    (void)pthread_mutex_lock(&s->lock);
    const uint64_t now_ns = op_clock_monotonic_ns_tick();
    op_window *const taken = &s->windows[s->active];
    if (s->is_running && s->is_begun) {
        op_pass_account_tick(s, now_ns);
    }
    taken->end_ns = now_ns;
    s->active ^= 1;
    s->serial += 1;
    op_codes *codes = taken->codes;
    if (op_codes_is_filling(codes)) {
        codes = codes == &s->codes[0] ? &s->codes[1] : &s->codes[0]; /* empty since its last giving back */
        op_codes_clear_tick(codes);
    }
    op_window_clear_tick(&s->windows[s->active], codes, now_ns);
    (void)pthread_mutex_unlock(&s->lock);
    return taken;
}

void
op_sampler_give_back_nogil(op_sampler *s, op_window *window)
{
    (void)pthread_mutex_lock(&s->lock);
    const size_t bytes = rounded(op_window_memory_bytes());
    zero(window->places, bytes); /* its memory begins with the places */
    if (window->codes != s->windows[s->active].codes) {
        zero(window->codes->rows, rounded(op_codes_memory_bytes()));
    }
    op_window_clear_tick(window, s->windows[s->active].codes, window->end_ns);
    (void)pthread_mutex_unlock(&s->lock);
}

void
op_sampler_counters_nogil(op_sampler *s, op_counters *counters, uint64_t *stretched_ns, op_backend *backend)
{
    const op_reader *const reader = &s->walker.reader;
    (void)pthread_mutex_lock(&s->lock);
    op_pass_note_cost_tick(s);
    op_reader_check_tick(&s->walker.reader);
    s->counters.short_reads = reader->short_reads;
    s->counters.descriptors_lost = reader->descriptors_lost;
    *counters = s->counters;
    *backend = reader->backend;
    *stretched_ns = s->stretched_ns;
    (void)pthread_mutex_unlock(&s->lock);
}

/* ---- forks ---- */

/* A fork waits for the end of a pass, so that the child's copy is whole. Not for ever: the child empties
 * everything anyway. */
static void
before_fork(void)
{
    (void)pthread_mutex_lock(&registry);
    for (op_sampler *s = samplers; s != NULL; s = s->next) {
        struct timespec until;
        (void)clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += FORK_WAIT_NS;
        if (until.tv_nsec >= (long)OP_NS_PER_S) {
            until.tv_sec += 1;
            until.tv_nsec -= (long)OP_NS_PER_S;
        }
        s->is_locked_for_fork = pthread_mutex_timedlock(&s->lock, &until) == 0;
    }
}

static void
after_fork_in_parent(void)
{
    for (op_sampler *s = samplers; s != NULL; s = s->next) {
        if (s->is_locked_for_fork) {
            (void)pthread_mutex_unlock(&s->lock);
        }
    }
    (void)pthread_mutex_unlock(&registry);
}

/* The child has no sampling thread and none of the parent's samples. The view is shared with the parent, so it
 * is let go at once. Only system calls here: other threads may have held malloc's locks. */
static void
after_fork_in_child(void)
{
    for (op_sampler *s = samplers; s != NULL; s = s->next) {
        op_reader_close_nogil(&s->walker.reader);
        op_states_close_tick(&s->states);
        empty(s);
        (void)init_lock(s);
    }
    (void)pthread_mutex_init(&registry, NULL);
}

bool
op_sampler_reopen_nogil(op_sampler *s)
{
    return s->walker.reader.view != NULL || op_reader_open_nogil(&s->walker.reader, s->first, s->only);
}

bool
op_sampler_watch_forks_nogil(void)
{
    static bool is_watching;
    if (!is_watching) {
        const int error = pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
        errno = error;
        is_watching = error == 0;
    }
    return is_watching;
}
