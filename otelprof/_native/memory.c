/* memory.c -- how much memory a sampler takes; see sampler.h. */
#include "compat.h"

#include "sampler.h"

#include <sys/mman.h>
#include <unistd.h>

#define PAGES_ASKED 4096u /* at a time */

static size_t
view_bytes(const op_sampler *s)
{
    return s->walker.reader.view == NULL ? 0 : OP_VIEW_BYTES + OP_SCRATCH_BYTES;
}

size_t
op_sampler_mapped_bytes(const op_sampler *s)
{
    return s->memory_bytes + view_bytes(s);
}

/* Of one mapping; 0 if the kernel does not say. */
static size_t
resident_bytes(uint8_t *mapping, size_t bytes)
{
    unsigned char states[PAGES_ASKED];
    const size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE), most = sizeof states * page_bytes;
    size_t pages = 0;
    for (size_t at = 0; at < bytes; at += most) {
        const size_t asked = bytes - at < most ? bytes - at : most;
        if (mincore(mapping + at, asked, states) != 0) {
            return 0;
        }
        for (size_t i = 0; i * page_bytes < asked; i++) {
            pages += states[i] & 1u;
        }
    }
    return pages * page_bytes;
}

size_t
op_sampler_resident_bytes_nogil(const op_sampler *s)
{
    return resident_bytes(s->memory, s->memory_bytes) + resident_bytes(s->walker.reader.view, view_bytes(s));
}
