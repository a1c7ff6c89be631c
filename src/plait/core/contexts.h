/* Contexts that are shared until somebody changes them.
 *
 * A copy of a context is a new object with a pointer to the same variables, which never change: setting one gives the context another
 * table. So two contexts with the same pointer are equal, and one that has still the pointer that it had was not changed. That pointer is
 * private: it is where it has always been, and proven there at import; where the proof fails nothing is shared.
 */
#ifndef PLAIT_CONTEXTS_H
#define PLAIT_CONTEXTS_H

#include <Python.h>

enum { PLAIT_VARS_WORD = 3 }; /* behind the object's head and the context that was left for this one */

static int plait_vars_known;

static inline PyThreadState *plait_thread_state(void) {
#if PY_VERSION_HEX >= 0x030D0000
    return PyThreadState_GetUnchecked();
#else
    return _PyThreadState_UncheckedGet();
#endif
}

/* The table of a context's variables, an address to compare; NULL where it is not known. */
static inline void *plait_vars(void *context) {
    return plait_vars_known ? ((void **)context)[PLAIT_VARS_WORD] : NULL;
}

/* Whether a copy of the current context would be equal to this one. */
static inline int plait_is_current(void *context) {
    PyObject *current = plait_thread_state()->context;
    return plait_vars_known && current != NULL && plait_vars(current) == plait_vars(context);
}

/* Whether two contexts are equal, of which one is shared: then it is known where the tables are. */
static inline int plait_are_equal(void *context, void *shared) {
    return ((void **)context)[PLAIT_VARS_WORD] == ((void **)shared)[PLAIT_VARS_WORD];
}

/* Who runs in the loop's spare holds it, and the loop keeps the master for so long: the two pointers change places, and back. No count
 * is touched, for a context's would be changed eight times in a run otherwise, each time after the one before. */
static inline void plait_swap(PyObject **a, PyObject **b) {
    PyObject *held = *a;
    *a = *b;
    *b = held;
}
#define plait_change_places(borrower, loop) plait_swap(&(borrower)->context, &(loop)->spare)

/* Whether a context that was lent, a copy of `master`, is one still, and only its borrower knows it. */
static inline int plait_is_as_lent(void *lent, void *master) {
    return Py_REFCNT((PyObject *)lent) == 1 && plait_are_equal(lent, master) &&
           *(PyObject **)((char *)lent + PyContext_Type.tp_weaklistoffset) == NULL;
}

/* 1 if everything is where it must be. */
static int plait_prove_vars(PyObject *plain, PyObject *changed, PyObject *variable) {
    PyObject *token, *again;
    void **a = (void **)plain + PLAIT_VARS_WORD, **b = (void **)changed + PLAIT_VARS_WORD;
    int proven = *a != NULL && *a == *b;
    if (PyContext_Enter(changed) < 0) return -1;
    proven = proven && plait_thread_state()->context == changed;
    token = PyContextVar_Set(variable, variable);
    if (PyContext_Exit(changed) < 0 || token == NULL) {
        Py_XDECREF(token);
        return -1;
    }
    Py_DECREF(token);
    if ((again = PyContext_Copy(changed)) == NULL) return -1;
    proven = proven && *a != *b && ((void **)again)[PLAIT_VARS_WORD] == *b;
    Py_DECREF(again);
    return proven;
}

static int plait_contexts_init(void) {
    int proven = 0;
    PyObject *plain, *changed = NULL, *variable = NULL;
    if (PyContext_Type.tp_basicsize <= PLAIT_VARS_WORD * (Py_ssize_t)sizeof(void *) || PyContext_Type.tp_weaklistoffset <= 0) return 0;
    plain = PyContext_New();
    if (plain != NULL) changed = PyContext_Copy(plain);
    if (changed != NULL) variable = PyContextVar_New("plait", NULL);
    proven = variable == NULL ? -1 : plait_prove_vars(plain, changed, variable);
    plait_vars_known = proven == 1;
    Py_XDECREF(plain);
    Py_XDECREF(changed);
    Py_XDECREF(variable);
    return proven < 0 ? -1 : 0;
}

#endif
