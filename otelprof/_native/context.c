/* context.c -- see context.h. */
#include "context.h"

#include <stdbool.h>

#include "label.h"
#include "label_object.h"
#include "span_ids.h"

typedef struct {
    PyObject_HEAD
    PyObject *var; /* a ContextVar; NULL before __init__ */
} runtime_context_object;

/* ---- from a context to its label ---- */

/* A new reference to what to put into the variable when `context` is attached, where `current` is the label that
 * the variable holds, NULL if it holds none. */
static PyObject *
label_of(PyObject *context, PyObject *span, op_label_object *current)
{
    if (current != NULL && current->span == span) {
        return current->otel_context == context
                   ? Py_NewRef((PyObject *)current)
                   : op_label_new(context, span, current->span_context, &current->label);
    }
    PyObject *span_context = op_span_context_of(span);
    if (span_context == NULL) {
        return NULL;
    }
    op_label ids;
    const int found = op_span_ids(span, span_context, current, &ids);
    PyObject *label = NULL;
    if (found >= 0) {
        label = found == 0 ? op_label_new_no_span(context) : op_label_new(context, span, span_context, &ids);
    }
    Py_DECREF(span_context);
    return label;
}

/* The label that the variable holds, as a new reference in *label, or NULL. Returns -1 with an exception. */
static int
current_label(PyObject *var, op_label_object **label)
{
    PyObject *value;
    *label = NULL;
    if (PyContextVar_Get(var, NULL, &value) < 0) {
        return -1;
    }
    if (value != NULL && op_is_label(value) && ((op_label_object *)value)->span != NULL) {
        *label = (op_label_object *)value;
    }
    else {
        Py_XDECREF(value);
    }
    return 0;
}

/* A new reference to what to put into the variable when this context is attached. */
static PyObject *
value_of(PyObject *var, PyObject *context)
{
    if (!op_labels_are_enabled() || !PyDict_Check(context)) {
        return Py_NewRef(context);
    }
    PyObject *span;
    PyObject *value = NULL;
    op_label_object *current;
    if (op_span_in(context, &span) == 0) {
        if (span == NULL || Py_IsNone(span)) {
            Py_XDECREF(span);
            return op_label_new_no_span(context);
        }
        if (current_label(var, &current) == 0) {
            value = label_of(context, span, current);
            Py_XDECREF(current);
        }
        Py_DECREF(span);
    }
    if (value == NULL && op_swallowed()) {
        value = op_label_new_unknown_span(context);
    }
    return value;
}

/* ---- changes ---- */

/* Written with the GIL held. */
_Atomic uint64_t op_label_changes_begun;
_Atomic uint64_t op_label_changes_done;

/* Only the holder of the GIL writes: no need for locked additions. */
static void
begin_change(void)
{
    const uint64_t begun = atomic_load_explicit(&op_label_changes_begun, memory_order_relaxed);
    atomic_store_explicit(&op_label_changes_begun, begun + 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_release); /* the change is seen no earlier */
}

/* Also of a change that has failed. */
static void
end_change(void)
{
    const uint64_t done = atomic_load_explicit(&op_label_changes_done, memory_order_relaxed);
    atomic_store_explicit(&op_label_changes_done, done + 1, memory_order_release);
}

/* ---- the runtime context ---- */

/* A new reference to the variable: what is called meanwhile may call __init__ again. */
static PyObject *
var_of(PyObject *self)
{
    PyObject *var = ((runtime_context_object *)self)->var;
    if (var == NULL) {
        PyErr_Format(PyExc_RuntimeError, "%s.__init__ was not called", Py_TYPE(self)->tp_name);
        return NULL;
    }
    return Py_NewRef(var);
}

/* Borrow the only argument of a method, given by position or by name. */
static PyObject *
only_argument(const char *method, const char *name, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    Py_ssize_t named = names == NULL ? 0 : PyTuple_GET_SIZE(names);
    if (count + named != 1) {
        PyErr_Format(PyExc_TypeError, "RuntimeContext.%s() takes one argument, '%s' (%zd given)", method,
                     name, count + named);
        return NULL;
    }
    if (named == 1 && PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names, 0), name) != 0) {
        PyErr_Format(PyExc_TypeError, "RuntimeContext.%s() got an unexpected keyword argument '%U'", method,
                     PyTuple_GET_ITEM(names, 0));
        return NULL;
    }
    return args[0];
}

