/* samples.c -- rows of bytes in order, and the samples of a message: see wire.h. */
#include "varint.h"
#include "wire.h"

#include <stdlib.h>

/* A row to be sorted: the first bytes as a number, which decides most comparisons, and the whole. */
typedef struct {
    uint64_t prefix;
    const uint8_t *bytes;
    size_t size;
    size_t index; /* where it came from */
} entry;

static entry
entry_of(const uint8_t *bytes, size_t size, size_t index)
{
    entry e = {0, bytes, size, index};
    for (size_t i = 0; i < sizeof(e.prefix); i++) {
        e.prefix = e.prefix << 8 | (i < size ? bytes[i] : 0);
    }
    return e;
}

static int
compare(const void *left, const void *right)
{
    const entry *a = left, *b = right;
    if (a->prefix != b->prefix) {
        return a->prefix < b->prefix ? -1 : 1;
    }
    const int order = memcmp(a->bytes, b->bytes, a->size < b->size ? a->size : b->size);
    return order != 0 ? order : (a->size > b->size) - (a->size < b->size);
}

/* The distinct bodies as a new list, and the number of each of the bodies in it, from 1, as another. */
static PyObject *
ranked(const entry *entries, PyObject *bodies)
{
    const Py_ssize_t count = PyTuple_GET_SIZE(bodies);
    PyObject *distinct = PyList_New(0);
    PyObject *numbers = PyList_New(count);
    for (Py_ssize_t i = 0; distinct != NULL && numbers != NULL && i < count; i++) {
        if (i == 0 || compare(&entries[i - 1], &entries[i]) != 0) {
            if (PyList_Append(distinct, PyTuple_GET_ITEM(bodies, (Py_ssize_t)entries[i].index)) < 0) {
                Py_CLEAR(distinct);
                break;
            }
        }
        PyObject *number = PyLong_FromSsize_t(PyList_GET_SIZE(distinct));
        if (number == NULL) {
            Py_CLEAR(distinct);
            break;
        }
        PyList_SET_ITEM(numbers, (Py_ssize_t)entries[i].index, number);
    }
    PyObject *result = distinct == NULL || numbers == NULL ? NULL : PyTuple_Pack(2, distinct, numbers);
    Py_XDECREF(distinct);
    Py_XDECREF(numbers);
    return result;
}

PyObject *
op_ranked_rows(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *list;
    if (!PyArg_ParseTuple(args, "O!", &PyList_Type, &list)) {
        return NULL;
    }
    PyObject *bodies = PyList_AsTuple(list); /* which nobody changes while the GIL is given up */
    if (bodies == NULL) {
        return NULL;
    }
    const Py_ssize_t count = PyTuple_GET_SIZE(bodies);
    entry *entries = PyMem_New(entry, (size_t)count);
    PyObject *result = entries == NULL ? PyErr_NoMemory() : Py_None;
    for (Py_ssize_t i = 0; result != NULL && i < count; i++) {
        PyObject *body = PyTuple_GET_ITEM(bodies, i);
        if (!PyBytes_Check(body)) {
            PyErr_Format(PyExc_TypeError, "body %zd is no bytes", i);
            result = NULL;
        } else {
            entries[i] = entry_of((const uint8_t *)PyBytes_AS_STRING(body), (size_t)PyBytes_GET_SIZE(body), (size_t)i);
        }
    }
    if (result != NULL) {
        Py_BEGIN_ALLOW_THREADS
        qsort(entries, (size_t)count, sizeof(entry), compare);
        Py_END_ALLOW_THREADS
        result = ranked(entries, bodies);
    }
    PyMem_Free(entries);
    Py_DECREF(bodies);
    return result;
}

/* ---- samples ---- */

/* The arguments of op_sample_rows, and what becomes of them. */
typedef struct {
    PyObject *before, *values, *after; /* tuples of lists of bytes; of tuples of int; of lists of bytes */
    Py_ssize_t count, width;           /* rows, and values of a row */
    uint8_t *keys;                     /* of each row what comes before its values, and what comes after */
    size_t *splits;                    /* by row, how much of its key comes before */
    int64_t *numbers;                  /* by row, its values */
    entry *entries;
} samples;

