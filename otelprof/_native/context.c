#include "context.h"

#include <stdbool.h>
#include <string.h>

#include "compat_object.h"

/* Written with the GIL held, as all state of this file. */
_Atomic uint64_t op_label_changes_begun;
_Atomic uint64_t op_label_changes_done;

/* ---- labels -------------------------------------------------------------------------------------------- */

#ifndef OP_FREE_LABELS
#define OP_FREE_LABELS 256 /* an attach needs one; more than this are seldom freed at once */
#endif

static op_label_object *op_free_labels[OP_FREE_LABELS];
static size_t op_free_label_count;

/* The sampler may be reading: a label is marked after it is whole, and unmarked before it falls apart. */
static void
op_mark_label(op_label_object *label, uint64_t magic)
{
    atomic_thread_fence(memory_order_release);
    *(volatile uint64_t *)&label->magic = magic;
    atomic_thread_fence(memory_order_release);
}

/* A label of `ids`; zeros if there is no span or none that is known, `span` and `span_context` are NULL then. */
static PyObject *
op_label_new(PyObject *otel_context, PyObject *span, PyObject *span_context, const op_label *ids)
{
    op_label_object *label;
    if (op_free_label_count > 0) {
        label = op_free_labels[--op_free_label_count];
        (void)PyObject_Init((PyObject *)label, &op_label_type);
    } else {
        label = PyObject_GC_New(op_label_object, &op_label_type);
        if (label == NULL) {
            return NULL;
        }
    }
    label->self = label;
    label->label = *ids;
    label->otel_context = Py_NewRef(otel_context);
    label->span = Py_XNewRef(span);
    label->span_context = Py_XNewRef(span_context);
    op_mark_label(label, OP_LABEL_MAGIC);
    PyObject_GC_Track(label);
    return (PyObject *)label;
}

static void
op_label_dealloc(PyObject *self)
{
    op_label_object *label = (op_label_object *)self;
    PyObject_GC_UnTrack(self);
    op_mark_label(label, 0);
    label->self = NULL;
    Py_CLEAR(label->otel_context);
    Py_CLEAR(label->span);
    Py_CLEAR(label->span_context);
    if (op_free_label_count < OP_FREE_LABELS) {
        op_free_labels[op_free_label_count++] = label;
    } else {
        PyObject_GC_Del(self);
    }
}

/* No tp_clear, as a tuple has none: a label never changes, so every cycle through it has a dict to be broken
 * at, and `otel_context` is never NULL while anyone can look. */
static int
op_label_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(((op_label_object *)self)->otel_context);
    Py_VISIT(((op_label_object *)self)->span);
    Py_VISIT(((op_label_object *)self)->span_context);
    return 0;
}

static bool
op_is_label(PyObject *object)
{
    return Py_IS_TYPE(object, &op_label_type);
}

/* As numbers in the machine's own order: to be compared, not to be shown. */
static uint64_t
op_eight_bytes(const uint8_t *bytes)
{
    uint64_t number;
    memcpy(&number, bytes, sizeof number);
    return number;
}

static bool
op_is_same_trace(const op_label *one, const op_label *other)
{
    return op_eight_bytes(one->trace_id) == op_eight_bytes(other->trace_id) &&
           op_eight_bytes(one->trace_id + 8) == op_eight_bytes(other->trace_id + 8);
}

static void
op_write_hex(char *text, const uint8_t *bytes, size_t size)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < size; i++) {
        text[2 * i] = digits[bytes[i] >> 4];
        text[2 * i + 1] = digits[bytes[i] & 0xF];
    }
    text[2 * size] = '\0';
}

static PyObject *
op_label_repr(PyObject *self)
{
    const op_label *ids = &((op_label_object *)self)->label;
    if (ids->flags & OP_LABEL_NO_SPAN) {
        return PyUnicode_FromString("<otelprof._core.Label of no span>");
    }
    if (((op_label_object *)self)->span == NULL) {
        return PyUnicode_FromString("<otelprof._core.Label of an unknown span>");
    }
    char trace[33];
    char span[17];
    char root[17];
    op_write_hex(trace, ids->trace_id, sizeof ids->trace_id);
    op_write_hex(span, ids->span_id, sizeof ids->span_id);
    op_write_hex(root, ids->local_root_span_id, sizeof ids->local_root_span_id);
    return PyUnicode_FromFormat(
        "<otelprof._core.Label trace_id=%s span_id=%s local_root_span_id=%s is_sampled=%s>", trace, span,
        root, ids->flags & OP_LABEL_SAMPLED ? "True" : "False");
}

