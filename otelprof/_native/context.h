/* context.h -- OpenTelemetry's runtime context in C: what `opentelemetry.context.attach` calls.
 *
 * Same ContextVar, same tokens as OpenTelemetry's own, so that what one attached the other can detach. The
 * difference is the value: it is a label object, in which the ids of the current span lie at fixed offsets
 * for a reader without the GIL (label.h), or a mark that there is no span of this process. A value that is no
 * label object was put there before labels were made, or by another: then a span may be current.
 *
 * Where the ids cannot be had (a span may be any object of the application's, and raise), the application gets
 * its context attached all the same, with a label of zeros: a span is current, but which one is not known.
 * What is no error (KeyboardInterrupt, SystemExit) leaves `attach` as an exception, and nothing is attached.
 *
 * A label in the variable outlives `op_set_labels(enabled=False)`: whoever reads the variable must do it
 * through a runtime context of this type.
 */
#ifndef OP_CONTEXT_H
#define OP_CONTEXT_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "label.h"

#define OP_LABEL_MAGIC UINT64_C(0x6c626c666f72706f)

/* A label object never changes while `magic` stands, and lives at least as long as some Context maps to it;
 * `magic` is cleared before its memory is freed or used again. */
typedef struct {
    PyObject_HEAD
    uint64_t magic;           /* OP_LABEL_MAGIC */
    const void *self;         /* its own address: a copy elsewhere in memory is not a label */
    op_label label;
    PyObject *otel_context;   /* strong: what was attached */
    PyObject *span;           /* strong, since labels are compared by its address; NULL: none, or not known */
    PyObject *span_context;   /* strong: the span's context, a tuple; NULL: as above */
} op_label_object;

extern PyTypeObject op_label_type;
extern PyTypeObject op_runtime_context_type;

/* `_core.set_labels`. */
PyObject *op_set_labels(PyObject *module, PyObject *args, PyObject *kwargs);

#endif
