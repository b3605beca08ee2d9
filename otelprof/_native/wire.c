/* wire.c -- see wire.h. Source: https://protobuf.dev/programming-guides/encoding/ */
#include "varint.h"
#include "wire.h"

/* The row that is being written; grows to the longest. */
typedef struct {
    uint8_t *bytes;
    size_t capacity;
} scratch;

static bool
reserve(scratch *s, size_t size)
{
    if (size <= s->capacity) {
        return true;
    }
    const size_t capacity = 2 * size;
    uint8_t *bytes = PyMem_Realloc(s->bytes, capacity);
    if (bytes == NULL) {
        PyErr_NoMemory();
        return false;
    }
    s->bytes = bytes;
    s->capacity = capacity;
    return true;
}

/* Row `number`, borrowed from the list; NULL with an error if it is no tuple. */
static PyObject *
row_of(PyObject *rows, Py_ssize_t number)
{
    PyObject *row = PyList_GET_ITEM(rows, number);
    if (!PyTuple_Check(row)) {
        PyErr_Format(PyExc_TypeError, "row %zd is no tuple", number);
        return NULL;
    }
    return row;
}

static bool
index_of(PyObject *item, Py_ssize_t size, Py_ssize_t *index)
{
    int64_t value = -1;
    if (!op_integer_of(item, &value) && !PyErr_ExceptionMatches(PyExc_OverflowError)) {
        return false;
    }
    if (value < 0 || value >= size) {
        PyErr_Clear();
        PyErr_Format(PyExc_IndexError, "%S is not an index of %zd", item, size);
        return false;
    }
    *index = (Py_ssize_t)value;
    return true;
}

/* One row as a field, as new bytes; `numbers` NULL for the values themselves. */
static PyObject *
packed_row(PyObject *row, uint8_t tag, const uint64_t *numbers, Py_ssize_t size, scratch *s)
{
    const Py_ssize_t count = PyTuple_GET_SIZE(row);
    if (!reserve(s, OP_HEAD_BYTES + (size_t)count * OP_VARINT_BYTES)) {
        return NULL;
    }
    uint8_t *const body = s->bytes + OP_HEAD_BYTES;
    uint8_t *at = body;
    for (Py_ssize_t i = 0; i < count; i++) {
        int64_t value;
        Py_ssize_t index;
        if (numbers != NULL) {
            if (!index_of(PyTuple_GET_ITEM(row, i), size, &index)) {
                return NULL;
            }
            at = op_put_varint(at, numbers[index]);
        } else {
            if (!op_integer_of(PyTuple_GET_ITEM(row, i), &value)) {
                return NULL;
            }
            at = op_put_varint(at, (uint64_t)value);
        }
    }
    /* The head is as long as the body says, and stands right before it. */
    uint8_t head[OP_HEAD_BYTES];
    const Py_ssize_t head_size = op_put_head(head, tag, (size_t)(at - body)) - head;
    memcpy(body - head_size, head, (size_t)head_size);
    return PyBytes_FromStringAndSize((const char *)(body - head_size), at - body + head_size);
}

static PyObject *
message_row(PyObject *row, const uint8_t *tags, Py_ssize_t count, scratch *s)
{
    if (PyTuple_GET_SIZE(row) != count) {
        PyErr_Format(PyExc_ValueError, "a row has %zd fields, not %zd", PyTuple_GET_SIZE(row), count);
        return NULL;
    }
    if (!reserve(s, (size_t)count * (1 + OP_VARINT_BYTES))) {
        return NULL;
    }
    uint8_t *at = s->bytes;
    for (Py_ssize_t i = 0; i < count; i++) {
        int64_t value;
        if (!op_integer_of(PyTuple_GET_ITEM(row, i), &value)) {
            return NULL;
        }
        if (value != 0) {
            *at++ = tags[i];
            at = op_put_varint(at, (uint64_t)value);
        }
    }
    return PyBytes_FromStringAndSize((const char *)s->bytes, at - s->bytes);
}

/* Numbers in a buffer of unsigned 64-bit integers, as array("Q") is one. */
static bool
numbers_of(PyObject *array, Py_buffer *view)
{
    if (PyObject_GetBuffer(array, view, PyBUF_FORMAT) < 0) {
        return false;
    }
    if (view->itemsize == (Py_ssize_t)sizeof(uint64_t) && view->format != NULL && strcmp(view->format, "Q") == 0) {
        return true;
    }
    PyBuffer_Release(view);
    PyErr_SetString(PyExc_TypeError, "numbers is no array of Q");
    return false;
}

PyObject *
op_packed_rows(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *rows, *array;
    unsigned char tag;
    if (!PyArg_ParseTuple(args, "bO!O", &tag, &PyList_Type, &rows, &array)) {
        return NULL;
    }
    Py_buffer view = {.buf = NULL};
    if (array != Py_None && !numbers_of(array, &view)) {
        return NULL;
    }
    static const uint64_t nothing = 0; /* an empty array has no memory of its own */
    const uint64_t *numbers = array == Py_None ? NULL : view.buf != NULL ? view.buf : &nothing;
    const Py_ssize_t size = view.len / (Py_ssize_t)sizeof(uint64_t);
    scratch s = {NULL, 0};
    PyObject *all = PyList_New(PyList_GET_SIZE(rows));
    for (Py_ssize_t i = 0; all != NULL && i < PyList_GET_SIZE(all); i++) {
        PyObject *row = row_of(rows, i);
        PyObject *packed = row == NULL ? NULL : packed_row(row, tag, numbers, size, &s);
        if (packed == NULL) {
            Py_CLEAR(all);
        } else {
            PyList_SET_ITEM(all, i, packed);
        }
    }
    PyMem_Free(s.bytes);
    PyBuffer_Release(&view);
    return all;
}

PyObject *
op_message_rows(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *tags, *rows;
    if (!PyArg_ParseTuple(args, "O!O!", &PyBytes_Type, &tags, &PyList_Type, &rows)) {
        return NULL;
    }
    scratch s = {NULL, 0};
    PyObject *all = PyList_New(PyList_GET_SIZE(rows));
    for (Py_ssize_t i = 0; all != NULL && i < PyList_GET_SIZE(all); i++) {
        PyObject *row = row_of(rows, i);
        PyObject *message = row == NULL ? NULL
                                        : message_row(row, (const uint8_t *)PyBytes_AS_STRING(tags),
                                                      PyBytes_GET_SIZE(tags), &s);
        if (message == NULL) {
            Py_CLEAR(all);
        } else {
            PyList_SET_ITEM(all, i, message);
        }
    }
    PyMem_Free(s.bytes);
    return all;
}

PyObject *
op_mark_rows(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *rows, *mask;
    if (!PyArg_ParseTuple(args, "O!O!", &PyList_Type, &rows, &PyByteArray_Type, &mask)) {
        return NULL;
    }
    char *marks = PyByteArray_AS_STRING(mask);
    const Py_ssize_t size = PyByteArray_GET_SIZE(mask);
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(rows); i++) {
        PyObject *row = row_of(rows, i);
        if (row == NULL) {
            return NULL;
        }
        for (Py_ssize_t j = 0; j < PyTuple_GET_SIZE(row); j++) {
            Py_ssize_t index;
            if (!index_of(PyTuple_GET_ITEM(row, j), size, &index)) {
                return NULL;
            }
            marks[index] = 1;
        }
    }
    Py_RETURN_NONE;
}
