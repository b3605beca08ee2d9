/* read.h -- copies of memory that may vanish while it is read.
 *
 * The kernel does the copying, so that an unmapped page is a short count and no SIGSEGV, and no signal
 * handler is needed. Three ways, the first that works is taken:
 *
 *   memfd              pwritev() of the ranges into a shared mapping: one system call, cheapest by range
 *   process_vm_readv   one call, but each range pins its pages; some sandboxes forbid it
 *   proc_mem           one pread() of /proc/self/mem a range
 *
 * Whether the descriptor still is ours is looked at once a pass (descriptor.h). If it is not, memory is read in a way
 * that needs none.
 *
 *   _tick      in the sampler's loop; no malloc, no locks, no Python
 *   _nogil     from C without an attached thread state; may block
 */
#ifndef OP_READ_H
#define OP_READ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "descriptor.h"

#define OP_VIEW_BYTES ((size_t)1 << 20)    /* what one batch may copy */
#define OP_SCRATCH_BYTES ((size_t)1 << 17) /* behind it, for single reads that must not overwrite a batch */

typedef enum { OP_BACKEND_MEMFD, OP_BACKEND_VM_READV, OP_BACKEND_PROC_MEM, OP_BACKENDS } op_backend;

extern const char *const op_backend_names[OP_BACKENDS + 1]; /* the last one: there is no way */

typedef struct {
    op_backend backend;
    op_backend first; /* the way that was asked for; with `only` no other */
    bool only;
    bool is_unsure; /* the descriptor was lost, and what takes its place was not tried yet */
    op_descriptor file;
    pid_t pid;
    uint8_t *view; /* OP_VIEW_BYTES + OP_SCRATCH_BYTES; NULL: closed */
    uint64_t short_reads;
    uint64_t descriptors_lost; /* closed or taken by the program */
} op_reader;

/* Open the first back-end that works from `first` on, only that one if `only`. False, with errno, if none. */
bool op_reader_open_nogil(op_reader *reader, op_backend first, bool only);

/* Before a pass, and before `backend` is told to anyone: if the descriptor is not ours any more, leave it alone
 * and go on in another way. Maps and opens something only then. What was copied before is gone. */
void op_reader_check_tick(op_reader *reader);

/* Release what the reader holds; in a forked child too, where the mapping is the parent's as well. A descriptor
 * that is not ours any more is left to its owner. */
void op_reader_close_nogil(op_reader *reader);

/* Copy `count` ranges one after the other to `view + offset`. Returns how many bytes were copied, all of
 * them or those before the first that cannot be read. Ranges whose address is no user address are not tried.
 * All lengths must be multiples of 8, so that copies are aligned, or be the last. */
size_t op_read_tick(op_reader *reader, const struct iovec *ranges, unsigned count, size_t offset);

/* Copy one range to `view + offset`; false if not all of it can be read. */
bool op_read_one_tick(op_reader *reader, uintptr_t address, size_t bytes, size_t offset);

#endif