static PyObject *
op_label_get_context(PyObject *self, void *Py_UNUSED(closure))
{
    return Py_NewRef(((op_label_object *)self)->otel_context);
}

static PyObject *
op_label_get_trace_id(PyObject *self, void *Py_UNUSED(closure))
{
    const op_label *ids = &((op_label_object *)self)->label;
    return PyBytes_FromStringAndSize((const char *)ids->trace_id, sizeof ids->trace_id);
}

static PyObject *
op_label_get_span_id(PyObject *self, void *Py_UNUSED(closure))
{
    const op_label *ids = &((op_label_object *)self)->label;
    return PyBytes_FromStringAndSize((const char *)ids->span_id, sizeof ids->span_id);
}

static PyObject *
op_label_get_local_root_span_id(PyObject *self, void *Py_UNUSED(closure))
{
    const op_label *ids = &((op_label_object *)self)->label;
    return PyBytes_FromStringAndSize((const char *)ids->local_root_span_id, sizeof ids->local_root_span_id);
}

static PyObject *
op_label_get_is_sampled(PyObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong((((op_label_object *)self)->label.flags & OP_LABEL_SAMPLED) != 0);
}

static PyObject *
op_label_get_has_span(PyObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong((((op_label_object *)self)->label.flags & OP_LABEL_NO_SPAN) == 0);
}

