/* read.c -- see read.h. */
#define _GNU_SOURCE
#include "read.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

const char *const op_backend_names[OP_BACKENDS] = {"memfd", "process_vm_readv", "proc_mem"};

#define LOWEST_ADDRESS ((uintptr_t)4096)
#define HIGHEST_ADDRESS ((uintptr_t)1 << 47) /* user space of x86-64 with four page levels */
#define MAPPED_BYTES (OP_VIEW_BYTES + OP_SCRATCH_BYTES)

static bool
is_user_range(uintptr_t address, size_t bytes)
{
    /* By subtraction: a garbage address near the top must not wrap around. */
    return address >= LOWEST_ADDRESS && address < HIGHEST_ADDRESS && bytes <= HIGHEST_ADDRESS - address;
}

/* How many of the ranges may be asked of the kernel at all, and how many bytes these are. */
static unsigned
count_possible(const struct iovec *ranges, unsigned count, size_t room, size_t *bytes)
{
    unsigned n = 0;
    *bytes = 0;
    while (n < count && is_user_range((uintptr_t)ranges[n].iov_base, ranges[n].iov_len)
           && ranges[n].iov_len <= room - *bytes) {
        *bytes += ranges[n].iov_len;
        n += 1;
    }
    return n;
}

static size_t
read_proc_mem(const op_reader *reader, const struct iovec *ranges, unsigned count, uint8_t *to)
{
    size_t done = 0;
    for (unsigned i = 0; i < count; i++) {
        const ssize_t got = pread(reader->fd, to + done, ranges[i].iov_len,
                                  (off_t)(uintptr_t)ranges[i].iov_base);
        if (got < 0) {
            break;
        }
        done += (size_t)got;
        if ((size_t)got < ranges[i].iov_len) {
            break;
        }
    }
    return done;
}

size_t
op_read_tick(op_reader *reader, const struct iovec *ranges, unsigned count, size_t offset)
{
    size_t wanted = 0;
    const unsigned possible = count_possible(ranges, count, MAPPED_BYTES - offset, &wanted);
    ssize_t got = 0;
    if (possible > 0) {
        struct iovec to = {.iov_base = reader->view + offset, .iov_len = wanted};
        switch (reader->backend) {
        case OP_BACKEND_MEMFD:
            /* Not by libc's name, which AddressSanitizer wraps: it knows no memory that may be anything. */
            got = syscall(SYS_pwritev, reader->fd, ranges, (unsigned long)possible, offset, 0ul);
            break;
        case OP_BACKEND_VM_READV:
            got = process_vm_readv(reader->pid, &to, 1, ranges, possible, 0);
            break;
        case OP_BACKEND_PROC_MEM:
        case OP_BACKENDS:
            got = (ssize_t)read_proc_mem(reader, ranges, possible, to.iov_base);
            break;
        }
    }
    if (got < 0) {
        got = 0;
    }
    if (possible < count || (size_t)got < wanted) {
        reader->short_reads += 1;
    }
    return (size_t)got;
}

bool
op_read_one_tick(op_reader *reader, uintptr_t address, size_t bytes, size_t offset)
{
    /* The kernel only reads from it; `iov_base` has no const. */
    const struct iovec range = {.iov_base = (void *)address, .iov_len = bytes};
    return op_read_tick(reader, &range, 1, offset) == bytes;
}

static int
open_memfd(void)
{
    const int fd = memfd_create("otelprof", MFD_CLOEXEC);
    if (fd >= 0 && ftruncate(fd, (off_t)MAPPED_BYTES) != 0) {
        const int error = errno;
        (void)close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

/* Copy something known, and something that is not there: both must come out as promised. */
static bool
probe(op_reader *reader)
{
    uint64_t known[4] = {0x0123456789abcdef, 1, 2, 3};
    struct iovec ranges[2] = {{known, sizeof known}, {NULL, 0}};
    void *const hole = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (hole == MAP_FAILED) {
        return false;
    }
    (void)munmap(hole, 4096); /* PROT_NONE would not do: /proc/self/mem reads that */
    ranges[1] = (struct iovec){hole, 64};
    const size_t got = op_read_tick(reader, ranges, 2, 0);
    reader->short_reads = 0;
    if (got != sizeof known || memcmp(reader->view, known, sizeof known) != 0) {
        errno = EPERM;
        return false;
    }
    return true;
}

static bool
open_backend(op_reader *reader, op_backend backend)
{
    int flags = MAP_PRIVATE | MAP_ANONYMOUS;
    *reader = (op_reader){.backend = backend, .fd = -1, .pid = getpid(), .view = NULL, .short_reads = 0};
    if (backend == OP_BACKEND_MEMFD) {
        reader->fd = open_memfd();
        flags = MAP_SHARED;
    }
    else if (backend == OP_BACKEND_PROC_MEM) {
        reader->fd = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
    }
    if (reader->fd < 0 && backend != OP_BACKEND_VM_READV) {
        return false;
    }
    void *const view = mmap(NULL, MAPPED_BYTES, PROT_READ | PROT_WRITE, flags,
                            backend == OP_BACKEND_MEMFD ? reader->fd : -1, 0);
    reader->view = view == MAP_FAILED ? NULL : view;
    if (reader->view == NULL || !probe(reader)) {
        const int error = errno;
        op_reader_close_nogil(reader);
        errno = error;
        return false;
    }
    return true;
}

bool
op_reader_open_nogil(op_reader *reader, op_backend first, bool only)
{
    for (int backend = (int)first; backend < OP_BACKENDS; backend++) {
        if (open_backend(reader, (op_backend)backend)) {
            return true;
        }
        if (only) {
            break;
        }
    }
    return false;
}

void
op_reader_close_nogil(op_reader *reader)
{
    if (reader->view != NULL) {
        (void)munmap(reader->view, MAPPED_BYTES);
        reader->view = NULL;
    }
    if (reader->fd >= 0) {
        (void)close(reader->fd);
        reader->fd = -1;
    }
}
