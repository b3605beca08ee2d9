/* span_ids.c -- see span_ids.h. */
#include "compat.h"

#include "span_ids.h"

/* ---- settings: written with the GIL held ---- */

/* What `set_labels` set. References are strong; code that calls out holds its own, since any call may end
 * in `set_labels`. */
static struct {
    bool enabled;
    PyObject *span_key;      /* NULL while not enabled */
    PyObject *local_root_of; /* may be NULL */
} settings;

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
} names;

/* OpenTelemetry's own classes, whose private state says the same as their methods, and saves the calls.
 * Strong; NULL if this version has no such class, or a different one. */
static struct {
    PyObject *span_context;       /* opentelemetry.trace.SpanContext: a tuple */
    PyObject *span;               /* opentelemetry.sdk.trace._Span: has _context and _parent */
    PyObject *non_recording_span; /* opentelemetry.trace.NonRecordingSpan: has _context, no parent */
} classes;

/* Items of a SpanContext. */
enum { TRACE_ID, SPAN_ID, IS_REMOTE, TRACE_FLAGS, TRACE_STATE, IS_VALID, ITEMS };

static int
intern_names(void)
{
    const struct {
        PyObject **name;
        const char *text;
    } all[] = {
        {&names._context, "_context"},
        {&names._parent, "_parent"},
        {&names.get_span_context, "get_span_context"},
        {&names.is_remote, "is_remote"},
        {&names.is_valid, "is_valid"},
        {&names.parent, "parent"},
        {&names.span_id, "span_id"},
        {&names.trace_flags, "trace_flags"},
        {&names.trace_id, "trace_id"},
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        if (*all[i].name == NULL) {
            *all[i].name = PyUnicode_InternFromString(all[i].text);
        }
        if (*all[i].name == NULL) {
            return -1;
        }
    }
    return 0;
}

/* Look up one of OpenTelemetry's classes; NULL without an exception if there is none. */
static int
find_class(const char *module_name, const char *name, PyObject **type)
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

/* Keep classes.span_context only if its items are in the order that is read here; -1 with an exception. */
static int
check_span_context(void)
{
    if (classes.span_context == NULL) {
        return 0;
    }
    PyObject *sample = PyObject_CallFunction(classes.span_context, "iiO", 2, 3, Py_False);
    const bool is_as_read = sample != NULL && (PyObject *)Py_TYPE(sample) == classes.span_context
                            && PyTuple_Check(sample) && PyTuple_GET_SIZE(sample) == ITEMS
                            && PyLong_Check(PyTuple_GET_ITEM(sample, TRACE_ID))
                            && PyLong_AsLong(PyTuple_GET_ITEM(sample, TRACE_ID)) == 2
                            && PyLong_Check(PyTuple_GET_ITEM(sample, SPAN_ID))
                            && PyLong_AsLong(PyTuple_GET_ITEM(sample, SPAN_ID)) == 3
                            && Py_IsFalse(PyTuple_GET_ITEM(sample, IS_REMOTE))
                            && PyLong_Check(PyTuple_GET_ITEM(sample, TRACE_FLAGS))
                            && Py_IsTrue(PyTuple_GET_ITEM(sample, IS_VALID));
    Py_XDECREF(sample);
    if (!is_as_read) {
        Py_CLEAR(classes.span_context);
    }
    return PyErr_Occurred() && !op_swallowed() ? -1 : 0;
}

static int
find_classes(void)
{
    return find_class("opentelemetry.sdk.trace", "_Span", &classes.span) < 0
                   || find_class("opentelemetry.trace", "NonRecordingSpan", &classes.non_recording_span) < 0
                   || find_class("opentelemetry.trace", "SpanContext", &classes.span_context) < 0
                   || check_span_context() < 0
               ? -1
               : 0;
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
    if (intern_names() < 0 || find_classes() < 0) {
        return NULL;
    }
    PyObject *old_span_key = settings.span_key;
    PyObject *old_local_root_of = settings.local_root_of;
    settings.enabled = enabled;
    settings.span_key = enabled ? Py_NewRef(span_key) : NULL;
    settings.local_root_of = enabled && !Py_IsNone(local_root_of) ? Py_NewRef(local_root_of) : NULL;
    Py_XDECREF(old_span_key);
    Py_XDECREF(old_local_root_of);
    Py_RETURN_NONE;
}

