/* hash.h -- the one hash and the one kind of index of all tables: open addressing over rows kept elsewhere.
 * All `_tick`: no malloc, no locks, no Python. */
#ifndef OP_HASH_H
#define OP_HASH_H

#include <stddef.h>
#include <stdint.h>

#define OP_INDEX_LEAST 512u /* slots to begin with: of a small table few pages are touched */

/* A slot holds a row + 1; 0 is free. Slots are at least twice as many as rows, so a search ends soon. */
typedef struct {
    uint32_t *slots;
    uint32_t mask; /* number of slots in use - 1, a power of two - 1 */
    uint32_t most; /* the mask when all are in use */
} op_index;

static inline uint64_t
op_hash_add(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * UINT64_C(0x9e3779b97f4a7c15); /* Fibonacci hashing: 2^64 / golden ratio */
    return hash ^ (hash >> 29);
}

static inline uint64_t
op_hash_bytes(const void *bytes, size_t count)
{
    const unsigned char *at = bytes;
    uint64_t hash = count;
    for (size_t i = 0; i < count; i++) {
        hash = op_hash_add(hash, at[i]);
    }
    return hash;
}

/* Where a search for `hash` begins, and where it goes on. */
static inline uint32_t
op_index_first(const op_index *index, uint64_t hash)
{
    return (uint32_t)(hash >> 32) & index->mask;
}

static inline uint32_t
op_index_next(const op_index *index, uint32_t slot)
{
    return (slot + 1) & index->mask;
}

/* Use few of `slots` again, all of which are 0. */
static inline void
op_index_clear(op_index *index)
{
    index->mask = OP_INDEX_LEAST - 1 < index->most ? OP_INDEX_LEAST - 1 : index->most;
}

/* An index over `slots` slots at `memory`, zeroed. */
static inline op_index
op_index_over(void *memory, uint32_t slots)
{
    op_index index = {memory, 0, slots - 1};
    op_index_clear(&index);
    return index;
}

/* The hash under which a row of a table was put. */
typedef uint64_t op_row_hash(const void *table, uint32_t row);

/* Make room for row number `rows` beside those from `first` on: before a search that may end in a new one. */
static inline void
op_index_make_room(op_index *index, const void *table, uint32_t first, uint32_t rows, op_row_hash *hash_of)
{
    if (2 * rows <= index->mask || index->mask == index->most) {
        return;
    }
    for (uint32_t i = 0; i <= index->mask; i++) {
        index->slots[i] = 0;
    }
    index->mask = 2 * index->mask + 1; /* beyond the old ones all are 0 */
    for (uint32_t row = first; row < rows; row++) {
        uint32_t at = op_index_first(index, hash_of(table, row));
        while (index->slots[at] != 0) {
            at = op_index_next(index, at);
        }
        index->slots[at] = row + 1;
    }
}

#endif
