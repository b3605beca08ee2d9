/* varint.h -- numbers in protobuf's wire format, and where they come from.
 *
 * Source: https://protobuf.dev/programming-guides/encoding/
 */
#ifndef OP_VARINT_H
#define OP_VARINT_H

#include "compat.h"

#define OP_VARINT_BYTES 10                   /* of 64 bits, seven a byte */
#define OP_HEAD_BYTES (1 + OP_VARINT_BYTES)  /* a tag and a length */

static inline uint8_t *
op_put_varint(uint8_t *at, uint64_t value)
{
    while (value > 0x7F) {
        *at++ = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    *at++ = (uint8_t)value;
    return at;
}

/* The tag of a length-delimited field and its length. */
static inline uint8_t *
op_put_head(uint8_t *at, uint8_t tag, size_t size)
{
    *at++ = tag;
    return op_put_varint(at, size);
}

static inline size_t
op_varint_size(uint64_t value)
{
    size_t size = 1;
    while (value > 0x7F) {
        value >>= 7;
        size++;
    }
    return size;
}

/* False with an error if the item is no int of 64 bits. No code of the caller's runs: `__index__` is not asked. */
static inline bool
op_integer_of(PyObject *item, int64_t *value)
{
    if (!PyLong_Check(item)) {
        PyErr_SetString(PyExc_TypeError, "a number is no int");
        return false;
    }
    *value = PyLong_AsLongLong(item);
    return *value != -1 || !PyErr_Occurred();
}

#endif
