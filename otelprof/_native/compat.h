/* compat.h -- CPython's layouts: the only file that knows versions.
 *
 * Everything that is read from foreign memory is copied first; the functions here take such a copy apart.
 * Fields are found by `offsetof` in the headers of the minor version that the module is compiled for. What
 * moves inside a minor series is not used, and what must not move is proved at start (selftest.c).
 *
 *   _tick      in the sampler's loop; no malloc, no locks, no Python
 *   (none)     with an attached thread state, as any CPython API
 */
#ifndef OP_COMPAT_H
#define OP_COMPAT_H

#define PY_SSIZE_T_CLEAN
#ifndef Py_BUILD_CORE
#define Py_BUILD_CORE 1
#endif

#pragma GCC diagnostic push /* CPython's headers are not ours to mend */
#pragma GCC diagnostic ignored "-Wpedantic"
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wunused-parameter"
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#pragma GCC diagnostic ignored "-Wcast-qual"
#include <Python.h>
#include "internal/pycore_runtime.h"
#include "internal/pycore_interp.h"
#include "internal/pycore_frame.h"
#include "internal/pycore_context.h"
#include "internal/pycore_hamt.h"
#if PY_VERSION_HEX >= 0x030E0000
#include "internal/pycore_interpframe_structs.h"
#include "internal/pycore_stackref.h"
#endif
#pragma GCC diagnostic pop

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if PY_VERSION_HEX < 0x030B0000 || PY_VERSION_HEX >= 0x03100000
#error "the layouts of this CPython are not known: 3.11 to 3.15 are"
#endif
#ifdef Py_GIL_DISABLED
#error "free-threaded CPython is not known to the core"
#endif

/* ---- thread states ---- */

/* As much of a PyThreadState as is copied. */
#define OP_THREAD_BYTES (offsetof(PyThreadState, datastack_limit) + sizeof(void *))

/* Of it, what tells that no Context was entered or left: `context` and `context_ver` behind it. */
#define OP_BRACKET_OFFSET offsetof(PyThreadState, context)
#define OP_BRACKET_BYTES (2 * sizeof(uint64_t))
_Static_assert(offsetof(PyThreadState, context_ver) == OP_BRACKET_OFFSET + sizeof(uint64_t), "context_ver");

typedef struct {
    uint64_t id;    /* unique in its interpreter, so it tells a reused address */
    uint64_t ident; /* `threading.get_ident()` */
    uint32_t native_id;
    uintptr_t context;
    uint64_t context_ver; /* changes when a Context is entered or left */
    uintptr_t link;       /* where the innermost frame hangs: see OP_THREAD_HAS_CFRAME */
    uintptr_t chunk;      /* top chunk of the data stack */
    uintptr_t chunk_top;  /* its first free byte */
    uintptr_t root;       /* the frame that ends every walk; 0: a walk ends at `previous == NULL` */
    bool holds_gil;       /* from 3.13 on: see op_holds_gil_tick */
} op_thread_view;

static inline uintptr_t
op_bracket_context_tick(const void *copy)
{
    uintptr_t context;
    memcpy(&context, copy, sizeof context);
    return context;
}

/* 3.11 and 3.12 keep the innermost frame in a `_PyCFrame` on the C stack, so there is one more hop. */
#if PY_VERSION_HEX < 0x030D0000
#define OP_THREAD_HAS_CFRAME 1
#define OP_CFRAME_BYTES sizeof(_PyCFrame)
#else
#define OP_THREAD_HAS_CFRAME 0
#define OP_CFRAME_BYTES 8
#endif

static inline uintptr_t
op_cframe_top_tick(const void *copy)
{
#if OP_THREAD_HAS_CFRAME
    _PyCFrame cframe;
    memcpy(&cframe, copy, sizeof cframe);
    return (uintptr_t)cframe.current_frame;
#else
    (void)copy;
    return 0;
#endif
}

