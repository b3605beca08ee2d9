/* loop.c -- see loop.h. */
#include "compat.h"

#include "clock.h"
#include "loop.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define STACK_BYTES ((size_t)256 << 10)
#define JITTER_LOW 0.5 /* the time between two passes varies from so much of the period to 1.5 of it */
#define THROTTLE_NS OP_NS_PER_S
#define STRETCH_MOST 50u
#define TURN_NS 100000 /* a pass takes less */

/* xorshift64*: Vigna, "An experimental exploration of Marsaglia's xorshift generators, scrambled" (2016). */
static double
random_share(op_sampler *s)
{
    s->random ^= s->random >> 12;
    s->random ^= s->random << 25;
    s->random ^= s->random >> 27;
    return (double)((s->random * UINT64_C(0x2545f4914f6cdd1d)) >> 11) / (double)(UINT64_C(1) << 53);
}

typedef struct {
    uint64_t wall_ns, cpu_ns;
} measurement;

/* Once a second: stretch the period if sampling costs more than its budget, and let it recover slowly. */
static void
throttle(op_sampler *s, measurement *last, uint64_t now_ns)
{
    uint64_t cpu_ns = 0;
    if (now_ns - last->wall_ns < THROTTLE_NS || !op_clock_read_tick(CLOCK_THREAD_CPUTIME_ID, &cpu_ns)) {
        return;
    }
    const double cost = (double)(cpu_ns - last->cpu_ns) / (double)(now_ns - last->wall_ns);
    double factor = cost / s->cpu_budget;
    factor = factor > 2.0 ? 2.0 : factor < 0.9 ? 0.9 : factor;
    const double stretched = (double)s->stretched_ns * factor;
    const double most = (double)s->period_ns * STRETCH_MOST;
    s->stretched_ns = stretched < (double)s->period_ns ? s->period_ns
                      : stretched > most               ? (uint64_t)most
                                                       : (uint64_t)stretched;
    *last = (measurement){now_ns, cpu_ns};
}

/* Wait until `due_ns`, or for ever while paused; false when it is time to stop. Holds `lock` but for the wait. */
static bool
wait_until(op_sampler *s, uint64_t due_ns)
{
    const struct timespec due = {(time_t)(due_ns / OP_NS_PER_S), (long)(due_ns % OP_NS_PER_S)};
    int error = 0;
    /* Time may be up just when a pause begins: then there is no pass either. */
    while (!s->must_stop && (error == 0 || s->is_paused)) {
        error = s->is_paused ? pthread_cond_wait(&s->wake, &s->lock)
                             : pthread_cond_timedwait(&s->wake, &s->lock, &due);
    }
    return !s->must_stop && error == ETIMEDOUT;
}

/* Ask to be run at once when it is time, for short turns (EEVDF, Linux 6.12 on: sched(7), sched_runtime of
 * SCHED_OTHER). Else the sampler may wait for the end of the very burst of work that it is to see. */
static void
ask_for_short_turns(void)
{
    struct {
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t runtime_ns, deadline_ns, period_ns;
    } attributes = {.size = sizeof attributes};
    if (syscall(SYS_sched_getattr, 0, &attributes, sizeof attributes, 0) == 0
        && attributes.policy == SCHED_OTHER) {
        attributes.runtime_ns = TURN_NS;
        (void)syscall(SYS_sched_setattr, 0, &attributes, 0);
    }
}

static void *
run(void *argument)
{
    op_sampler *const s = argument;
    measurement last = {op_clock_monotonic_ns_tick(), 0};
    uint64_t due_ns = last.wall_ns;
    (void)prctl(PR_SET_NAME, "otelprof", 0, 0, 0);
    ask_for_short_turns();
    (void)op_clock_read_tick(CLOCK_THREAD_CPUTIME_ID, &last.cpu_ns);
    (void)pthread_mutex_lock(&s->lock);
    s->sampler_clock = op_clock_of_thread_tick((uint32_t)syscall(SYS_gettid));
    while (wait_until(s, due_ns)) {
        if (op_is_finalizing_tick()) {
            break;
        }
        uint64_t now_ns = op_clock_monotonic_ns_tick();
        op_pass_tick(s, now_ns);
        throttle(s, &last, now_ns);
        now_ns = op_clock_monotonic_ns_tick();
        due_ns += (uint64_t)((double)s->stretched_ns * (JITTER_LOW + random_share(s)));
        if (due_ns < now_ns) {
            due_ns = now_ns; /* a pass that came late does not make the next one come early */
        }
    }
    (void)pthread_mutex_unlock(&s->lock);
    return NULL;
}

int
op_loop_create_thread_nogil(op_sampler *s)
{
    pthread_attr_t attributes;
    sigset_t all, before;
    int error = pthread_attr_init(&attributes);
    if (error != 0) {
        return error;
    }
    error = pthread_attr_setstacksize(&attributes, STACK_BYTES);
    (void)sigfillset(&all);
    if (error == 0 && (error = pthread_sigmask(SIG_SETMASK, &all, &before)) == 0) {
        error = pthread_create(&s->thread, &attributes, run, s);
        (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    }
    (void)pthread_attr_destroy(&attributes);
    return error;
}