bool
op_labels_are_enabled(void)
{
    return settings.enabled;
}

/* ---- the span and what is around it ---- */

int
op_span_in(PyObject *otel_context, PyObject **span)
{
    PyObject *key = Py_NewRef(settings.span_key);
    *span = PyDict_GetItemWithError(otel_context, key);
    Py_XINCREF(*span);
    Py_DECREF(key);
    return *span == NULL && PyErr_Occurred() ? -1 : 0;
}

/* Steals a span context; returns it, or one of another type as a tuple with its items. NULL stays NULL. */
static PyObject *
as_span_context(PyObject *any)
{
    if (any == NULL || ((PyObject *)Py_TYPE(any) == classes.span_context && PyTuple_GET_SIZE(any) == ITEMS)) {
        return any;
    }
    PyObject *const attributes[ITEMS] = {
        [TRACE_ID] = names.trace_id,
        [SPAN_ID] = names.span_id,
        [IS_REMOTE] = names.is_remote,
        [TRACE_FLAGS] = names.trace_flags,
        [IS_VALID] = names.is_valid,
    };
    PyObject *tuple = PyTuple_New(ITEMS);
    for (Py_ssize_t i = 0; tuple != NULL && i < ITEMS; i++) {
        PyObject *item = attributes[i] == NULL ? Py_NewRef(Py_None) : PyObject_GetAttr(any, attributes[i]);
        if (item == NULL) {
            Py_CLEAR(tuple);
        }
        else {
            PyTuple_SET_ITEM(tuple, i, item);
        }
    }
    Py_DECREF(any);
    return tuple;
}

/* Whether an item of a span context is true; -1 with an exception. */
static int
item_is_true(PyObject *span_context, Py_ssize_t item)
{
    PyObject *value = PyTuple_GET_ITEM(span_context, item);
    return Py_IsTrue(value) ? 1 : Py_IsFalse(value) ? 0 : PyObject_IsTrue(value);
}

PyObject *
op_span_context_of(PyObject *span)
{
    PyObject *type = (PyObject *)Py_TYPE(span);
    if (type == classes.span || type == classes.non_recording_span) {
        return as_span_context(PyObject_GetAttr(span, names._context));
    }
    return as_span_context(PyObject_CallMethodNoArgs(span, names.get_span_context));
}

/* 1 and a new reference to the context of the span's parent, or None; 0: the span keeps no parent; -1 with
 * an exception. */
static int
parent_of(PyObject *span, PyObject **parent)
{
    PyObject *type = (PyObject *)Py_TYPE(span);
    *parent = NULL;
    if (type == classes.non_recording_span) {
        return 0;
    }
    if (type == classes.span) {
        *parent = PyObject_GetAttr(span, names._parent);
    }
    else if (op_optional_attribute(span, names.parent, parent) == 0) {
        return 0;
    }
    if (*parent != NULL && !Py_IsNone(*parent)) {
        *parent = as_span_context(*parent);
    }
    return *parent == NULL ? -1 : 1;
}

/* ---- ids ---- */

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "write_big_endian turns the bytes round");

static void
write_big_endian(uint64_t number, uint8_t *bytes)
{
    number = __builtin_bswap64(number); /* a loop of shifts stays one in gcc 12 */
    memcpy(bytes, &number, sizeof number);
}

/* Write an int as the 8 bytes of a span id; -1 with an exception if it is none. */
static int
write_span_id(PyObject *number, uint8_t *span_id)
{
    uint64_t high, low;
    if (op_int_parse(number, &high, &low) < 0) {
        return -1;
    }
    if (high != 0) {
        PyErr_SetString(PyExc_OverflowError, "not a span id: too big");
        return -1;
    }
    write_big_endian(low, span_id);
    return 0;
}

/* Write an int as the 16 bytes of a trace id; -1 with an exception if it is none. */
static int
write_trace_id(PyObject *number, uint8_t *trace_id)
{
    uint64_t high, low;
    if (op_int_parse(number, &high, &low) < 0) {
        return -1;
    }
    write_big_endian(high, trace_id);
    write_big_endian(low, trace_id + 8);
    return 0;
}