static inline void
op_thread_parse_tick(const void *copy, op_thread_view *out)
{
    /* Not a whole PyThreadState: only fields below OP_THREAD_BYTES may be looked at. */
    const PyThreadState *ts = (const PyThreadState *)copy;
    out->id = ts->id;
    out->ident = (uint64_t)ts->thread_id;
    out->native_id = (uint32_t)ts->native_thread_id;
    out->context = (uintptr_t)ts->context;
    out->context_ver = ts->context_ver;
    out->chunk = (uintptr_t)ts->datastack_chunk;
    out->chunk_top = (uintptr_t)ts->datastack_top;
#if OP_THREAD_HAS_CFRAME
    out->link = (uintptr_t)ts->cframe;
#else
    out->link = (uintptr_t)ts->current_frame;
#endif
#if PY_VERSION_HEX >= 0x030F0000 /* gh-140643: the base frame is embedded in the thread state */
    out->root = (uintptr_t)ts->base_frame;
#else
    out->root = 0;
#endif
#if PY_VERSION_HEX >= 0x030E0000
    out->holds_gil = ts->holds_gil != 0;
#elif PY_VERSION_HEX >= 0x030D0000
    out->holds_gil = ts->_status.holds_gil != 0;
#else
    out->holds_gil = false;
#endif
}

/* ---- the main interpreter, which lies in static memory: what stands here is read in place ---- */

/* How many thread states there have ever been, and which is the newest. */
typedef struct {
    uint64_t made;
    uintptr_t head;
} op_threads_view;

typedef struct {
    uintptr_t holder; /* thread state that has the GIL, or had it last */
    uint64_t switches; /* how often it went from one to another */
    bool is_locked;
} op_gil_view;

typedef struct {
    uintptr_t address, threads, gil; /* all are addresses */
} op_interpreter;

_Static_assert(offsetof(PyInterpreterState, threads.head)
                   == offsetof(PyInterpreterState, threads.next_unique_id) + sizeof(uint64_t),
               "op_threads_view");

static inline void
op_interpreter_find(op_interpreter *out)
{
    PyInterpreterState *interp = PyInterpreterState_Main();
    out->address = (uintptr_t)interp;
#if PY_VERSION_HEX >= 0x030D0000 /* offsets move inside a minor series; the interpreter tells its own */
    const _Py_DebugOffsets *offsets = &_PyRuntime.debug_offsets;
    out->threads = (uintptr_t)interp + (uintptr_t)offsets->interpreter_state.threads_head - sizeof(uint64_t);
    out->gil = (uintptr_t)interp + (uintptr_t)offsets->interpreter_state.gil_runtime_state;
#elif PY_VERSION_HEX >= 0x030C0000
    out->threads = (uintptr_t)&interp->threads.next_unique_id;
    out->gil = (uintptr_t)&interp->_gil;
#else
    out->threads = (uintptr_t)&interp->threads.next_unique_id;
    out->gil = (uintptr_t)&_PyRuntime.ceval.gil;
#endif
}

/* Whether it lies where it never goes away (pycore_runtime.h, `_main_interpreter`). */
static inline bool
op_interpreter_is_static(const op_interpreter *interpreter)
{
    const uintptr_t runtime = (uintptr_t)&_PyRuntime;
    return interpreter->threads - runtime < sizeof _PyRuntime && interpreter->gil - runtime < sizeof _PyRuntime;
}

static inline op_threads_view
op_threads_tick(const op_interpreter *interpreter)
{
    return (op_threads_view){
        __atomic_load_n((const uint64_t *)interpreter->threads, __ATOMIC_ACQUIRE),
        __atomic_load_n((const uintptr_t *)(interpreter->threads + sizeof(uint64_t)), __ATOMIC_ACQUIRE),
    };
}

static inline op_gil_view
op_gil_tick(const op_interpreter *interpreter)
{
    const uintptr_t gil = interpreter->gil;
    return (op_gil_view){
        __atomic_load_n((const uintptr_t *)(gil + offsetof(struct _gil_runtime_state, last_holder)),
                        __ATOMIC_ACQUIRE),
        __atomic_load_n((const unsigned long *)(gil + offsetof(struct _gil_runtime_state, switch_number)),
                        __ATOMIC_ACQUIRE),
        __atomic_load_n((const int *)(gil + offsetof(struct _gil_runtime_state, locked)), __ATOMIC_ACQUIRE) == 1,
    };
}

