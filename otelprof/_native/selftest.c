/* selftest.c -- see selftest.h. */
#include "compat.h"

#include "clock.h"
#include "objects.h"
#include "selftest.h"

#define ATTEMPTS 8
#define SCRATCH OP_VIEW_BYTES

static bool
refuse(const char *part)
{
    if (!PyErr_Occurred()) {
        PyErr_Format(PyExc_RuntimeError, "the C core cannot run: %s of CPython %s is not laid out as in the headers"
                                         " that it was compiled with",
                     part, Py_GetVersion());
    }
    return false;
}

/* The thread state: ids, and its place in the interpreter's list. */
static bool
check_thread(op_sampler *s, PyThreadState *own)
{
    op_reader *reader = &s->walker.reader;
    op_thread_view thread;
    op_links_view links;
    if (!op_interpreter_is_static(&s->interpreter)
        || op_threads_tick(&s->interpreter).head
               != (uintptr_t)PyInterpreterState_ThreadHead(PyInterpreterState_Main())
        || op_threads_tick(&s->interpreter).made < PyThreadState_GetID(own)) {
        return refuse("the interpreter state");
    }
    if (!op_read_one_tick(reader, (uintptr_t)own, OP_THREAD_BYTES, SCRATCH)) {
        return refuse("the thread state");
    }
    op_thread_parse_tick(reader->view + SCRATCH, &thread);
    op_links_parse_tick(reader->view + SCRATCH, &links);
    if (thread.id != PyThreadState_GetID(own) || thread.ident != PyThread_get_thread_ident()
        || thread.native_id != (uint32_t)PyThread_get_thread_native_id()
        || links.next != (uintptr_t)PyThreadState_Next(own) || links.interpreter != s->interpreter.address) {
        return refuse("the thread state");
    }
    const op_gil_view gil = op_gil_tick(&s->interpreter);
    return (gil.holder == (uintptr_t)own && gil.is_locked
            && op_holds_gil_tick(thread.holds_gil, (uintptr_t)own, &s->interpreter))
           || refuse("the interpreter lock");
}

/* The next frame that is Python's own and has begun: PyFrame_GetBack leaves out the others, such as 3.13's shim
 * around an `__init__`. */
static const op_raw_frame *
next_shown(op_sampler *s, const op_walk *walk, uint32_t *at)
{
    while (*at < walk->count) {
        const op_raw_frame *frame = &s->walker.frames[*at];
        uint32_t number;
        int32_t offset;
        *at += 1;
        if (frame->owner < OP_OWNER_SHIM && !frame->is_gap
            && op_codes_resolve_tick(s->windows[s->active].codes, &s->walker.reader, frame->code, frame->ip,
                                     frame->owner == OP_OWNER_GENERATOR, &number, &offset) != OP_INCOMPLETE) {
            return frame;
        }
    }
    return NULL;
}

/* Whether the core tells this frame's code, instruction and name as the interpreter does. */
static bool
is_same_frame(op_sampler *s, const op_raw_frame *raw, PyFrameObject *frame)
{
    op_codes *codes = s->windows[s->active].codes;
    uint32_t number = 0;
    int32_t offset = 0;
    PyCodeObject *code = PyFrame_GetCode(frame);
    bool is_same = raw != NULL && raw->code == (uintptr_t)code
                   && op_codes_resolve_tick(codes, &s->walker.reader, raw->code, raw->ip,
                                            raw->owner == OP_OWNER_GENERATOR, &number, &offset) == OP_RESOLVED
                   && offset == PyFrame_GetLasti(frame);
    if (is_same && number != OP_CODE_NO_ROOM) {
        uint32_t bytes;
        Py_ssize_t length = 0;
        const uint8_t *text = codes->arena + codes->metas[number].qualname;
        const char *name = PyUnicode_AsUTF8AndSize(code->co_qualname, &length);
        memcpy(&bytes, text, sizeof bytes);
        /* Names that UTF-8 cannot hold or that are cut are not compared. */
        is_same = name == NULL || (size_t)length > OP_NAME_BYTES
                  || (bytes == (uint32_t)length && memcmp(text + sizeof bytes, name, bytes) == 0);
        PyErr_Clear();
    }
    Py_DECREF(code);
    return is_same;
}

static bool
check_frames(op_sampler *s, PyThreadState *own)
{
    static op_prediction prediction; /* large; used under the GIL */
    op_walk walk = {0};
    uint32_t at = 0;
    prediction = (op_prediction){0};
    for (int i = 0; i < ATTEMPTS && (walk.count == 0 || walk.first > 0); i++) {
        op_walk_tick(&s->walker, (uintptr_t)own, PyThreadState_GetID(own), 0, 0, &prediction, &walk);
    }
    PyFrameObject *frame = PyThreadState_GetFrame(own);
    if (frame == NULL) {
        return walk.status == OP_WALK_NO_FRAMES || refuse("the thread state");
    }
    bool is_same = walk.ends_at_root && walk.first == 0;
    /* Deep stacks have a gap and heap frames beyond what is predicted: the leaf-most frames tell enough. */
    for (int depth = 0; is_same && frame != NULL && depth < 64; depth++) {
        is_same = is_same_frame(s, next_shown(s, &walk, &at), frame);
        Py_SETREF(frame, PyFrame_GetBack(frame));
    }
    Py_XDECREF(frame);
    return is_same || refuse("the frame");
}

/* What the walk says of the current context. */
static op_label_state
state_of_context(op_sampler *s, PyThreadState *own)
{
    op_thread_view thread;
    op_label_sighting seen;
    if (!op_read_one_tick(&s->walker.reader, (uintptr_t)own, OP_THREAD_BYTES, SCRATCH)) {
        return OP_LABEL_TORN;
    }
    op_thread_parse_tick(s->walker.reader.view + SCRATCH, &thread);
    return op_label_sight_tick(&s->walker.labels, &s->walker.reader, thread.context, &seen) ? seen.state
                                                                                           : OP_LABEL_TORN;
}

static bool
check_context(op_sampler *s, PyThreadState *own)
{
    PyObject *var = (PyObject *)s->walker.labels.var;
    if (var == NULL) {
        return true;
    }
    PyObject *context = PyContext_New();
    if (context == NULL || PyContext_Enter(context) != 0) {
        Py_XDECREF(context);
        return false;
    }
    const op_label_state before = state_of_context(s, own);
    PyObject *token = PyContextVar_Set(var, Py_None);
    const op_label_state after = state_of_context(s, own);
    Py_XDECREF(token);
    const bool is_good = PyContext_Exit(context) == 0 && token != NULL;
    Py_DECREF(context);
    return (is_good && before == OP_LABEL_NONE && after == OP_LABEL_HIDDEN) || refuse("the context");
}

bool
op_selftest(op_sampler *s)
{
    PyThreadState *own = PyThreadState_Get();
    return check_thread(s, own) && check_frames(s, own) && check_context(s, own);
}
