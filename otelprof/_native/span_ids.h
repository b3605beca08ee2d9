/* span_ids.h -- from a span to its ids and its local root, as `_core.set_labels` wants it.
 *
 * A span may be any object of the application's: to ask it runs code, which may raise, and may end in
 * `set_labels`. OpenTelemetry's own classes are not asked, their private state says the same.
 */
#ifndef OP_SPAN_IDS_H
#define OP_SPAN_IDS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdbool.h>

#include "label.h"
#include "label_object.h"

/* `_core.set_labels`. */
PyObject *op_set_labels(PyObject *module, PyObject *args, PyObject *kwargs);

/* Whether it was told to make labels. If not, no span is to be looked for. */
bool op_labels_are_enabled(void);

/* A new reference to the context's span in *span, NULL if there is none. Returns -1 with an exception. */
int op_span_in(PyObject *otel_context, PyObject **span);

/* A new reference to the span's context, a tuple with the items of OpenTelemetry's SpanContext; NULL with an
 * exception. */
PyObject *op_span_context_of(PyObject *span);

/* 1: `ids` is filled; 0: not a span of this process; -1 with an exception.
 *
 * `current` is the label of the span that was current before, or NULL: a child has its local root. The local
 * root is zeros if it is not known, also if to ask for it raised an error. */
int op_span_ids(PyObject *span, PyObject *span_context, const op_label_object *current, op_label *ids);

/* Clear the exception if it is an error of the application's spans; what interrupts the application stays. */
static inline bool
op_swallowed(void)
{
    if (!PyErr_ExceptionMatches(PyExc_Exception)) {
        return false;
    }
    PyErr_Clear();
    return true;
}

#endif
