/* handover.c -- see handover.h. */
#include "handover.h"

#include "location.h"

#include <stdbool.h>
#include <string.h>

/* Put `value`, which is stolen, into `dict`. */
static bool
put(PyObject *dict, const char *name, PyObject *value)
{
    const bool is_put = value != NULL && PyDict_SetItemString(dict, name, value) == 0;
    Py_XDECREF(value);
    return is_put;
}

static PyObject *
new_column(size_t rows, size_t bytes)
{
    return PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(rows * bytes));
}

/* A column: one field of each of `rows` structs of `stride` bytes that begin at `first`. */
static PyObject *
column(const void *first, size_t rows, size_t stride, size_t field_bytes)
{
    PyObject *bytes = new_column(rows, field_bytes);
    if (bytes != NULL) {
        char *to = PyBytes_AS_STRING(bytes);
        const char *from = first;
        for (size_t i = 0; i < rows; i++) {
            memcpy(to + i * field_bytes, from + i * stride, field_bytes);
        }
    }
    return bytes;
}

static bool
put_groups(PyObject *dict, const op_window *w)
{
    const op_group *g = w->groups;
    const size_t n = w->group_count, stride = sizeof *g;
    return put(dict, "stack", column(&g->stack, n, stride, sizeof g->stack))
           && put(dict, "label", column(&g->label, n, stride, sizeof g->label))
           && put(dict, "thread", column(&g->thread, n, stride, sizeof g->thread))
           && put(dict, "flags", column(&g->flags, n, stride, sizeof g->flags))
           && put(dict, "samples", column(&g->samples, n, stride, sizeof g->samples))
           && put(dict, "wall_ns", column(&g->wall_ns, n, stride, sizeof g->wall_ns))
           && put(dict, "cpu_ns", column(&g->cpu_ns, n, stride, sizeof g->cpu_ns))
           && put(dict, "first_ns", column(&g->first_ns, n, stride, sizeof g->first_ns))
           && put(dict, "last_ns", column(&g->last_ns, n, stride, sizeof g->last_ns));
}

static bool
put_stacks(PyObject *dict, const op_window *w)
{
    PyObject *ends = new_column(w->stack_count, sizeof(uint32_t));
    for (uint32_t i = 0; ends != NULL && i < w->stack_count; i++) {
        const uint32_t end = w->stacks[i].begin + w->stacks[i].count;
        memcpy(PyBytes_AS_STRING(ends) + i * sizeof end, &end, sizeof end);
    }
    return put(dict, "stack_ends", ends)
           && put(dict, "stack_places",
                  column(w->stack_data, w->stack_data_count, sizeof *w->stack_data, sizeof *w->stack_data));
}

static PyObject *
text_of(const op_codes *codes, uint32_t offset)
{
    uint32_t bytes;
    memcpy(&bytes, codes->arena + offset, sizeof bytes);
    return PyUnicode_DecodeUTF8((const char *)codes->arena + offset + sizeof bytes, (Py_ssize_t)bytes, "replace");
}

static PyObject *
code_tuple(const op_codes *codes, uint32_t code)
{
    if (code < OP_CODES_SYNTHETIC) {
        return Py_BuildValue("(ssi)", "", op_synthetic_names[code], 0);
    }
    const op_code_meta *meta = &codes->metas[code];
    PyObject *filename = text_of(codes, meta->filename);
    PyObject *qualname = filename == NULL ? NULL : text_of(codes, meta->qualname);
    if (qualname == NULL) {
        Py_XDECREF(filename);
        return NULL;
    }
    return Py_BuildValue("(NNi)", filename, qualname, (int)meta->first_line);
}

/* The row of a code object in `list`, which `rows` (by code number, row + 1) knows. UINT32_MAX: exception. */
static uint32_t
row_of_code(const op_codes *codes, uint32_t code, uint32_t *rows, PyObject *list)
{
    if (rows[code] == 0) {
        PyObject *tuple = code_tuple(codes, code);
        if (tuple == NULL || PyList_Append(list, tuple) != 0) {
            Py_XDECREF(tuple);
            return UINT32_MAX;
        }
        Py_DECREF(tuple);
        rows[code] = (uint32_t)PyList_GET_SIZE(list);
    }
    return rows[code] - 1;
}

typedef struct {
    PyObject *codes, *code, *line, *column;
} place_columns;