static PyGetSetDef op_label_attributes[] = {
    {"has_span", op_label_get_has_span, NULL, "whether a span of this process is current", NULL},
    {"context", op_label_get_context, NULL, "the OpenTelemetry context that was attached", NULL},
    {"trace_id", op_label_get_trace_id, NULL, "16 bytes, big endian; zeros: a span that is not known", NULL},
    {"span_id", op_label_get_span_id, NULL, "8 bytes, big endian", NULL},
    {"local_root_span_id", op_label_get_local_root_span_id, NULL, "8 bytes; zeros if not known", NULL},
    {"is_sampled", op_label_get_is_sampled, NULL, "the sampled flag of the span", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyTypeObject op_label_type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "otelprof._core.Label",
    .tp_basicsize = sizeof(op_label_object),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_doc = PyDoc_STR("What stands in OpenTelemetry's ContextVar while a span of this process is current."),
    .tp_dealloc = op_label_dealloc,
    .tp_traverse = op_label_traverse,
    .tp_repr = op_label_repr,
    .tp_getset = op_label_attributes,
};

/* ---- from a span to its ids ---------------------------------------------------------------------------- */

/* What `set_labels` set. References are strong; code that calls out holds its own, since any call may end
 * in `set_labels`. */
static struct {
    bool enabled;
    PyObject *span_key;      /* NULL while not enabled */
    PyObject *local_root_of; /* may be NULL */
} op_labels;

static struct {
    PyObject *_context;
    PyObject *_parent;
    PyObject *get_span_context;
    PyObject *is_remote;
    PyObject *is_valid;
    PyObject *parent;
    PyObject *span_id;
    PyObject *trace_flags;
    PyObject *trace_id;
} op_names;

/* OpenTelemetry's own classes, whose private state says the same as their methods, and saves the calls.
 * Strong; NULL if this version has no such class, or a different one. */
static struct {
    PyObject *span_context;       /* opentelemetry.trace.SpanContext: a tuple */
    PyObject *span;               /* opentelemetry.sdk.trace._Span: has _context and _parent */
    PyObject *non_recording_span; /* opentelemetry.trace.NonRecordingSpan: has _context, no parent */
} op_types;

/* Items of a SpanContext. */
enum { OP_TRACE_ID, OP_SPAN_ID, OP_IS_REMOTE, OP_TRACE_FLAGS, OP_TRACE_STATE, OP_IS_VALID, OP_ITEMS };

/* Steals a span context; returns it, or one of another type as a tuple with its items. NULL stays NULL. */
static PyObject *
op_as_span_context(PyObject *object)
{
    if (object == NULL || ((PyObject *)Py_TYPE(object) == op_types.span_context &&
                           PyTuple_GET_SIZE(object) == OP_ITEMS)) {
        return object;
    }
    PyObject *const names[OP_ITEMS] = {
        [OP_TRACE_ID] = op_names.trace_id,
        [OP_SPAN_ID] = op_names.span_id,
        [OP_IS_REMOTE] = op_names.is_remote,
        [OP_TRACE_FLAGS] = op_names.trace_flags,
        [OP_IS_VALID] = op_names.is_valid,
    };
    PyObject *tuple = PyTuple_New(OP_ITEMS);
    for (Py_ssize_t i = 0; tuple != NULL && i < OP_ITEMS; i++) {
        PyObject *item = names[i] == NULL ? Py_NewRef(Py_None) : PyObject_GetAttr(object, names[i]);
        if (item == NULL) {
            Py_CLEAR(tuple);
        } else {
            PyTuple_SET_ITEM(tuple, i, item);
        }
    }
    Py_DECREF(object);
    return tuple;
}

/* Whether an item of a span context is true; -1 with an exception. */
static int
op_item_is_true(PyObject *span_context, Py_ssize_t item)
{
    PyObject *value = PyTuple_GET_ITEM(span_context, item);
    return Py_IsTrue(value) ? 1 : Py_IsFalse(value) ? 0 : PyObject_IsTrue(value);
}

/* A new reference to the span's context. */
static PyObject *
op_span_context_of(PyObject *span)
{
    PyObject *type = (PyObject *)Py_TYPE(span);
    if (type == op_types.span || type == op_types.non_recording_span) {
        return op_as_span_context(PyObject_GetAttr(span, op_names._context));
    }
    return op_as_span_context(PyObject_CallMethodNoArgs(span, op_names.get_span_context));
}

/* 1 and a new reference to the context of the span's parent, or None; 0: the span keeps no parent; -1 with
 * an exception. */
static int
op_parent_of(PyObject *span, PyObject **parent)
{
    PyObject *type = (PyObject *)Py_TYPE(span);
    *parent = NULL;
    if (type == op_types.non_recording_span) {
        return 0;
    }
    if (type == op_types.span) {
        *parent = PyObject_GetAttr(span, op_names._parent);
    } else if (op_optional_attribute(span, op_names.parent, parent) == 0) {
        return 0;
    }
    if (*parent != NULL && !Py_IsNone(*parent)) {
        *parent = op_as_span_context(*parent);
    }
    return *parent == NULL ? -1 : 1;
}

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "op_write_big_endian turns the bytes round");

static void
op_write_big_endian(uint64_t number, uint8_t *bytes)
{
    number = __builtin_bswap64(number); /* a loop of shifts stays one in gcc 12 */
    memcpy(bytes, &number, sizeof number);
}

/* Write an int as the 8 bytes of a span id; -1 with an exception if it is none. */
static int
op_write_span_id(PyObject *number, uint8_t *span_id)
{
    uint64_t high;
    uint64_t low;
    if (op_int_parse(number, &high, &low) < 0) {
        return -1;
    }
    if (high != 0) {
        PyErr_SetString(PyExc_OverflowError, "not a span id: too big");
        return -1;
    }
    op_write_big_endian(low, span_id);
    return 0;
}

/* Write an int as the 16 bytes of a trace id; -1 with an exception if it is none. */
static int
op_write_trace_id(PyObject *number, uint8_t *trace_id)
{
    uint64_t high;
    uint64_t low;
    if (op_int_parse(number, &high, &low) < 0) {
        return -1;
    }
    op_write_big_endian(high, trace_id);
    op_write_big_endian(low, trace_id + 8);
    return 0;
}

