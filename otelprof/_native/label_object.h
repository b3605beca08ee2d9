/* label_object.h -- `_core.Label`: the object that stands in OpenTelemetry's ContextVar.
 *
 * In it the ids of the current span lie at fixed offsets, for a reader without the GIL (label.h). It never
 * changes while `magic` stands, and lives at least as long as some Context maps to it; `magic` is cleared before
 * its memory is freed or used again.
 */
#ifndef OP_LABEL_OBJECT_H
#define OP_LABEL_OBJECT_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdbool.h>
#include <string.h>

#include "label.h"

#define OP_LABEL_MAGIC UINT64_C(0x6c626c666f72706f)

typedef struct {
    PyObject_HEAD
    uint64_t magic;         /* OP_LABEL_MAGIC */
    const void *self;       /* its own address: a copy elsewhere in memory is not a label */
    op_label label;
    PyObject *otel_context; /* strong: what was attached */
    PyObject *span;         /* strong, since labels are compared by its address; NULL: none, or not known */
    PyObject *span_context; /* strong: the span's context, a tuple; NULL: as above */
} op_label_object;

extern PyTypeObject op_label_type;

static inline bool
op_is_label(PyObject *value)
{
    return Py_IS_TYPE(value, &op_label_type);
}

/* As a number in the machine's own order: to be compared, not to be shown. */
static inline uint64_t
op_eight_bytes(const uint8_t *bytes)
{
    uint64_t number;
    memcpy(&number, bytes, sizeof number);
    return number;
}

static inline bool
op_is_same_trace(const op_label *one, const op_label *other)
{
    return op_eight_bytes(one->trace_id) == op_eight_bytes(other->trace_id)
           && op_eight_bytes(one->trace_id + 8) == op_eight_bytes(other->trace_id + 8);
}

/* A new label of a span and its ids. NULL with an exception if there is no memory; so the others. */
PyObject *op_label_new(PyObject *otel_context, PyObject *span, PyObject *span_context, const op_label *ids);

/* A label that says that there is no span of this process. Not the context itself: what was attached before
 * labels were made is that, and nobody knows what is in it. */
PyObject *op_label_new_no_span(PyObject *otel_context);

/* A label of zeros: a span is current, but which one is not known. */
PyObject *op_label_new_unknown_span(PyObject *otel_context);

#endif