static bool
are_rows_of_bytes(PyObject *columns, Py_ssize_t count)
{
    for (Py_ssize_t c = 0; c < PyTuple_GET_SIZE(columns); c++) {
        PyObject *column = PyTuple_GET_ITEM(columns, c);
        if (!PyList_Check(column)) {
            PyErr_Format(PyExc_TypeError, "column %zd is no list", c);
            return false;
        }
        if (PyList_GET_SIZE(column) != count) {
            PyErr_Format(PyExc_ValueError, "column %zd has %zd rows, not %zd", c, PyList_GET_SIZE(column), count);
            return false;
        }
        for (Py_ssize_t i = 0; i < count; i++) {
            if (!PyBytes_Check(PyList_GET_ITEM(column, i))) {
                PyErr_Format(PyExc_TypeError, "row %zd of column %zd is no bytes", i, c);
                return false;
            }
        }
    }
    return true;
}

static size_t
size_of(PyObject *columns, Py_ssize_t row)
{
    size_t size = 0;
    for (Py_ssize_t c = 0; c < PyTuple_GET_SIZE(columns); c++) {
        size += (size_t)PyBytes_GET_SIZE(PyList_GET_ITEM(PyTuple_GET_ITEM(columns, c), row));
    }
    return size;
}

static uint8_t *
put_pieces(uint8_t *at, PyObject *columns, Py_ssize_t row)
{
    for (Py_ssize_t c = 0; c < PyTuple_GET_SIZE(columns); c++) {
        PyObject *piece = PyList_GET_ITEM(PyTuple_GET_ITEM(columns, c), row);
        memcpy(at, PyBytes_AS_STRING(piece), (size_t)PyBytes_GET_SIZE(piece));
        at += PyBytes_GET_SIZE(piece);
    }
    return at;
}

/* Copy everything, so that what follows needs no GIL. */
static bool
samples_read(samples *s)
{
    size_t size = 0;
    for (Py_ssize_t i = 0; i < s->count; i++) {
        size += size_of(s->before, i) + size_of(s->after, i);
    }
    s->keys = PyMem_Malloc(size);
    s->splits = PyMem_New(size_t, (size_t)s->count);
    s->numbers = PyMem_New(int64_t, (size_t)(s->count * s->width));
    s->entries = PyMem_New(entry, (size_t)s->count);
    if (s->keys == NULL || s->splits == NULL || s->numbers == NULL || s->entries == NULL) {
        PyErr_NoMemory();
        return false;
    }
    for (Py_ssize_t c = 0; c < s->width; c++) {
        PyObject *column = PyTuple_GET_ITEM(s->values, c);
        for (Py_ssize_t i = 0; i < s->count; i++) {
            if (!op_integer_of(PyTuple_GET_ITEM(column, i), &s->numbers[i * s->width + c])) {
                return false;
            }
        }
    }
    uint8_t *at = s->keys;
    for (Py_ssize_t i = 0; i < s->count; i++) {
        const uint8_t *const begin = at;
        at = put_pieces(at, s->before, i);
        s->splits[i] = (size_t)(at - begin);
        at = put_pieces(at, s->after, i);
        s->entries[i] = entry_of(begin, (size_t)(at - begin), (size_t)i);
    }
    return true;
}

/* Sort, and add up rows of the same key; false if a sum has more than 64 bits. Needs no GIL. */
static bool
samples_add_up(samples *s)
{
    qsort(s->entries, (size_t)s->count, sizeof(entry), compare);
    Py_ssize_t last = -1;
    for (Py_ssize_t i = 0; i < s->count; i++) {
        if (last < 0 || compare(&s->entries[last], &s->entries[i]) != 0) {
            s->entries[++last] = s->entries[i];
            continue;
        }
        int64_t *sum = &s->numbers[(Py_ssize_t)s->entries[last].index * s->width];
        const int64_t *more = &s->numbers[(Py_ssize_t)s->entries[i].index * s->width];
        for (Py_ssize_t c = 0; c < s->width; c++) {
            if (__builtin_add_overflow(sum[c], more[c], &sum[c])) {
                return false;
            }
        }
    }
    s->count = last + 1;
    return true;
}

