/* module.c -- `otelprof._core`. The contract is _core.pyi. */
#include "compat.h"

#include "context.h"
#include "label_object.h"
#include "sampler_type.h"
#include "span_ids.h"
#include "window.h"
#include "wire.h"

static int
add_sampler(PyObject *module)
{
    PyObject *type = op_sampler_type_new(module);
    const int result = type == NULL ? -1 : PyModule_AddType(module, (PyTypeObject *)type);
    Py_XDECREF(type);
    return result;
}

static int
add_everything(PyObject *module)
{
    return PyModule_AddType(module, &op_label_type) < 0
                   || PyModule_AddType(module, &op_runtime_context_type) < 0
                   || add_sampler(module) < 0
                   || PyModule_AddIntConstant(module, "COMPILED_FOR", PY_VERSION_HEX) < 0
                   || PyModule_AddIntConstant(module, "NO_LABEL", OP_NO_LABEL) < 0
                   || PyModule_AddIntConstant(module, "UNKNOWN_LABEL", OP_UNKNOWN_LABEL) < 0
                   || PyModule_AddIntConstant(module, "FLAG_HELD_GIL", OP_FLAG_HELD_GIL) < 0
                   || PyModule_AddIntConstant(module, "FLAG_ON_CPU", OP_FLAG_ON_CPU) < 0
               ? -1
               : 0;
}

/* What PyOS_AfterFork_Child does for a child's thread. A host that forks without it, as uWSGI does, leaves the parent's
 * id there, and the sampler would look for a thread that is not here. */
static PyObject *
note_thread_id(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    PyThreadState_Get()->native_thread_id = PyThread_get_thread_native_id();
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"set_labels", (PyCFunction)(void (*)(void))op_set_labels, METH_VARARGS | METH_KEYWORDS,
     "Whether `RuntimeContext.attach` makes labels."},
    {"note_thread_id", note_thread_id, METH_NOARGS, "Have the calling thread known by the kernel's id that it has now."},
    {"packed_rows", op_packed_rows, METH_VARARGS, "Each row as a protobuf field of packed varints."},
    {"message_rows", op_message_rows, METH_VARARGS, "Each row as a protobuf message of varint fields."},
    {"mark_rows", op_mark_rows, METH_VARARGS, "Mark in a mask what rows name."},
    {"ranked_rows", op_ranked_rows, METH_VARARGS, "Bodies sorted, each once, and their numbers."},
    {"sample_rows", op_sample_rows, METH_VARARGS, "Rows of columns as sorted protobuf messages with their sums."},
    {NULL, NULL, 0, NULL},
};

/* One phase and static state: the sampler reads static types from its own thread, and there is one main
 * interpreter. A subinterpreter with a GIL of its own cannot import the module, which is as it should be. */
static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "otelprof._core",
    .m_doc = PyDoc_STR("The C core: a sampler without the GIL, OpenTelemetry's context in C, and protobuf."),
    .m_size = -1,
    .m_methods = functions,
};

PyMODINIT_FUNC
PyInit__core(void)
{
    PyObject *module = PyModule_Create(&definition);
    if (module != NULL && add_everything(module) < 0) {
        Py_CLEAR(module);
    }
    return module;
}
