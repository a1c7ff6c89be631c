/* Which loop of ours runs in this thread. The child of a fork runs none, whoever forked. */
#ifndef PLAIT_RUNNING_H
#define PLAIT_RUNNING_H

#include <Python.h>
#include <pthread.h>

static __thread PyObject *plait_running; /* owned; NULL for none */

static void plait_running_is_left(void) {
    plait_running = NULL; /* the reference is left to the child's memory: no object can be dropped while it is forked */
}

static int plait_running_init(void) {
    if (pthread_atfork(NULL, NULL, plait_running_is_left) == 0) return 0;
    PyErr_NoMemory();
    return -1;
}

/* New reference; None for none. */
static inline PyObject *plait_get_running(void) {
    return Py_NewRef(plait_running != NULL ? plait_running : Py_None);
}

/* None for none. */
static inline void plait_set_running(PyObject *loop) {
    Py_XSETREF(plait_running, loop == Py_None ? NULL : Py_NewRef(loop));
}

#endif
