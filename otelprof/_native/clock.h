/* clock.h -- the clocks of the sampler. All are `_tick`: no malloc, no locks, no Python. */
#ifndef OP_CLOCK_H
#define OP_CLOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#define OP_NS_PER_S UINT64_C(1000000000)

/* False if there is no such clock: the thread is dead. */
static inline bool
op_clock_read_tick(clockid_t clock, uint64_t *ns)
{
    struct timespec now;
    if (clock_gettime(clock, &now) != 0) {
        return false;
    }
    *ns = (uint64_t)now.tv_sec * OP_NS_PER_S + (uint64_t)now.tv_nsec;
    return true;
}

static inline uint64_t
op_clock_monotonic_ns_tick(void)
{
    uint64_t ns = 0;
    (void)op_clock_read_tick(CLOCK_MONOTONIC, &ns);
    return ns;
}

/* The CPU clock of a thread of this process, by its kernel id: the complement above three bits, of which 4
 * says "of a thread" and 2 "scheduler time" (Linux, include/linux/posix-timers_types.h, CPUCLOCK_*).
 * Unlike pthread_getcpuclockid it touches no memory of a thread that may be dead. */
static inline clockid_t
op_clock_of_thread_tick(uint32_t native_id)
{
    return (clockid_t)((~native_id << 3) | 6u);
}

#endif