/* 1: `ids` is filled but for the local root; 0: not a span of this process; -1 with an exception. */
static int
op_read_span_context(PyObject *span_context, op_label *ids)
{
    int is_remote = op_item_is_true(span_context, OP_IS_REMOTE);
    int is_valid = is_remote == 0 ? op_item_is_true(span_context, OP_IS_VALID) : 0;
    if (is_remote != 0 || is_valid <= 0) {
        return is_remote < 0 || is_valid < 0 ? -1 : 0;
    }
    uint64_t high;
    uint64_t flags;
    if (op_int_parse(PyTuple_GET_ITEM(span_context, OP_TRACE_FLAGS), &high, &flags) < 0) {
        return -1;
    }
    ids->flags = flags & 1 ? OP_LABEL_SAMPLED : 0; /* W3C Trace Context, "sampled flag" */
    if (op_write_trace_id(PyTuple_GET_ITEM(span_context, OP_TRACE_ID), ids->trace_id) < 0 ||
        op_write_span_id(PyTuple_GET_ITEM(span_context, OP_SPAN_ID), ids->span_id) < 0) {
        return -1;
    }
    return 1;
}

/* ---- local roots --------------------------------------------------------------------------------------- */

static void
op_set_root(op_label *ids, const uint8_t *span_id)
{
    memcpy(ids->local_root_span_id, span_id, sizeof ids->local_root_span_id);
}

/* Whether a label is of the same trace as `ids`, with a known root. */
static bool
op_may_inherit_root(const op_label *ids, const op_label_object *current)
{
    return current != NULL && op_is_same_trace(&current->label, ids) &&
           op_eight_bytes(current->label.local_root_span_id) != 0;
}

static int
op_ask_for_root(PyObject *span, op_label *ids)
{
    if (op_labels.local_root_of == NULL) {
        return 0;
    }
    PyObject *local_root_of = Py_NewRef(op_labels.local_root_of);
    PyObject *root = PyObject_CallOneArg(local_root_of, span);
    Py_DECREF(local_root_of);
    if (root == NULL) {
        return -1;
    }
    int result = op_write_span_id(root, ids->local_root_span_id);
    Py_DECREF(root);
    return result;
}

/* 1: `current` is the label of the span whose context is `parent`; 0: it is not; -1 with an exception. */
static int
op_is_label_of(const op_label_object *current, PyObject *parent)
{
    if (parent == current->span_context) {
        return 1;
    }
    uint8_t parent_id[sizeof current->label.span_id];
    if (op_write_span_id(PyTuple_GET_ITEM(parent, OP_SPAN_ID), parent_id) < 0) {
        return -1;
    }
    return op_eight_bytes(current->label.span_id) == op_eight_bytes(parent_id);
}

/* Fill in the local root, given the context of the span's parent, or None. Returns -1 with an exception. */
static int
op_find_root_above(PyObject *parent, PyObject *span, op_label *ids, const op_label_object *current)
{
    int is_root = Py_IsNone(parent) ? 1 : op_item_is_true(parent, OP_IS_REMOTE);
    if (is_root != 0) {
        op_set_root(ids, ids->span_id);
        return is_root < 0 ? -1 : 0;
    }
    int inherits = op_may_inherit_root(ids, current) ? op_is_label_of(current, parent) : 0;
    if (inherits > 0) {
        op_set_root(ids, current->label.local_root_span_id);
        return 0;
    }
    return inherits < 0 ? -1 : op_ask_for_root(span, ids);
}

/* Fill in the local root, zeros if it is not known. Returns -1 with an exception. */
static int
op_find_root(PyObject *span, op_label *ids, const op_label_object *current)
{
    PyObject *parent;
    int found = op_parent_of(span, &parent);
    if (found == 1) {
        found = op_find_root_above(parent, span, ids, current);
        Py_DECREF(parent);
        return found;
    }
    if (found == 0 && op_may_inherit_root(ids, current)) {
        op_set_root(ids, current->label.local_root_span_id);
        return 0;
    }
    return found == 0 ? op_ask_for_root(span, ids) : -1;
}

/* ---- from a context to its label ----------------------------------------------------------------------- */

/* Clear the exception if it is an error of the application's spans; what interrupts the application stays. */
static bool
op_swallowed(void)
{
    if (!PyErr_ExceptionMatches(PyExc_Exception)) {
        return false;
    }
    PyErr_Clear();
    return true;
}

/* A label that says that there is no span of this process. Not the context itself: what was attached before
 * labels were made is that, and nobody knows what is in it. */
