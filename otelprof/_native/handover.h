/* handover.h -- a window as Python objects: columns and tables, no object a sample. */
#ifndef OP_HANDOVER_H
#define OP_HANDOVER_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "window.h"

/* The dict that _core.pyi calls `Window`; NULL with an exception if there is no memory. The window belongs to
 * the caller, and its code table only grows meanwhile. */
PyObject *op_handover(const op_window *window);

#endif
