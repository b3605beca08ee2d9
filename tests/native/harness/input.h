/* input.h -- takes a fuzzer's input apart. What the input lacks is zero. */
#ifndef OP_HARNESS_INPUT_H
#define OP_HARNESS_INPUT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct {
    const uint8_t *bytes;
    size_t size;
} input;

static inline void
input_take(input *from, void *into, size_t size)
{
    const size_t there = size < from->size ? size : from->size;
    memset(into, 0, size);
    if (there > 0) {
        memcpy(into, from->bytes, there);
        from->bytes += there;
        from->size -= there;
    }
}

#endif