static PyObject *
op_label_no_span(PyObject *context)
{
    const op_label ids = {.flags = OP_LABEL_NO_SPAN};
    return op_label_new(context, NULL, NULL, &ids);
}

/* A new reference to what to put into the variable when `context` is attached: the label of the span whose
 * context is a tuple. */
static PyObject *
op_label_of(PyObject *context, PyObject *span, PyObject *span_context, const op_label_object *current)
{
    op_label ids = {.flags = 0};
    int found = op_read_span_context(span_context, &ids);
    if (found <= 0) {
        return found < 0 ? NULL : op_label_no_span(context);
    }
    if (op_find_root(span, &ids, current) < 0) {
        if (!op_swallowed()) {
            return NULL;
        }
        memset(ids.local_root_span_id, 0, sizeof ids.local_root_span_id);
    }
    return op_label_new(context, span, span_context, &ids);
}

/* The same for any span, where `current` is the label that the variable holds, NULL if it holds none. */
static PyObject *
op_labelled(PyObject *context, PyObject *span, op_label_object *current)
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
    PyObject *value = op_label_of(context, span, span_context, current);
    Py_DECREF(span_context);
    return value;
}

/* The label that the variable holds, as a new reference in *label, or NULL. Returns -1 with an exception. */
static int
op_current_label(PyObject *var, op_label_object **label)
{
    PyObject *value;
    *label = NULL;
    if (PyContextVar_Get(var, NULL, &value) < 0) {
        return -1;
    }
    if (value != NULL && op_is_label(value) && ((op_label_object *)value)->span != NULL) {
        *label = (op_label_object *)value;
    } else {
        Py_XDECREF(value);
    }
    return 0;
}

/* A new reference to the context's span in *span, NULL if there is none. Returns -1 with an exception. */
static int
op_span_in(PyObject *context, PyObject **span)
{
    PyObject *key = Py_NewRef(op_labels.span_key);
    *span = PyDict_GetItemWithError(context, key);
    Py_XINCREF(*span);
    Py_DECREF(key);
    return *span == NULL && PyErr_Occurred() ? -1 : 0;
}

/* A new reference to what to put into the variable when this context is attached. */
static PyObject *
op_value_of(PyObject *var, PyObject *context)
{
    if (!op_labels.enabled || !PyDict_Check(context)) {
        return Py_NewRef(context);
    }
    PyObject *span;
    PyObject *value = NULL;
    op_label_object *current;
    if (op_span_in(context, &span) == 0) {
        if (span == NULL || Py_IsNone(span)) {
            Py_XDECREF(span);
            return op_label_no_span(context);
        }
        if (op_current_label(var, &current) == 0) {
            value = op_labelled(context, span, current);
            Py_XDECREF(current);
        }
        Py_DECREF(span);
    }
    if (value == NULL && op_swallowed()) {
        op_label unknown = {.flags = 0};
        value = op_label_new(context, NULL, NULL, &unknown);
    }
    return value;
}

/* ---- the runtime context ------------------------------------------------------------------------------- */

typedef struct {
    PyObject_HEAD
    PyObject *var; /* a ContextVar; NULL before __init__ */
} op_runtime_context_object;

/* Only the holder of the GIL writes: no need for locked additions. */
static void
op_begin_change(void)
{
    const uint64_t begun = atomic_load_explicit(&op_label_changes_begun, memory_order_relaxed);
    atomic_store_explicit(&op_label_changes_begun, begun + 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_release); /* the change is seen no earlier */
}

/* Also of a change that has failed. */
static void
op_end_change(void)
{
    const uint64_t done = atomic_load_explicit(&op_label_changes_done, memory_order_relaxed);
    atomic_store_explicit(&op_label_changes_done, done + 1, memory_order_release);
}

/* A new reference to the variable: what is called meanwhile may call __init__ again. */
static PyObject *
op_var_of(PyObject *self)
{
    PyObject *var = ((op_runtime_context_object *)self)->var;
    if (var == NULL) {
        PyErr_Format(PyExc_RuntimeError, "%s.__init__ was not called", Py_TYPE(self)->tp_name);
        return NULL;
    }
    return Py_NewRef(var);
}