static bool
fill_places(const op_window *w, uint32_t *rows, place_columns *to)
{
    for (uint32_t i = 0; i < w->place_count; i++) {
        const op_place *place = &w->places[i];
        const uint32_t row = row_of_code(w->codes, place->code, rows, to->codes);
        int32_t line = 0, column_number = 0;
        if (row == UINT32_MAX) {
            return false;
        }
        if (place->code >= OP_CODES_SYNTHETIC) {
            const op_code_meta *meta = &w->codes->metas[place->code];
            op_location_find(w->codes->arena + meta->linetable, meta->linetable_bytes, meta->first_line,
                             place->offset, &line, &column_number);
        }
        memcpy(PyBytes_AS_STRING(to->code) + i * sizeof row, &row, sizeof row);
        memcpy(PyBytes_AS_STRING(to->line) + i * sizeof line, &line, sizeof line);
        memcpy(PyBytes_AS_STRING(to->column) + i * sizeof line, &column_number, sizeof line);
    }
    return true;
}

static bool
put_places(PyObject *dict, const op_window *w)
{
    uint32_t *rows = PyMem_Calloc(OP_CODES_MOST, sizeof *rows);
    place_columns columns = {
        PyList_New(0),
        new_column(w->place_count, sizeof(uint32_t)),
        new_column(w->place_count, sizeof(int32_t)),
        new_column(w->place_count, sizeof(int32_t)),
    };
    bool is_good = rows != NULL && columns.codes != NULL && columns.code != NULL && columns.line != NULL
                   && columns.column != NULL && fill_places(w, rows, &columns);
    PyMem_Free(rows);
    if (!is_good && !PyErr_Occurred()) {
        PyErr_NoMemory();
    }
    is_good = put(dict, "codes", columns.codes) && is_good;
    is_good = put(dict, "place_code", columns.code) && is_good;
    is_good = put(dict, "place_line", columns.line) && is_good;
    return put(dict, "place_column", columns.column) && is_good;
}

static bool
put_labels(PyObject *dict, const op_window *w)
{
    PyObject *list = PyList_New((Py_ssize_t)w->label_count);
    for (uint32_t i = 0; list != NULL && i < w->label_count; i++) {
        const op_label *label = &w->labels[i];
        PyObject *item = i < OP_LABELS_RESERVED
                             ? Py_NewRef(Py_None)
                             : Py_BuildValue("(y#y#y#O)", label->trace_id, (Py_ssize_t)sizeof label->trace_id,
                                             label->span_id, (Py_ssize_t)sizeof label->span_id,
                                             label->local_root_span_id,
                                             (Py_ssize_t)sizeof label->local_root_span_id,
                                             label->flags & OP_LABEL_SAMPLED ? Py_True : Py_False);
        if (item == NULL) {
            Py_CLEAR(list);
        }
        else {
            PyList_SET_ITEM(list, (Py_ssize_t)i, item);
        }
    }
    return put(dict, "labels", list);
}

static bool
put_threads(PyObject *dict, const op_window *w)
{
    PyObject *list = PyList_New((Py_ssize_t)w->thread_count);
    for (uint32_t i = 0; list != NULL && i < w->thread_count; i++) {
        PyObject *item = Py_BuildValue("(KI)", (unsigned long long)w->threads[i].ident,
                                       (unsigned int)w->threads[i].native_id);
        if (item == NULL) {
            Py_CLEAR(list);
        }
        else {
            PyList_SET_ITEM(list, (Py_ssize_t)i, item);
        }
    }
    return put(dict, "threads", list);
}

static bool
put_losses(PyObject *dict, const op_window *w)
{
    PyObject *losses = PyDict_New();
    for (uint32_t i = 0; losses != NULL && i < OP_LOSSES; i++) {
        if (w->losses[i] > 0
            && !put(losses, op_loss_names[i], PyLong_FromUnsignedLongLong(w->losses[i]))) {
            Py_CLEAR(losses);
        }
    }
    return put(dict, "losses", losses);
}

PyObject *
op_handover(const op_window *w)
{
    PyObject *dict = PyDict_New();
    if (dict != NULL
        && put(dict, "start_ns", PyLong_FromUnsignedLongLong(w->start_ns))
        && put(dict, "end_ns", PyLong_FromUnsignedLongLong(w->end_ns)) && put_groups(dict, w)
        && put_stacks(dict, w) && put_places(dict, w) && put_labels(dict, w) && put_threads(dict, w)
        && put_losses(dict, w)) {
        return dict;
    }
    Py_XDECREF(dict);
    return NULL;
}
