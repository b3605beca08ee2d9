/* sampler_type.h -- `_core.Sampler`: the sampler as Python sees it. */
#ifndef OP_SAMPLER_TYPE_H
#define OP_SAMPLER_TYPE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* A new type, of this interpreter: a static one would keep what Py_FinalizeEx frees. */
PyObject *op_sampler_type_new(PyObject *module);

#endif
