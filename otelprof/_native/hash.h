/* hash.h -- the one hash and the one kind of index of all tables: open addressing over rows kept elsewhere.
 * All `_tick`: no malloc, no locks, no Python. */
#ifndef OP_HASH_H
#define OP_HASH_H

#include <stddef.h>
#include <stdint.h>

/* A slot holds a row + 1; 0 is free. Slots are twice as many as rows, so a search ends soon. */
typedef struct {
    uint32_t *slots;
    uint32_t mask; /* number of slots - 1, a power of two */
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

#endif
