/* fuzz_read.c -- T17: copies of real pages, some of them gone. The reader under test is the real one.
 * Input: u8 back-end, u8 which pages are gone, u16 offset in the view, then ranges. */
#define _GNU_SOURCE
#include "check.h"
#include "input.h"
#include "read.h"

#include <sys/mman.h>

#define PAGE_BYTES 4096u
#define PAGES 8u
#define REGION_BYTES (PAGE_BYTES * PAGES)
#define RANGES_MOST 64u
#define UNTOUCHED 0xa5

typedef struct {
    uint8_t kind;
    uint8_t large; /* in 32nds of a page, added to `bytes` */
    uint16_t offset;
    uint16_t bytes;
} asked;

static uint8_t *region;

static void
map_page(size_t page)
{
    uint8_t *at = region + page * PAGE_BYTES;
    CHECK(mmap(at, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == at);
    for (size_t i = 0; i < PAGE_BYTES; i++) {
        at[i] = (uint8_t)(i * 7 + page * 31 + 1);
    }
}

static uint8_t
byte_at(size_t offset)
{
    return (uint8_t)(offset % PAGE_BYTES * 7 + offset / PAGE_BYTES * 31 + 1);
}

/* Garbage as torn reads give: no page, not canonical, the kernel's, the end of all addresses. */
static uintptr_t
garbage(unsigned kind, uint16_t low)
{
    static const uintptr_t bases[] = {0, 1, 4088, (uintptr_t)1 << 47, (uintptr_t)0xdead << 48,
                                      (uintptr_t)0xffff << 48, UINTPTR_MAX, UINTPTR_MAX - 0xffff};
    const uintptr_t base = bases[kind % (sizeof bases / sizeof bases[0])];
    return base < PAGE_BYTES ? base : base + (base > UINTPTR_MAX - low ? 0 : low);
}

static op_reader *
open_reader(unsigned backend)
{
    static op_reader readers[OP_BACKENDS];
    static bool is_tried[OP_BACKENDS];
    if (!is_tried[backend]) {
        is_tried[backend] = true;
        if (!op_reader_open_nogil(&readers[backend], (op_backend)backend, true)) {
            fprintf(stderr, "NOTE: the back-end %s does not work here\n", op_backend_names[backend]);
        }
    }
    return readers[backend].view == NULL ? NULL : &readers[backend];
}

typedef struct {
    struct iovec ranges[RANGES_MOST];
    unsigned count;
    uint8_t bytes[OP_VIEW_BYTES]; /* what may be copied at most: all up to the first byte that is not there */
    size_t most;
    size_t least; /* the ranges that are wholly there, up to the first that is not */
    bool is_over;
} expectation;

static void
expect(expectation *e, uintptr_t address, size_t bytes, uint8_t gone)
{
    const uintptr_t first = address - (uintptr_t)region;
    e->ranges[e->count++] = (struct iovec){(void *)address, bytes};
    for (size_t i = 0; i < bytes && !e->is_over; i++) {
        e->is_over = first >= REGION_BYTES || (gone >> ((first + i) / PAGE_BYTES) & 1) != 0;
        if (!e->is_over) {
            e->bytes[e->most++] = byte_at(first + i);
        }
    }
    e->is_over = e->is_over || first >= REGION_BYTES;
    e->least = e->is_over ? e->least : e->most;
}

static void
take_ranges(expectation *e, input *from, uint8_t gone)
{
    e->count = 0;
    e->most = e->least = 0;
    e->is_over = false;
    while (from->size >= sizeof(asked) && e->count < RANGES_MOST) {
        asked a;
        input_take(from, &a, sizeof a);
        const size_t offset = a.offset % REGION_BYTES;
        const size_t bytes = (a.bytes % 64u + a.large % 32u * (PAGE_BYTES / 32)) % (REGION_BYTES - offset);
        if (a.kind < 8) {
            expect(e, garbage(a.kind, a.offset), bytes, gone);
        }
        else {
            expect(e, (uintptr_t)region + offset, bytes, gone);
        }
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static expectation e;
    input from = {data, size};
    uint8_t backend;
    uint8_t gone;
    uint16_t offset;
    input_take(&from, &backend, sizeof backend);
    input_take(&from, &gone, sizeof gone);
    input_take(&from, &offset, sizeof offset);
    op_reader *reader = open_reader(backend % OP_BACKENDS);
    if (reader == NULL) {
        return 0;
    }
    if (region == NULL) {
        region = mmap(NULL, REGION_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        CHECK(region != MAP_FAILED);
        for (size_t page = 0; page < PAGES; page++) {
            map_page(page);
        }
    }
    take_ranges(&e, &from, gone);
    uint8_t *to = reader->view + offset;
    memset(reader->view, UNTOUCHED, offset + e.most + PAGE_BYTES);
    for (size_t page = 0; page < PAGES; page++) {
        CHECK((gone >> page & 1) == 0 || munmap(region + page * PAGE_BYTES, PAGE_BYTES) == 0);
    }
    const uint64_t short_reads = reader->short_reads;
    const size_t got = op_read_tick(reader, e.ranges, e.count, offset);
    for (size_t page = 0; page < PAGES; page++) {
        if ((gone >> page & 1) != 0) {
            map_page(page);
        }
    }
    CHECK(got >= e.least && got <= e.most);
    CHECK(memcmp(to, e.bytes, got) == 0);
    CHECK((reader->short_reads > short_reads) == e.is_over);
    for (size_t i = 0; i < offset; i++) {
        CHECK(reader->view[i] == UNTOUCHED);
    }
    for (size_t i = e.most; i < e.most + PAGE_BYTES; i++) {
        CHECK(to[i] == UNTOUCHED);
    }
    return 0;
}
