/* foreign.h -- memory as if it were another's, for fuzz targets of what reads a running thread's memory.
 *
 * foreign.c stands in for read.c. A target lays out in `foreign_memory` what is right; the fuzzer's input says
 * what changes in it, before the first read or between two, as a thread that runs would change it. Addresses
 * are those of no real memory, so that code which follows one itself, and not through read.h, crashes.
 *
 * Also here: the few objects of libpython whose addresses are compared with. Nothing else of it is linked.
 */
#ifndef OP_HARNESS_FOREIGN_H
#define OP_HARNESS_FOREIGN_H

#include "input.h"
#include "read.h"

#define FOREIGN_BASE ((uintptr_t)0x2000)
#define FOREIGN_BYTES 32768u

extern _Alignas(16) uint8_t foreign_memory[FOREIGN_BYTES];
extern unsigned foreign_reads; /* ranges asked for since foreign_begin */

/* Zero the memory, forget all changes to come, and give a reader whose view has no meaning yet. */
op_reader *foreign_begin(void);

/* Take all of the input as changes to come. A word may become one of `words`, such as the address of a type.
 * Returns how many changes there are. */
unsigned foreign_expect(input *from, const uintptr_t *words, size_t count);

static inline uintptr_t
foreign_address(size_t offset)
{
    return FOREIGN_BASE + offset;
}

static inline void
foreign_put(size_t offset, uintptr_t word)
{
    memcpy(foreign_memory + offset, &word, sizeof word);
}

#endif
