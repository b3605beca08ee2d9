/* label_object.c -- see label_object.h. */
#include "label_object.h"

#ifndef OP_FREE_LABELS
#define OP_FREE_LABELS 256 /* an attach needs one; more than this are seldom freed at once */
#endif

/* ---- its life ---- */

/* Labels to be used again. Written with the GIL held. */
static op_label_object *free_labels[OP_FREE_LABELS];
static size_t free_count;

/* The sampler may be reading: a label is marked after it is whole, and unmarked before it falls apart. */
static void
mark(op_label_object *label, uint64_t magic)
{
    atomic_thread_fence(memory_order_release);
    *(volatile uint64_t *)&label->magic = magic;
    atomic_thread_fence(memory_order_release);
}

PyObject *
op_label_new(PyObject *otel_context, PyObject *span, PyObject *span_context, const op_label *ids)
{
    op_label_object *label;
    if (free_count > 0) {
        label = free_labels[--free_count];
        (void)PyObject_Init((PyObject *)label, &op_label_type);
    }
    else {
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
    mark(label, OP_LABEL_MAGIC);
    PyObject_GC_Track(label);
    return (PyObject *)label;
}

PyObject *
op_label_new_no_span(PyObject *otel_context)
{
    const op_label ids = {.flags = OP_LABEL_NO_SPAN};
    return op_label_new(otel_context, NULL, NULL, &ids);
}

PyObject *
op_label_new_unknown_span(PyObject *otel_context)
{
    const op_label ids = {.flags = 0};
    return op_label_new(otel_context, NULL, NULL, &ids);
}

static void
label_dealloc(PyObject *self)
{
    op_label_object *label = (op_label_object *)self;
    PyObject_GC_UnTrack(self);
    mark(label, 0);
    label->self = NULL;
    Py_CLEAR(label->otel_context);
    Py_CLEAR(label->span);
    Py_CLEAR(label->span_context);
    if (free_count < OP_FREE_LABELS) {
        free_labels[free_count++] = label;
    }
    else {
        PyObject_GC_Del(self);
    }
}

/* No tp_clear, as a tuple has none: a label never changes, so every cycle through it has a dict to be broken
 * at, and `otel_context` is never NULL while anyone can look. */
static int
label_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(((op_label_object *)self)->otel_context);
    Py_VISIT(((op_label_object *)self)->span);
    Py_VISIT(((op_label_object *)self)->span_context);
    return 0;
}

/* ---- what Python sees of it ---- */

static void
write_hex(char *text, const uint8_t *bytes, size_t size)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < size; i++) {
        text[2 * i] = digits[bytes[i] >> 4];
        text[2 * i + 1] = digits[bytes[i] & 0xF];
    }
    text[2 * size] = '\0';
}

static PyObject *
label_repr(PyObject *self)
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
    write_hex(trace, ids->trace_id, sizeof ids->trace_id);
    write_hex(span, ids->span_id, sizeof ids->span_id);
    write_hex(root, ids->local_root_span_id, sizeof ids->local_root_span_id);
    return PyUnicode_FromFormat(
        "<otelprof._core.Label trace_id=%s span_id=%s local_root_span_id=%s is_sampled=%s>", trace, span, root,
        ids->flags & OP_LABEL_SAMPLED ? "True" : "False");
}

static PyObject *
get_context(PyObject *self, void *Py_UNUSED(closure))
{
    return Py_NewRef(((op_label_object *)self)->otel_context);
}

static PyObject *
get_trace_id(PyObject *self, void *Py_UNUSED(closure))
{
    const op_label *ids = &((op_label_object *)self)->label;
    return PyBytes_FromStringAndSize((const char *)ids->trace_id, sizeof ids->trace_id);
}

static PyObject *
get_span_id(PyObject *self, void *Py_UNUSED(closure))
{
    const op_label *ids = &((op_label_object *)self)->label;
    return PyBytes_FromStringAndSize((const char *)ids->span_id, sizeof ids->span_id);
}

static PyObject *
get_local_root_span_id(PyObject *self, void *Py_UNUSED(closure))
{
    const op_label *ids = &((op_label_object *)self)->label;
    return PyBytes_FromStringAndSize((const char *)ids->local_root_span_id, sizeof ids->local_root_span_id);
}

static PyObject *
get_is_sampled(PyObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong((((op_label_object *)self)->label.flags & OP_LABEL_SAMPLED) != 0);
}

static PyObject *
get_has_span(PyObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong((((op_label_object *)self)->label.flags & OP_LABEL_NO_SPAN) == 0);
}

static PyGetSetDef attributes[] = {
    {"has_span", get_has_span, NULL, "whether a span of this process is current", NULL},
    {"context", get_context, NULL, "the OpenTelemetry context that was attached", NULL},
    {"trace_id", get_trace_id, NULL, "16 bytes, big endian; zeros: a span that is not known", NULL},
    {"span_id", get_span_id, NULL, "8 bytes, big endian", NULL},
    {"local_root_span_id", get_local_root_span_id, NULL, "8 bytes; zeros if not known", NULL},
    {"is_sampled", get_is_sampled, NULL, "the sampled flag of the span", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyTypeObject op_label_type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "otelprof._core.Label",
    .tp_basicsize = sizeof(op_label_object),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_doc = PyDoc_STR("What stands in OpenTelemetry's ContextVar while a span of this process is current."),
    .tp_dealloc = label_dealloc,
    .tp_traverse = label_traverse,
    .tp_repr = label_repr,
    .tp_getset = attributes,
};