/* Write all samples, or with `at` NULL say how much that would be. Needs no GIL. */
static size_t
samples_write(const samples *s, uint8_t tag, uint8_t value_tag, uint8_t *at)
{
    size_t total = 0;
    for (Py_ssize_t i = 0; i < s->count; i++) {
        const entry *e = &s->entries[i];
        const int64_t *values = &s->numbers[(Py_ssize_t)e->index * s->width];
        size_t packed = 0;
        for (Py_ssize_t c = 0; c < s->width; c++) {
            packed += op_varint_size((uint64_t)values[c]);
        }
        const size_t size = e->size + 1 + op_varint_size(packed) + packed;
        total += 1 + op_varint_size(size) + size;
        if (at != NULL) {
            const size_t split = s->splits[e->index];
            at = op_put_head(at, tag, size);
            memcpy(at, e->bytes, split);
            at = op_put_head(at + split, value_tag, packed);
            for (Py_ssize_t c = 0; c < s->width; c++) {
                at = op_put_varint(at, (uint64_t)values[c]);
            }
            memcpy(at, e->bytes + split, e->size - split);
            at += e->size - split;
        }
    }
    return total;
}

static PyObject *
samples_message(samples *s, uint8_t tag, uint8_t value_tag)
{
    size_t size = 0;
    bool fits;
    Py_BEGIN_ALLOW_THREADS
    fits = samples_add_up(s);
    if (fits) {
        size = samples_write(s, tag, value_tag, NULL);
    }
    Py_END_ALLOW_THREADS
    if (!fits) {
        PyErr_SetString(PyExc_OverflowError, "a sum has more than 64 bits");
        return NULL;
    }
    PyObject *message = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
    if (message != NULL) {
        uint8_t *at = (uint8_t *)PyBytes_AS_STRING(message); /* nobody else has it yet */
        Py_BEGIN_ALLOW_THREADS
        samples_write(s, tag, value_tag, at);
        Py_END_ALLOW_THREADS
    }
    return message;
}

PyObject *
op_sample_rows(PyObject *Py_UNUSED(module), PyObject *args)
{
    unsigned char tag, value_tag;
    samples s = {.count = 0};
    if (!PyArg_ParseTuple(args, "bO!bO!O!", &tag, &PyTuple_Type, &s.before, &value_tag, &PyTuple_Type, &s.values,
                          &PyTuple_Type, &s.after)) {
        return NULL;
    }
    s.width = PyTuple_GET_SIZE(s.values);
    for (Py_ssize_t c = 0; c < s.width; c++) {
        PyObject *column = PyTuple_GET_ITEM(s.values, c);
        if (!PyTuple_Check(column)) {
            PyErr_Format(PyExc_TypeError, "values %zd are no tuple", c);
            return NULL;
        }
        if (c != 0 && PyTuple_GET_SIZE(column) != s.count) {
            PyErr_Format(PyExc_ValueError, "values %zd have %zd rows, not %zd", c, PyTuple_GET_SIZE(column), s.count);
            return NULL;
        }
        s.count = PyTuple_GET_SIZE(column);
    }
    PyObject *message = NULL;
    if (are_rows_of_bytes(s.before, s.count) && are_rows_of_bytes(s.after, s.count) && samples_read(&s)) {
        message = samples_message(&s, tag, value_tag);
    }
    PyMem_Free(s.keys);
    PyMem_Free(s.splits);
    PyMem_Free(s.numbers);
    PyMem_Free(s.entries);
    return message;
}
