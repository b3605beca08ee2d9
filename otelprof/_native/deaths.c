/* deaths.c -- see deaths.h. */
#include "compat.h"

#include "deaths.h"

#include <stdatomic.h>

static _Atomic uintptr_t ring[OP_DEATHS_KEPT]; /* written by the holder of the main interpreter's GIL */
static _Atomic uint64_t died;                  /* the same; published after the entry */

static void
note_death(const void *code)
{
    const uint64_t number = atomic_load_explicit(&died, memory_order_relaxed);
    atomic_store_explicit(&ring[number % OP_DEATHS_KEPT], (uintptr_t)code, memory_order_relaxed);
    atomic_store_explicit(&died, number + 1, memory_order_release);
}

uint64_t
op_deaths_count_tick(void)
{
    return atomic_load_explicit(&died, memory_order_acquire);
}

uintptr_t
op_deaths_at_tick(uint64_t number)
{
    return atomic_load_explicit(&ring[number % OP_DEATHS_KEPT], memory_order_acquire);
}

#if OP_HAS_CODE_WATCHER

static int
on_code_event(PyCodeEvent event, PyCodeObject *code)
{
    if (event == PY_CODE_EVENT_DESTROY) {
        note_death(code);
    }
    return 0;
}

bool
op_deaths_watch(void)
{
    /* Watchers are the interpreter's: after Py_FinalizeEx and Py_InitializeEx there are none. */
    static int watcher = -1;
    const PyInterpreterState *main = PyInterpreterState_Main();
    if (watcher < 0 || main->code_watchers[watcher] != on_code_event) {
        watcher = PyCode_AddWatcher(on_code_event);
    }
    return watcher >= 0;
}

#else

static destructor dealloc_of_code; /* NULL: not wrapped yet */

static void
dealloc_and_note(PyObject *code)
{
    note_death(code);
    dealloc_of_code(code);
}

bool
op_deaths_watch(void)
{
    if (dealloc_of_code == NULL) {
        /* Another tool may wrap the slot too; each calls the one it found, and we never put it back. */
        dealloc_of_code = PyCode_Type.tp_dealloc;
        PyCode_Type.tp_dealloc = dealloc_and_note;
    }
    return true;
}

#endif