static PyObject *
attach(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    PyObject *context = only_argument("attach", "context", args, count, names);
    if (context == NULL) {
        return NULL;
    }
    PyObject *var = var_of(self);
    if (var == NULL) {
        return NULL;
    }
    PyObject *token = NULL;
    PyObject *value = value_of(var, context);
    if (value != NULL) {
        begin_change();
        token = PyContextVar_Set(var, value);
        end_change();
        Py_DECREF(value);
    }
    Py_DECREF(var);
    return token;
}

static PyObject *
get_current(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    PyObject *var = var_of(self);
    if (var == NULL) {
        return NULL;
    }
    PyObject *value;
    int result = PyContextVar_Get(var, NULL, &value);
    if (result == 0 && value == NULL) {
        PyErr_SetObject(PyExc_LookupError, var);
    }
    Py_DECREF(var);
    if (result < 0 || value == NULL || !op_is_label(value)) {
        return value;
    }
    PyObject *context = Py_NewRef(((op_label_object *)value)->otel_context);
    Py_DECREF(value);
    return context;
}

static PyObject *
detach(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    PyObject *token = only_argument("detach", "token", args, count, names);
    if (token == NULL) {
        return NULL;
    }
    if (!PyContextToken_CheckExact(token)) { /* PyContextVar_Reset words it differently */
        PyErr_Format(PyExc_TypeError, "expected an instance of Token, got %R", token);
        return NULL;
    }
    PyObject *var = var_of(self);
    if (var == NULL) {
        return NULL;
    }
    /* What is detached outlives the change: destructors may take long, and fork. */
    PyObject *detached = NULL;
    int result = PyContextVar_Get(var, NULL, &detached);
    if (result == 0) {
        begin_change();
        result = PyContextVar_Reset(var, token);
        end_change();
    }
    Py_XDECREF(detached);
    Py_DECREF(var);
    if (result < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* A variable as OpenTelemetry's ContextVarsRuntimeContext makes it. */
static PyObject *
new_var(void)
{
    PyObject *module = PyImport_ImportModule("opentelemetry.context.context");
    if (module == NULL) {
        return NULL;
    }
    PyObject *empty = PyObject_CallMethod(module, "Context", NULL);
    Py_DECREF(module);
    if (empty == NULL) {
        return NULL;
    }
    PyObject *var = PyContextVar_New("current_context", empty);
    Py_DECREF(empty);
    return var;
}

static int
context_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"var", NULL};
    PyObject *var = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O:RuntimeContext", keywords, &var)) {
        return -1;
    }
    if (!Py_IsNone(var) && !PyContextVar_CheckExact(var)) {
        PyErr_Format(PyExc_TypeError, "var must be a ContextVar, not %s", Py_TYPE(var)->tp_name);
        return -1;
    }
    var = Py_IsNone(var) ? new_var() : Py_NewRef(var);
    if (var == NULL) {
        return -1;
    }
    Py_XSETREF(((runtime_context_object *)self)->var, var);
    return 0;
}

static int
context_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(((runtime_context_object *)self)->var);
    return 0;
}

static int
context_clear(PyObject *self)
{
    Py_CLEAR(((runtime_context_object *)self)->var);
    return 0;
}

static void
context_dealloc(PyObject *self)
{
    PyObject_GC_UnTrack(self);
    (void)context_clear(self);
    Py_TYPE(self)->tp_free(self);
}

static PyObject *
get_current_context_var(PyObject *self, void *Py_UNUSED(closure))
{
    return var_of(self);
}

static PyGetSetDef attributes[] = {
    {"_current_context", get_current_context_var, NULL, "the ContextVar, under OpenTelemetry's name", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef methods[] = {
    {"attach", (PyCFunction)(void (*)(void))attach, METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("attach($self, /, context)\n--\n\nMake a context current; the token undoes it.")},
    {"get_current", get_current, METH_NOARGS,
     PyDoc_STR("get_current($self, /)\n--\n\nThe current context, the very object that was attached.")},
    {"detach", (PyCFunction)(void (*)(void))detach, METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("detach($self, /, token)\n--\n\nUndo an attach. Raises as ContextVar.reset does.")},
    {NULL, NULL, 0, NULL},
};

PyTypeObject op_runtime_context_type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "otelprof._core.RuntimeContext",
    .tp_basicsize = sizeof(runtime_context_object),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
    .tp_doc = PyDoc_STR("RuntimeContext(var=None)\n--\n\n"
                        "OpenTelemetry's runtime context, with labels that a thread without the GIL can read."),
    .tp_new = PyType_GenericNew,
    .tp_init = context_init,
    .tp_dealloc = context_dealloc,
    .tp_traverse = context_traverse,
    .tp_clear = context_clear,
    .tp_methods = methods,
    .tp_getset = attributes,
};