/* From 3.13 on a thread state says whether it holds the GIL (`says`); before, only the GIL says who does. */
static inline bool
op_holds_gil_tick(bool says, uintptr_t thread, const op_interpreter *interpreter)
{
#if PY_VERSION_HEX >= 0x030D0000
    (void)thread;
    (void)interpreter;
    return says;
#else
    (void)says;
    const op_gil_view gil = op_gil_tick(interpreter);
    return gil.is_locked && gil.holder == thread;
#endif
}

/* Whether the interpreter is being torn down. Needs no thread state. */
static inline bool
op_is_finalizing_tick(void)
{
#if PY_VERSION_HEX >= 0x030D0000
    return Py_IsFinalizing() != 0;
#else
    return _Py_IsFinalizing() != 0;
#endif
}

/* ---- frames and their data stack ---- */

#define OP_FRAME_BYTES offsetof(_PyInterpreterFrame, localsplus)
#define OP_CHUNK_HEADER_BYTES offsetof(_PyStackChunk, data)

typedef struct {
    uintptr_t code; /* 0: a popped frame */
    uintptr_t previous;
    uintptr_t ip; /* of the instruction that runs, or of the unit before the next one: as `f_lasti` wants */
    uint8_t owner;
    bool may_be_leaf; /* false: it cannot be running now, so it was popped, or is not begun */
} op_frame_view;

enum { OP_OWNER_GENERATOR = 1, OP_OWNER_SHIM = 3 };
/* Owners from 3 on are no Python code: entries from C (3.12: CSTACK; 3.14: INTERPRETER). The name
 * FRAME_OWNED_BY_CSTACK is gone from 3.15, hence the number. */
_Static_assert((int)FRAME_OWNED_BY_GENERATOR == (int)OP_OWNER_GENERATOR, "owner of generators' frames");

static inline void
op_frame_parse_tick(const void *copy, op_frame_view *out)
{
    const _PyInterpreterFrame *frame = (const _PyInterpreterFrame *)copy;
#if PY_VERSION_HEX >= 0x030E0000
    out->code = (uintptr_t)frame->f_executable.bits & ~(uintptr_t)3; /* stackref tags; masked 0 is NULL */
#elif PY_VERSION_HEX >= 0x030D0000
    out->code = (uintptr_t)frame->f_executable;
#else
    out->code = (uintptr_t)frame->f_code;
#endif
    out->previous = (uintptr_t)frame->previous;
#if PY_VERSION_HEX >= 0x030D0000
    out->ip = (uintptr_t)frame->instr_ptr;
#else
    out->ip = (uintptr_t)frame->prev_instr;
#endif
    out->owner = (uint8_t)frame->owner;
#if PY_VERSION_HEX >= 0x030E0000 /* its code object is cleared when it is popped */
    out->may_be_leaf = out->code != 0;
#else /* while it runs its stack pointer is the interpreter's own affair (ceval.c, SET_LOCALS_FROM_FRAME) */
    out->may_be_leaf = frame->stacktop == -1;
#endif
}

/* Whether the chain of frames ends rightly at the outermost one that was read: `last` is its address. */
static inline bool
op_frame_is_root_tick(const op_frame_view *frame, uintptr_t last, const op_thread_view *thread)
{
#if PY_VERSION_HEX >= 0x030C0000
    /* From 3.15 on the embedded base frame (`root`), but not of a greenlet, which begins with none above it. */
    return (thread->root != 0 && last == thread->root) || (frame->owner >= OP_OWNER_SHIM && frame->previous == 0);
#else
    (void)last;
    (void)thread;
    return frame->previous == 0 && frame->owner != OP_OWNER_GENERATOR;
#endif
}

static inline uintptr_t
op_chunk_previous_tick(const void *copy)
{
    return (uintptr_t)((const _PyStackChunk *)copy)->previous;
}

static inline size_t
op_chunk_bytes_tick(const void *copy)
{
    return ((const _PyStackChunk *)copy)->size;
}

/* Bytes of an older chunk that are in use, its header included; of the top chunk, `datastack_top` tells. */
static inline size_t
op_chunk_used_tick(const void *copy)
{
    const _PyStackChunk *chunk = (const _PyStackChunk *)copy;
    size_t slots = chunk->top;
    size_t most = chunk->size / sizeof(void *);
    return OP_CHUNK_HEADER_BYTES + sizeof(void *) * (slots < most ? slots : most);
}