/* As op_span_ids, but for the local root. */
static int
read_span_context(PyObject *span_context, op_label *ids)
{
    const int is_remote = item_is_true(span_context, IS_REMOTE);
    const int is_valid = is_remote == 0 ? item_is_true(span_context, IS_VALID) : 0;
    if (is_remote != 0 || is_valid <= 0) {
        return is_remote < 0 || is_valid < 0 ? -1 : 0;
    }
    uint64_t high, flags;
    if (op_int_parse(PyTuple_GET_ITEM(span_context, TRACE_FLAGS), &high, &flags) < 0) {
        return -1;
    }
    ids->flags = flags & 1 ? OP_LABEL_SAMPLED : 0; /* W3C Trace Context, "sampled flag" */
    if (write_trace_id(PyTuple_GET_ITEM(span_context, TRACE_ID), ids->trace_id) < 0
        || write_span_id(PyTuple_GET_ITEM(span_context, SPAN_ID), ids->span_id) < 0) {
        return -1;
    }
    return 1;
}

/* ---- the local root ---- */

static void
set_root(op_label *ids, const uint8_t *span_id)
{
    memcpy(ids->local_root_span_id, span_id, sizeof ids->local_root_span_id);
}

/* Whether a label is of the same trace as `ids`, with a known root. */
static bool
may_inherit_root(const op_label *ids, const op_label_object *current)
{
    return current != NULL && op_is_same_trace(&current->label, ids)
           && op_eight_bytes(current->label.local_root_span_id) != 0;
}

static int
ask_for_root(PyObject *span, op_label *ids)
{
    if (settings.local_root_of == NULL) {
        return 0;
    }
    PyObject *local_root_of = Py_NewRef(settings.local_root_of);
    PyObject *root = PyObject_CallOneArg(local_root_of, span);
    Py_DECREF(local_root_of);
    if (root == NULL) {
        return -1;
    }
    const int result = write_span_id(root, ids->local_root_span_id);
    Py_DECREF(root);
    return result;
}

/* 1: `current` is the label of the span whose context is `parent`; 0: it is not; -1 with an exception. */
static int
is_label_of(const op_label_object *current, PyObject *parent)
{
    if (parent == current->span_context) {
        return 1;
    }
    uint8_t parent_id[sizeof current->label.span_id];
    if (write_span_id(PyTuple_GET_ITEM(parent, SPAN_ID), parent_id) < 0) {
        return -1;
    }
    return op_eight_bytes(current->label.span_id) == op_eight_bytes(parent_id);
}

/* Fill in the local root, given the context of the span's parent, or None. Returns -1 with an exception. */
static int
find_root_above(PyObject *parent, PyObject *span, op_label *ids, const op_label_object *current)
{
    const int is_root = Py_IsNone(parent) ? 1 : item_is_true(parent, IS_REMOTE);
    if (is_root != 0) {
        set_root(ids, ids->span_id);
        return is_root < 0 ? -1 : 0;
    }
    const int inherits = may_inherit_root(ids, current) ? is_label_of(current, parent) : 0;
    if (inherits > 0) {
        set_root(ids, current->label.local_root_span_id);
        return 0;
    }
    return inherits < 0 ? -1 : ask_for_root(span, ids);
}

/* Fill in the local root, zeros if it is not known. Returns -1 with an exception. */
static int
find_root(PyObject *span, op_label *ids, const op_label_object *current)
{
    PyObject *parent;
    int found = parent_of(span, &parent);
    if (found == 1) {
        found = find_root_above(parent, span, ids, current);
        Py_DECREF(parent);
        return found;
    }
    if (found == 0 && may_inherit_root(ids, current)) {
        set_root(ids, current->label.local_root_span_id);
        return 0;
    }
    return found == 0 ? ask_for_root(span, ids) : -1;
}

int
op_span_ids(PyObject *span, PyObject *span_context, const op_label_object *current, op_label *ids)
{
    *ids = (op_label){.flags = 0};
    const int found = read_span_context(span_context, ids);
    if (found == 1 && find_root(span, ids, current) < 0) {
        if (!op_swallowed()) {
            return -1;
        }
        memset(ids->local_root_span_id, 0, sizeof ids->local_root_span_id);
    }
    return found;
}
