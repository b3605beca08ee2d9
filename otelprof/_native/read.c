/* read.c -- see read.h. */
#define _GNU_SOURCE
#include "read.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

const char *const op_backend_names[OP_BACKENDS + 1] = {"memfd", "process_vm_readv", "proc_mem", "none"};

#define LOWEST_ADDRESS ((uintptr_t)4096)
#define HIGHEST_ADDRESS ((uintptr_t)1 << 47) /* user space of x86-64 with four page levels */
#define MAPPED_BYTES (OP_VIEW_BYTES + OP_SCRATCH_BYTES)

/* ---- the descriptor ---- */

/* From here on without the descriptor, whosever it is; `op_reader_check_tick` sees whether that goes well. The
 * view stays: a mapping does not need the descriptor that it was made of. */
static void
lose(op_reader *reader)
{
    reader->file.fd = -1;
    reader->backend = reader->only ? OP_BACKENDS : OP_BACKEND_VM_READV;
    reader->is_unsure = true;
    reader->descriptors_lost += 1;
}

/* ---- reading ---- */

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

static ssize_t
read_proc_mem(const op_reader *reader, const struct iovec *ranges, unsigned count, uint8_t *to)
{
    ssize_t done = 0;
    for (unsigned i = 0; i < count; i++) {
        const ssize_t got = pread(reader->file.fd, to + done, ranges[i].iov_len,
                                  (off_t)(uintptr_t)ranges[i].iov_base);
        if (got < 0) {
            return done > 0 ? done : -1;
        }
        done += got;
        if ((size_t)got < ranges[i].iov_len) {
            break;
        }
    }
    return done;
}

/* As the back-end does it: how many bytes, or -1 with errno. */
static ssize_t
copy(const op_reader *reader, const struct iovec *ranges, unsigned count, size_t bytes, size_t offset)
{
    struct iovec to = {.iov_base = reader->view + offset, .iov_len = bytes};
    switch (reader->backend) {
    case OP_BACKEND_MEMFD:
        /* Not by libc's name, which AddressSanitizer wraps: it knows no memory that may be anything. */
        return syscall(SYS_pwritev, reader->file.fd, ranges, (unsigned long)count, offset, 0ul);
    case OP_BACKEND_VM_READV:
        return process_vm_readv(reader->pid, &to, 1, ranges, count, 0);
    case OP_BACKEND_PROC_MEM:
        return read_proc_mem(reader, ranges, count, to.iov_base);
    case OP_BACKENDS:
        break;
    }
    return -1;
}

size_t
op_read_tick(op_reader *reader, const struct iovec *ranges, unsigned count, size_t offset)
{
    size_t wanted = 0;
    const unsigned possible = count_possible(ranges, count, MAPPED_BYTES - offset, &wanted);
    ssize_t got = 0;
    if (possible > 0) {
        got = copy(reader, ranges, possible, wanted, offset);
        if (got < 0 && reader->file.fd >= 0 && !op_descriptor_is_ours_tick(&reader->file)) {
            lose(reader); /* in the middle of a pass: it goes on */
            got = copy(reader, ranges, possible, wanted, offset);
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

/* ---- opening ---- */

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
    reader->backend = backend;
    reader->file.fd = -1;
    reader->pid = getpid();
    reader->view = NULL;
    if (backend == OP_BACKEND_MEMFD) {
        flags = MAP_SHARED;
        if (!op_descriptor_take_tick(&reader->file, open_memfd())) {
            return false;
        }
    }
    else if (backend == OP_BACKEND_PROC_MEM
             && !op_descriptor_take_tick(&reader->file, open("/proc/self/mem", O_RDONLY | O_CLOEXEC))) {
        return false;
    }
    void *const view = mmap(NULL, MAPPED_BYTES, PROT_READ | PROT_WRITE, flags,
                            backend == OP_BACKEND_MEMFD ? reader->file.fd : -1, 0);
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
    *reader = (op_reader){.first = first, .only = only, .file = {.fd = -1}};
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

/* Open another way in the place of the one that was lost; the view stays where it is. */
static bool
take_place(op_reader *reader, op_backend backend)
{
    op_reader next = *reader;
    if (!open_backend(&next, backend)) {
        return false;
    }
    if (mremap(next.view, MAPPED_BYTES, MAPPED_BYTES, MREMAP_MAYMOVE | MREMAP_FIXED, reader->view) == MAP_FAILED) {
        op_reader_close_nogil(&next);
        return false;
    }
    next.view = reader->view;
    next.short_reads = reader->short_reads; /* without those of the probe */
    next.is_unsure = false;
    *reader = next;
    return true;
}

void
op_reader_check_tick(op_reader *reader)
{
    static const op_backend ways[] = {OP_BACKEND_VM_READV, OP_BACKEND_MEMFD, OP_BACKEND_PROC_MEM};
    if (reader->view == NULL) {
        return;
    }
    if (reader->file.fd >= 0 && !op_descriptor_is_ours_tick(&reader->file)) {
        lose(reader);
    }
    for (size_t i = 0; reader->is_unsure && i < sizeof ways / sizeof ways[0]; i++) {
        if ((reader->only && ways[i] != reader->first) || !take_place(reader, ways[i])) {
            reader->backend = OP_BACKENDS; /* for now: the next pass tries again */
        }
    }
}

void
op_reader_close_nogil(op_reader *reader)
{
    if (reader->view != NULL) {
        (void)munmap(reader->view, MAPPED_BYTES);
        reader->view = NULL;
    }
    op_descriptor_close_tick(&reader->file);
}
