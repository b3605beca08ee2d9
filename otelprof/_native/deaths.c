/* deaths.c -- see deaths.h. */
#include "compat.h"

#include "deaths.h"
#include "objects.h"

op_deaths op_code_deaths;
_Atomic uint32_t op_generations[OP_GENERATIONS];

static void
note_death(op_deaths *deaths, const void *who)
{
    const uint64_t number = atomic_load_explicit(&deaths->count, memory_order_relaxed);
    atomic_store_explicit(&deaths->ring[number % OP_DEATHS_KEPT], (uintptr_t)who, memory_order_relaxed);
    atomic_store_explicit(&deaths->count, number + 1, memory_order_release);
}

/* Another tool may wrap these slots too; each calls what it found, and we never put that back. NULL: not wrapped
 * yet. */
static destructor dealloc_of_context, dealloc_of_trie;

static void
count_death(const void *who)
{
    /* The threads of other interpreters have GILs of their own, and are not sampled. */
    if (PyInterpreterState_Get() == PyInterpreterState_Main()) {
        _Atomic uint32_t *generation = &op_generations[(op_hash_add(0, (uintptr_t)who >> 4) >> 32) % OP_GENERATIONS];
        const uint32_t before = atomic_load_explicit(generation, memory_order_relaxed);
        atomic_store_explicit(generation, before + 1, memory_order_release);
        atomic_thread_fence(memory_order_release); /* before its memory is written to */
    }
}

static void
dealloc_context(PyObject *context)
{
    count_death(context);
    dealloc_of_context(context);
}

static void
dealloc_trie(PyObject *trie)
{
    count_death(trie);
    dealloc_of_trie(trie);
}

static bool
watch_contexts(void)
{
    if (dealloc_of_context == NULL) {
        PyObject *context = PyContext_New();
        if (context == NULL) {
            return false;
        }
        PyTypeObject *trie_type = Py_TYPE((PyObject *)op_context_vars_tick(context));
        Py_DECREF(context);
        dealloc_of_trie = trie_type->tp_dealloc;
        trie_type->tp_dealloc = dealloc_trie;
        dealloc_of_context = PyContext_Type.tp_dealloc;
        PyContext_Type.tp_dealloc = dealloc_context;
    }
    return true;
}

#if OP_HAS_CODE_WATCHER

static int
on_code_event(PyCodeEvent event, PyCodeObject *code)
{
    if (event == PY_CODE_EVENT_DESTROY) {
        note_death(&op_code_deaths, code);
    }
    return 0;
}

static bool
watch_codes(void)
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

static destructor dealloc_of_code;

static void
dealloc_code(PyObject *code)
{
    note_death(&op_code_deaths, code);
    dealloc_of_code(code);
}

static bool
watch_codes(void)
{
    if (dealloc_of_code == NULL) {
        dealloc_of_code = PyCode_Type.tp_dealloc;
        PyCode_Type.tp_dealloc = dealloc_code;
    }
    return true;
}

#endif

bool
op_deaths_watch(void)
{
    return watch_contexts() && watch_codes();
}
