/* context.h -- OpenTelemetry's runtime context in C: what `opentelemetry.context.attach` calls.
 *
 * Same ContextVar, same tokens as OpenTelemetry's own, so that what one attached the other can detach. The
 * difference is the value: it is a label object (label_object.h), in which the ids of the current span lie for
 * a reader without the GIL, or a mark that there is no span of this process. A value that is no label object
 * was put there before labels were made, or by another: then a span may be current.
 *
 * Where the ids cannot be had (a span may be any object of the application's, and raise), the application gets
 * its context attached all the same, with a label of zeros: a span is current, but which one is not known.
 * What is no error (KeyboardInterrupt, SystemExit) leaves `attach` as an exception, and nothing is attached.
 *
 * A label in the variable outlives `set_labels(enabled=False)`: whoever reads the variable must do it through
 * a runtime context of this type.
 */
#ifndef OP_CONTEXT_H
#define OP_CONTEXT_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

extern PyTypeObject op_runtime_context_type;

#endif
