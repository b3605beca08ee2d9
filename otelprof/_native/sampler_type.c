/* sampler_type.c -- `_core.Sampler`: the sampler as Python sees it. The contract is _core.pyi. */
#include "compat.h"

#include "clock.h"
#include "deaths.h"
#include "handover.h"
#include "sampler.h"
#include "sampler_type.h"
#include "selftest.h"

#include <errno.h>
#include <limits.h>

#define PERIOD_LEAST_NS INT64_C(1000000)
#define PERIOD_MOST_NS INT64_C(1000000000)

typedef struct {
    PyObject_HEAD
    op_sampler *sampler; /* on the heap: forks and the thread know its address. NULL: not open */
    PyObject *var;       /* strong: the sampler compares its address */
    bool is_draining;
} sampler_object;

/* ---- arguments ---- */

static bool
check_period(long long period_ns)
{
    if (period_ns < PERIOD_LEAST_NS || period_ns > PERIOD_MOST_NS) {
        PyErr_Format(PyExc_ValueError, "period_ns: %lld is not between %lld and %lld", period_ns,
                     (long long)PERIOD_LEAST_NS, (long long)PERIOD_MOST_NS);
        return false;
    }
    return true;
}

static bool
check_budget(double cpu_budget)
{
    if (!(cpu_budget > 0.0 && cpu_budget <= 1.0)) {
        PyObject *value = PyFloat_FromDouble(cpu_budget);
        if (value != NULL) {
            PyErr_Format(PyExc_ValueError, "cpu_budget: %R is not above 0 and at most 1", value);
            Py_DECREF(value);
        }
        return false;
    }
    return true;
}

static bool
find_backend(const char *name, op_backend *backend)
{
    for (int i = 0; i < OP_BACKENDS; i++) {
        if (strcmp(name, op_backend_names[i]) == 0) {
            *backend = (op_backend)i;
            return true;
        }
    }
    PyErr_Format(PyExc_ValueError, "backend: '%s' is not memfd, process_vm_readv or proc_mem", name);
    return false;
}

static bool
check_var(PyObject *var)
{
    if (var != NULL && !PyContextVar_CheckExact(var)) {
        PyErr_Format(PyExc_TypeError, "var: %.100s is not a ContextVar", Py_TYPE(var)->tp_name);
        return false;
    }
    return true;
}

/* ---- life of the object ---- */

static bool
open_sampler(sampler_object *self, long long period_ns, double cpu_budget, int max_depth, op_backend first,
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
    s->max_depth = (uint32_t)max_depth;
    s->threads_head = op_threads_head_address();
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
    self->sampler = s;
    return true;
}

static PyObject *
sampler_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"period_ns", "cpu_budget", "var", "max_depth", "backend", NULL};
    long long period_ns = LLONG_MIN;
    double cpu_budget = 0.01;
    PyObject *var = Py_None;
    int max_depth = 128;
    const char *backend_name = NULL;
    op_backend backend = OP_BACKEND_MEMFD;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|$LdOiz:Sampler", names, &period_ns, &cpu_budget, &var,
                                     &max_depth, &backend_name)) {
        return NULL;
    }
    if (period_ns == LLONG_MIN) {
        PyErr_SetString(PyExc_TypeError, "Sampler: period_ns is missing");
        return NULL;
    }
    var = var == Py_None ? NULL : var;
    if (!check_period(period_ns) || !check_budget(cpu_budget) || !check_var(var)
        || (backend_name != NULL && !find_backend(backend_name, &backend))) {
        return NULL;
    }
    if (max_depth < 2 || max_depth > (int)OP_DEPTH_MOST) {
        PyErr_Format(PyExc_ValueError, "max_depth: %d is not between 2 and %d", max_depth, (int)OP_DEPTH_MOST);
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
    if (!open_sampler(self, period_ns, cpu_budget, max_depth, backend, backend_name != NULL)
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
    Py_TYPE(self_)->tp_free(self_);
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
    const long long period_ns = PyLong_AsLongLong(argument);
    if ((period_ns == -1 && PyErr_Occurred()) || !check_period(period_ns)) {
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
    const long native_id = PyLong_AsLong(argument);
    if (native_id == -1 && PyErr_Occurred()) {
        return NULL;
    }
    if (native_id <= 0 || native_id > INT32_MAX) {
        return PyErr_Format(PyExc_ValueError, "native_id: %ld is not a thread's", native_id);
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
    Py_BEGIN_ALLOW_THREADS
    op_sampler_counters_nogil(of(self), &c, &stretched_ns);
    Py_END_ALLOW_THREADS
    return Py_BuildValue("{s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:s}",
                         "passes", (unsigned long long)c.passes,
                         "samples", (unsigned long long)c.samples,
                         "unmoved", (unsigned long long)c.unmoved,
                         "retries", (unsigned long long)c.retries,
                         "torn", (unsigned long long)c.torn,
                         "truncated", (unsigned long long)c.truncated,
                         "span_unknown", (unsigned long long)c.unknown,
                         "threads_refused", (unsigned long long)c.threads_refused,
                         "short_reads", (unsigned long long)s->walker.reader.short_reads,
                         "sampler_cpu_ns", (unsigned long long)c.sampler_cpu_ns,
                         "period_ns", (unsigned long long)stretched_ns,
                         "backend", op_backend_names[s->walker.reader.backend]);
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
    {"after_fork", sampler_after_fork, METH_NOARGS, "Begin anew in a forked child, not started."},
    {NULL, NULL, 0, NULL},
};

PyTypeObject op_sampler_type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "otelprof._core.Sampler",
    .tp_basicsize = sizeof(sampler_object),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_doc = PyDoc_STR("Samples all threads of the main interpreter, without the GIL."),
    .tp_new = sampler_new,
    .tp_dealloc = sampler_dealloc,
    .tp_methods = methods,
};
