/* sampler_type.h -- `_core.Sampler`: the sampler as Python sees it. */
#ifndef OP_SAMPLER_TYPE_H
#define OP_SAMPLER_TYPE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

extern PyTypeObject op_sampler_type;

#endif
