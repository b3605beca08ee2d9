/* sampler_type.c -- `_core.Sampler`: the sampler as Python sees it. The contract is _core.pyi. */
#include "compat.h"

#include "clock.h"
#include "deaths.h"
#include "handover.h"
#include "sampler.h"
#include "sampler_type.h"
#include "selftest.h"

#include <errno.h>

#define PERIOD_LEAST_NS INT64_C(1000000)
#define PERIOD_MOST_NS INT64_C(1000000000)
#define BUDGET_DEFAULT 0.01
#define DEPTH_LEAST 2
#define DEPTH_DEFAULT 128

typedef struct {
    PyObject_HEAD
    op_sampler *sampler; /* on the heap: forks and the thread know its address. NULL: not open */
    PyObject *var;       /* strong: the sampler compares its address */
    bool is_draining;
} sampler_object;

/* ---- arguments ---- */

/* An int between `least` and `most`; false with an exception that names the argument, the value and the range. */
static bool
parse_int(const char *name, PyObject *value, long long least, long long most, long long *out)
{
    int overflow = 0;
    if (!PyLong_Check(value)) {
        PyErr_Format(PyExc_TypeError, "%s: %R (%.100s) is not an int between %lld and %lld", name, value,
                     Py_TYPE(value)->tp_name, least, most);
        return false;
    }
    *out = PyLong_AsLongLongAndOverflow(value, &overflow);
    if (overflow != 0 || *out < least || *out > most) {
        PyErr_Format(PyExc_ValueError, "%s: %R is not between %lld and %lld", name, value, least, most);
        return false;
    }
    return true;
}

static bool
parse_period(PyObject *value, long long *out)
{
    if (value == NULL) {
        PyErr_Format(PyExc_TypeError, "period_ns: is missing; it is an int between %lld and %lld",
                     (long long)PERIOD_LEAST_NS, (long long)PERIOD_MOST_NS);
        return false;
    }
    return parse_int("period_ns", value, PERIOD_LEAST_NS, PERIOD_MOST_NS, out);
}

static bool
parse_budget(PyObject *value, double *out)
{
    if (!PyFloat_Check(value) && !PyLong_Check(value)) {
        PyErr_Format(PyExc_TypeError, "cpu_budget: %R (%.100s) is not a number above 0 and at most 1", value,
                     Py_TYPE(value)->tp_name);
        return false;
    }
    *out = PyFloat_AsDouble(value);
    PyErr_Clear(); /* an int that is too big is out of the range, as -1 is */
    if (!(*out > 0.0 && *out <= 1.0)) {
        PyErr_Format(PyExc_ValueError, "cpu_budget: %R is not above 0 and at most 1", value);
        return false;
    }
    return true;
}

static bool
parse_backend(PyObject *value, op_backend *out)
{
    if (!PyUnicode_Check(value)) {
        PyErr_Format(PyExc_TypeError, "backend: %R (%.100s) is not a str: memfd, process_vm_readv or proc_mem",
                     value, Py_TYPE(value)->tp_name);
        return false;
    }
    for (int i = 0; i < OP_BACKENDS; i++) {
        if (PyUnicode_CompareWithASCIIString(value, op_backend_names[i]) == 0) {
            *out = (op_backend)i;
            return true;
        }
    }
    PyErr_Format(PyExc_ValueError, "backend: %R is not memfd, process_vm_readv or proc_mem", value);
    return false;
}

static bool
check_var(PyObject *var)
{
    if (var != NULL && !PyContextVar_CheckExact(var)) {
        PyErr_Format(PyExc_TypeError, "var: %R (%.100s) is not a ContextVar", var, Py_TYPE(var)->tp_name);
        return false;
    }
    return true;
}

/* ---- life of the object ---- */

static bool
open_sampler(sampler_object *self, long long period_ns, double cpu_budget, uint32_t max_depth, op_backend first,
             bool only)
{
    op_sampler *s = PyMem_RawCalloc(1, sizeof *s);
    bool is_open;
    if (s == NULL) {
        PyErr_NoMemory();
        return false;
    }
    s->period_ns = s->stretched_ns = (uint64_t)period_ns;
    s->cpu_budget = cpu_budget;
    s->max_depth = max_depth;
    op_interpreter_find(&s->interpreter);
    if (!op_deaths_watch() || !op_label_env_init(&s->walker.labels, self->var)) {
        PyMem_RawFree(s);
        return false;
    }
    Py_BEGIN_ALLOW_THREADS
    is_open = op_sampler_watch_forks_nogil() && op_sampler_open_nogil(s, first, only);
    Py_END_ALLOW_THREADS
    if (!is_open) {
        PyErr_SetFromErrno(PyExc_OSError);
        PyMem_RawFree(s);
        return false;
    }
    op_reader_check_tick(&s->walker.reader); /* others ran meanwhile */
    self->sampler = s;
    return true;
}