/* ---- code objects ---- */

#define OP_CODE_BYTES offsetof(PyCodeObject, co_code_adaptive)

typedef struct {
    uintptr_t type;
    uintptr_t filename, qualname, linetable;
    int32_t first_line;
    uint32_t first_traceable_bytes;
    uint32_t instruction_bytes;
} op_code_view;

static inline bool
op_code_parse_tick(const void *copy, op_code_view *out)
{
    const PyCodeObject *code = (const PyCodeObject *)copy;
    const Py_ssize_t units = code->ob_base.ob_size;
    out->type = (uintptr_t)code->ob_base.ob_base.ob_type;
    out->filename = (uintptr_t)code->co_filename;
    out->qualname = (uintptr_t)code->co_qualname;
    out->linetable = (uintptr_t)code->co_linetable;
    out->first_line = code->co_firstlineno;
    if (units <= 0 || units > INT32_MAX / 4 || code->_co_firsttraceable < 0
        || code->_co_firsttraceable > INT32_MAX / 4) {
        return false;
    }
    out->first_traceable_bytes = (uint32_t)code->_co_firsttraceable * 2u;
    out->instruction_bytes = (uint32_t)units * 2u;
    return true;
}

/* ---- objects, by those who hold the GIL ---- */

_Static_assert(PyLong_SHIFT == 30, "op_int_parse takes digits of 30 bits");

/* Read an int below 2**128. Returns -1 with an exception for anything else.
 *
 * Of digits: that saves the calls of _PyLong_AsByteArray and PyLong_AsNativeBytes. Count and sign of the digits
 * lie in `lv_tag` since 3.12 (gh-101291); before, they were ob_size. */
static inline int
op_int_parse(PyObject *number, uint64_t *high, uint64_t *low)
{
    if (!PyLong_Check(number)) {
        PyErr_Format(PyExc_TypeError, "expected an int, not %s", Py_TYPE(number)->tp_name);
        return -1;
    }
#if PY_VERSION_HEX >= 0x030C0000
    const digit *digits = ((PyLongObject *)number)->long_value.ob_digit;
    const uintptr_t tag = ((PyLongObject *)number)->long_value.lv_tag;
    const size_t count = tag >> 3;
    const bool is_negative = (tag & 3) == 2;
#else
    const digit *digits = ((PyLongObject *)number)->ob_digit;
    const Py_ssize_t signed_count = Py_SIZE(number);
    const bool is_negative = signed_count < 0;
    const size_t count = is_negative ? 0 : (size_t)signed_count;
#endif
    const uint64_t first = count > 0 ? digits[0] : 0;
    const uint64_t second = count > 1 ? digits[1] : 0;
    const uint64_t third = count > 2 ? digits[2] : 0;
    const uint64_t fourth = count > 3 ? digits[3] : 0;
    const uint64_t fifth = count > 4 ? digits[4] : 0;
    if (is_negative || count > 5 || fifth >> 8 != 0) {
        PyErr_SetString(PyExc_OverflowError, "not an id: negative or too big");
        return -1;
    }
    *low = first | second << 30 | third << 60;
    *high = third >> 4 | fourth << 26 | fifth << 56;
    return 0;
}

/* 1 and a new reference to an attribute; 0 and NULL if there is none; -1 and NULL with an exception.
 *
 * PyObject_GetOptionalAttr is new in 3.13 (gh-106521); before, it was private. */
static inline int
op_optional_attribute(PyObject *owner, PyObject *name, PyObject **value)
{
#if PY_VERSION_HEX >= 0x030D0000
    return PyObject_GetOptionalAttr(owner, name, value);
#else
    return _PyObject_LookupAttr(owner, name, value);
#endif
}

/* ---- how code objects die ---- */

/* From 3.12 the interpreter tells (gh-91054); before, the type's `tp_dealloc` is ours to wrap. */
#define OP_HAS_CODE_WATCHER (PY_VERSION_HEX >= 0x030C0000)

#endif