/* Borrow the only argument of a method, given by position or by name. */
static PyObject *
op_only_argument(const char *method, const char *name, PyObject *const *args, Py_ssize_t count,
                 PyObject *names)
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
op_attach(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    PyObject *context = op_only_argument("attach", "context", args, count, names);
    if (context == NULL) {
        return NULL;
    }
    PyObject *var = op_var_of(self);
    if (var == NULL) {
        return NULL;
    }
    PyObject *token = NULL;
    PyObject *value = op_value_of(var, context);
    if (value != NULL) {
        op_begin_change();
        token = PyContextVar_Set(var, value);
        op_end_change();
        Py_DECREF(value);
    }
    Py_DECREF(var);
    return token;
}

static PyObject *
op_get_current(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    PyObject *var = op_var_of(self);
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
op_detach(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    PyObject *token = op_only_argument("detach", "token", args, count, names);
    if (token == NULL) {
        return NULL;
    }
    if (!PyContextToken_CheckExact(token)) { /* PyContextVar_Reset words it differently */
        PyErr_Format(PyExc_TypeError, "expected an instance of Token, got %R", token);
        return NULL;
    }
    PyObject *var = op_var_of(self);
    if (var == NULL) {
        return NULL;
    }
    op_begin_change();
    int result = PyContextVar_Reset(var, token);
    op_end_change();
    Py_DECREF(var);
    if (result < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* A variable as OpenTelemetry's ContextVarsRuntimeContext makes it. */
static PyObject *
op_new_var(void)
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
op_runtime_context_init(PyObject *self, PyObject *args, PyObject *kwargs)
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
    var = Py_IsNone(var) ? op_new_var() : Py_NewRef(var);
    if (var == NULL) {
        return -1;
    }
    Py_XSETREF(((op_runtime_context_object *)self)->var, var);
    return 0;
}

static int
op_runtime_context_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(((op_runtime_context_object *)self)->var);
    return 0;
}

static int
op_runtime_context_clear(PyObject *self)
{
    Py_CLEAR(((op_runtime_context_object *)self)->var);
    return 0;
}

static void
op_runtime_context_dealloc(PyObject *self)
{
    PyObject_GC_UnTrack(self);
    (void)op_runtime_context_clear(self);
    Py_TYPE(self)->tp_free(self);
}

static PyObject *
op_get_current_context_var(PyObject *self, void *Py_UNUSED(closure))
{
    return op_var_of(self);
}

static PyGetSetDef op_runtime_context_attributes[] = {
    {"_current_context", op_get_current_context_var, NULL, "the ContextVar, under OpenTelemetry's name", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef op_runtime_context_methods[] = {
    {"attach", (PyCFunction)(void (*)(void))op_attach, METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("attach($self, /, context)\n--\n\nMake a context current; the token undoes it.")},
    {"get_current", op_get_current, METH_NOARGS,
     PyDoc_STR("get_current($self, /)\n--\n\nThe current context, the very object that was attached.")},
    {"detach", (PyCFunction)(void (*)(void))op_detach, METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("detach($self, /, token)\n--\n\nUndo an attach. Raises as ContextVar.reset does.")},
    {NULL, NULL, 0, NULL},
};

PyTypeObject op_runtime_context_type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "otelprof._core.RuntimeContext",
    .tp_basicsize = sizeof(op_runtime_context_object),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
    .tp_doc = PyDoc_STR("RuntimeContext(var=None)\n--\n\n"
                        "OpenTelemetry's runtime context, with labels that a thread without the GIL can read."),
    .tp_new = PyType_GenericNew,
    .tp_init = op_runtime_context_init,
    .tp_dealloc = op_runtime_context_dealloc,
    .tp_traverse = op_runtime_context_traverse,
    .tp_clear = op_runtime_context_clear,
    .tp_methods = op_runtime_context_methods,
    .tp_getset = op_runtime_context_attributes,
};

/* ---- settings ------------------------------------------------------------------------------------------ */

static int
op_intern_names(void)
{
    const struct {
        PyObject **name;
        const char *text;
    } names[] = {
        {&op_names._context, "_context"},
        {&op_names._parent, "_parent"},
        {&op_names.get_span_context, "get_span_context"},
        {&op_names.is_remote, "is_remote"},
        {&op_names.is_valid, "is_valid"},
        {&op_names.parent, "parent"},
        {&op_names.span_id, "span_id"},
        {&op_names.trace_flags, "trace_flags"},
        {&op_names.trace_id, "trace_id"},
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (*names[i].name == NULL) {
            *names[i].name = PyUnicode_InternFromString(names[i].text);
        }
        if (*names[i].name == NULL) {
            return -1;
        }
    }
    return 0;
}

/* Look up one of OpenTelemetry's classes; NULL without an exception if there is none. */
static int
op_find_class(const char *module_name, const char *name, PyObject **type)
{
    PyObject *module = PyImport_ImportModule(module_name);
    PyObject *found = module == NULL ? NULL : PyObject_GetAttrString(module, name);
    Py_XDECREF(module);
    if (found == NULL && !op_swallowed()) {
        return -1;
    }
    Py_XSETREF(*type, found);
    return 0;
}

/* Keep op_types.span_context only if its items are in the order that is read here; -1 with an exception. */
static int
op_check_span_context(void)
{
    if (op_types.span_context == NULL) {
        return 0;
    }
    PyObject *sample = PyObject_CallFunction(op_types.span_context, "iiO", 2, 3, Py_False);
    bool is_as_read =
        sample != NULL && (PyObject *)Py_TYPE(sample) == op_types.span_context && PyTuple_Check(sample) &&
        PyTuple_GET_SIZE(sample) == OP_ITEMS && PyLong_Check(PyTuple_GET_ITEM(sample, OP_TRACE_ID)) &&
        PyLong_AsLong(PyTuple_GET_ITEM(sample, OP_TRACE_ID)) == 2 &&
        PyLong_Check(PyTuple_GET_ITEM(sample, OP_SPAN_ID)) &&
        PyLong_AsLong(PyTuple_GET_ITEM(sample, OP_SPAN_ID)) == 3 &&
        Py_IsFalse(PyTuple_GET_ITEM(sample, OP_IS_REMOTE)) &&
        PyLong_Check(PyTuple_GET_ITEM(sample, OP_TRACE_FLAGS)) &&
        Py_IsTrue(PyTuple_GET_ITEM(sample, OP_IS_VALID));
    Py_XDECREF(sample);
    if (!is_as_read) {
        Py_CLEAR(op_types.span_context);
    }
    return PyErr_Occurred() && !op_swallowed() ? -1 : 0;
}

PyObject *
op_set_labels(PyObject *Py_UNUSED(module), PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"enabled", "span_key", "local_root_of", NULL};
    int enabled = -1;
    PyObject *span_key = NULL;
    PyObject *local_root_of = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|$pUO:set_labels", keywords, &enabled, &span_key,
                                     &local_root_of)) {
        return NULL;
    }
    if (enabled < 0 || (enabled && span_key == NULL)) {
        PyErr_SetString(PyExc_TypeError, enabled < 0 ? "set_labels: enabled is missing"
                                                     : "set_labels: labels need a span_key");
        return NULL;
    }
    if (!Py_IsNone(local_root_of) && !PyCallable_Check(local_root_of)) {
        PyErr_Format(PyExc_TypeError, "set_labels: local_root_of must be callable or None, not %s",
                     Py_TYPE(local_root_of)->tp_name);
        return NULL;
    }
    if (op_intern_names() < 0 ||
        op_find_class("opentelemetry.sdk.trace", "_Span", &op_types.span) < 0 ||
        op_find_class("opentelemetry.trace", "NonRecordingSpan", &op_types.non_recording_span) < 0 ||
        op_find_class("opentelemetry.trace", "SpanContext", &op_types.span_context) < 0 ||
        op_check_span_context() < 0) {
        return NULL;
    }
    PyObject *old_span_key = op_labels.span_key;
    PyObject *old_local_root_of = op_labels.local_root_of;
    op_labels.enabled = enabled;
    op_labels.span_key = enabled ? Py_NewRef(span_key) : NULL;
    op_labels.local_root_of = enabled && !Py_IsNone(local_root_of) ? Py_NewRef(local_root_of) : NULL;
    Py_XDECREF(old_span_key);
    Py_XDECREF(old_local_root_of);
    Py_RETURN_NONE;
}