static PyObject *
sampler_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"period_ns", "cpu_budget", "var", "max_depth", "backend", NULL};
    PyObject *period = NULL, *budget = NULL, *var = Py_None, *depth = NULL, *way = Py_None;
    long long period_ns = 0, max_depth = DEPTH_DEFAULT;
    double cpu_budget = BUDGET_DEFAULT;
    op_backend backend = OP_BACKEND_MEMFD;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|$OOOOO:Sampler", names, &period, &budget, &var, &depth,
                                     &way)) {
        return NULL;
    }
    var = var == Py_None ? NULL : var;
    if (!parse_period(period, &period_ns) || (budget != NULL && !parse_budget(budget, &cpu_budget))
        || !check_var(var)
        || (depth != NULL && !parse_int("max_depth", depth, DEPTH_LEAST, OP_DEPTH_MOST, &max_depth))
        || (way != Py_None && !parse_backend(way, &backend))) {
        return NULL;
    }
    if (PyInterpreterState_Get() != PyInterpreterState_Main()) {
        PyErr_SetString(PyExc_RuntimeError, "the C core cannot run in a subinterpreter");
        return NULL;
    }
    sampler_object *self = (sampler_object *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->var = Py_XNewRef(var);
    if (!open_sampler(self, period_ns, cpu_budget, (uint32_t)max_depth, backend, way != Py_None)
        || !op_selftest(self->sampler)) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

static void
sampler_dealloc(PyObject *self_)
{
    sampler_object *self = (sampler_object *)self_;
    if (self->sampler != NULL) {
        Py_BEGIN_ALLOW_THREADS
        op_sampler_close_nogil(self->sampler);
        Py_END_ALLOW_THREADS
        PyMem_RawFree(self->sampler);
    }
    Py_XDECREF(self->var);
    PyTypeObject *type = Py_TYPE(self_);
    type->tp_free(self_);
    Py_DECREF(type);
}

/* ---- methods ---- */

static op_sampler *
of(PyObject *self)
{
    return ((sampler_object *)self)->sampler;
}

static PyObject *
sampler_start(PyObject *self, PyObject *Py_UNUSED(none))
{
    bool is_started;
    if (of(self)->walker.reader.view == NULL) {
        PyErr_SetString(PyExc_OSError, "the sampler was not reopened after a fork");
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    is_started = op_sampler_start_nogil(of(self));
    Py_END_ALLOW_THREADS
    return is_started ? Py_NewRef(Py_None) : PyErr_SetFromErrno(PyExc_OSError);
}

static PyObject *
sampler_stop(PyObject *self, PyObject *Py_UNUSED(none))
{
    Py_BEGIN_ALLOW_THREADS
    op_sampler_stop_nogil(of(self));
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

static PyObject *
sampler_pause(PyObject *self, PyObject *Py_UNUSED(none))
{
    Py_BEGIN_ALLOW_THREADS
    op_sampler_pause_nogil(of(self), true);
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

static PyObject *
sampler_resume(PyObject *self, PyObject *Py_UNUSED(none))
{
    Py_BEGIN_ALLOW_THREADS
    op_sampler_pause_nogil(of(self), false);
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

static PyObject *
sampler_set_period_ns(PyObject *self, PyObject *argument)
{
    long long period_ns;
    if (!parse_period(argument, &period_ns)) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    op_sampler_set_period_nogil(of(self), (uint64_t)period_ns);
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

static PyObject *
sampler_leave_out(PyObject *self, PyObject *argument)
{
    long long native_id;
    if (!parse_int("native_id", argument, 1, INT32_MAX, &native_id)) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    op_sampler_leave_out_nogil(of(self), (uint32_t)native_id);
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

static PyObject *
sampler_drain(PyObject *self_, PyObject *Py_UNUSED(none))
{
    sampler_object *self = (sampler_object *)self_;
    op_window *window;
    if (self->is_draining) {
        PyErr_SetString(PyExc_RuntimeError, "drain: another thread is draining");
        return NULL;
    }
    self->is_draining = true;
    Py_BEGIN_ALLOW_THREADS
    window = op_sampler_take_window_nogil(self->sampler);
    Py_END_ALLOW_THREADS
    PyObject *result = op_handover(window);
    Py_BEGIN_ALLOW_THREADS
    op_sampler_give_back_nogil(self->sampler, window);
    Py_END_ALLOW_THREADS
    self->is_draining = false;
    return result;
}

static PyObject *
sampler_health(PyObject *self, PyObject *Py_UNUSED(none))
{
    const op_sampler *s = of(self);
    op_counters c;
    uint64_t stretched_ns;
    op_backend backend;
    Py_BEGIN_ALLOW_THREADS
    op_sampler_counters_nogil(of(self), &c, &stretched_ns, &backend);
    Py_END_ALLOW_THREADS
    return Py_BuildValue("{s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:n,s:s}",
                         "passes", (unsigned long long)c.passes,
                         "samples", (unsigned long long)c.samples,
                         "unmoved", (unsigned long long)c.unmoved,
                         "retries", (unsigned long long)c.retries,
                         "torn", (unsigned long long)c.torn,
                         "truncated", (unsigned long long)c.truncated,
                         "span_unknown", (unsigned long long)c.unknown,
                         "threads_refused", (unsigned long long)c.threads_refused,
                         "short_reads", (unsigned long long)c.short_reads,
                         "descriptors_lost", (unsigned long long)c.descriptors_lost,
                         "sampler_cpu_ns", (unsigned long long)c.sampler_cpu_ns,
                         "period_ns", (unsigned long long)stretched_ns,
                         "sampler_mapped_bytes", (Py_ssize_t)op_sampler_mapped_bytes(s),
                         "backend", op_backend_names[backend]);
}

static PyObject *
sampler_resident_bytes(PyObject *self, PyObject *Py_UNUSED(none))
{
    size_t bytes;
    Py_BEGIN_ALLOW_THREADS
    bytes = op_sampler_resident_bytes_nogil(of(self));
    Py_END_ALLOW_THREADS
    return PyLong_FromSize_t(bytes);
}

static PyObject *
sampler_after_fork(PyObject *self, PyObject *Py_UNUSED(none))
{
    bool is_open;
    ((sampler_object *)self)->is_draining = false;
    Py_BEGIN_ALLOW_THREADS
    is_open = op_sampler_reopen_nogil(of(self));
    Py_END_ALLOW_THREADS
    return is_open ? Py_NewRef(Py_None) : PyErr_SetFromErrno(PyExc_OSError);
}

static PyMethodDef methods[] = {
    {"start", sampler_start, METH_NOARGS, "Start the thread. Idempotent."},
    {"stop", sampler_stop, METH_NOARGS, "Stop the thread; what was sampled stays to be drained. Idempotent."},
    {"pause", sampler_pause, METH_NOARGS, "Take no samples until `resume`."},
    {"resume", sampler_resume, METH_NOARGS, "Take samples again."},
    {"set_period_ns", sampler_set_period_ns, METH_O, "Sample at another rate from the next pass on."},
    {"leave_out", sampler_leave_out, METH_O, "Take no samples of this thread of our own."},
    {"drain", sampler_drain, METH_NOARGS, "Take everything sampled since the last drain."},
    {"health", sampler_health, METH_NOARGS, "Counters since the first start."},
    {"resident_bytes", sampler_resident_bytes, METH_NOARGS, "How much of `sampler_mapped_bytes` is in memory."},
    {"after_fork", sampler_after_fork, METH_NOARGS, "Begin anew in a forked child, not started."},
    {NULL, NULL, 0, NULL},
};

#pragma GCC diagnostic push /* PyType_Slot keeps functions as `void *`, which POSIX allows and ISO C does not */
#pragma GCC diagnostic ignored "-Wpedantic"
static PyType_Slot slots[] = {
    {Py_tp_doc, "Samples all threads of the main interpreter, without the GIL."},
    {Py_tp_new, sampler_new},
    {Py_tp_dealloc, sampler_dealloc},
    {Py_tp_methods, methods},
    {0, NULL},
};
#pragma GCC diagnostic pop

static PyType_Spec spec = {
    .name = "otelprof._core.Sampler",
    .basicsize = sizeof(sampler_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};

PyObject *
op_sampler_type_new(PyObject *module)
{
    return PyType_FromModuleAndSpec(module, &spec, NULL);
}
