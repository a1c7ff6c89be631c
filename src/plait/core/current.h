/* Which task runs now, told to asyncio.current_task().
 *
 *   3.11 - 3.13   a dictionary {loop: task} that the standard library's C and Python code share.
 *   3.14 - 3.15   a strong reference in the thread state, beside the running loop. The struct is private (_PyThreadStateImpl), so
 *                 the place is found out once, by having _asyncio write to it, and proven by a round trip. Five times faster
 *                 than its functions, which remain where the proof fails, and for releases that nobody has looked at yet.
 *
 * A standard Task refuses to step while an entry is there (even with the value None), so the entry is taken out before
 * anything runs that is not a Task of ours.
 */
#ifndef PLAIT_CURRENT_H
#define PLAIT_CURRENT_H

#include <Python.h>

#if PY_VERSION_HEX < 0x030E0000

static PyObject *plait_current_tasks; /* the dictionary; owned for the life of the process */

static int plait_current_init(void) {
    PyObject *module = PyImport_ImportModule("_asyncio");
    if (module == NULL) return -1;
    plait_current_tasks = PyObject_GetAttrString(module, "_current_tasks");
    Py_DECREF(module);
    return plait_current_tasks != NULL ? 0 : -1;
}

/* Make `task` the current one, whatever was there. Borrows both. */
static inline int plait_switch_task(PyObject *loop, PyObject *task) {
    return PyDict_SetItem(plait_current_tasks, loop, task);
}

/* No task is current any more. */
static inline int plait_leave_task(PyObject *loop) {
    return PyDict_DelItem(plait_current_tasks, loop);
}

/* The current task or None. New reference. */
static inline PyObject *plait_current_task(PyObject *loop) {
    PyObject *task = PyDict_GetItemWithError(plait_current_tasks, loop);
    if (task == NULL) return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
    return Py_NewRef(task);
}

#else

static PyObject *plait_swap_function; /* _asyncio._swap_current_task; owned, as the next one, for the life of the process */
static PyObject *plait_get_function;  /* _asyncio.current_task */
/* Where the running loop stands in the thread state, and the current task behind it; 0 while it is not known. */
static Py_ssize_t plait_running_offset;

/* The two words [running loop, current task] of this thread. */
static inline PyObject **plait_running_words(void) {
    return (PyObject **)((char *)PyThreadState_GetUnchecked() + plait_running_offset);
}

/* What was current before, or None. New reference. */
static inline PyObject *plait_swap_by_call(PyObject *loop, PyObject *task) {
    PyObject *arguments[3] = {NULL, loop, task};
    return PyObject_Vectorcall(plait_swap_function, arguments + 1, 2 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
}

/* Make `task` the current one, None for no task, whatever was there. Borrows both. */
static inline int plait_set_current(PyObject *loop, PyObject *task) {
    PyObject *previous;
    if (plait_running_offset != 0) {
        PyObject **words = plait_running_words();
        if (words[0] == loop) {
            previous = words[1];
            words[1] = task == Py_None ? NULL : Py_NewRef(task);
            Py_XDECREF(previous);
            return 0;
        } /* else the function refuses, with its own words */
    }
    previous = plait_swap_by_call(loop, task);
    Py_XDECREF(previous);
    return previous == NULL ? -1 : 0;
}

/* Make `task` the current one, whatever was there. Borrows both. */
static inline int plait_switch_task(PyObject *loop, PyObject *task) {
    return plait_set_current(loop, task);
}

/* No task is current any more. */
static inline int plait_leave_task(PyObject *loop) {
    return plait_set_current(loop, Py_None);
}

/* The current task or None. New reference. */
static inline PyObject *plait_current_task(PyObject *loop) {
    if (plait_running_offset != 0) {
        PyObject **words = plait_running_words();
        if (words[0] == loop) return Py_NewRef(words[1] != NULL ? words[1] : Py_None);
    }
    return PyObject_CallOneArg(plait_get_function, loop);
}

/* Look for the words while `loop` is the running one and no task is current: they are where _asyncio puts a `task` that it is told
 * and clears it again. 3.14 has them 4 words behind the public part of the thread state, 3.15 has 17 words there. */
static int plait_find_running_words(PyObject *loop, PyObject *task) {
    enum { WORDS = 32 };
    PyObject **words = (PyObject **)((char *)PyThreadState_GetUnchecked() + sizeof(PyThreadState));
    for (Py_ssize_t i = 0; i < WORDS - 1; i++) {
        if (words[i] != loop || words[i + 1] != NULL) continue;
        if (plait_set_current(loop, task) < 0) return -1;
        int written = words[i + 1] == task;
        if (plait_set_current(loop, Py_None) < 0) return -1;
        if (written && words[i + 1] == NULL) {
            plait_running_offset = (Py_ssize_t)sizeof(PyThreadState) + i * (Py_ssize_t)sizeof(PyObject *);
            break;
        }
    }
    return 0;
}

/* The same with a loop and a task made up for it; what runs in this thread (plait may be imported by a task) runs again afterwards. */
static int plait_probe(PyObject *module) {
    int failed = -1;
    PyObject *current = NULL, *done;
    PyObject *before = PyObject_CallMethod(module, "_get_running_loop", NULL);
    PyObject *loop = PyObject_CallNoArgs((PyObject *)&PyBaseObject_Type);
    PyObject *task = PyObject_CallNoArgs((PyObject *)&PyBaseObject_Type);
    if (before == NULL || loop == NULL || task == NULL) goto end;
    if ((done = PyObject_CallMethod(module, "_set_running_loop", "O", loop)) == NULL) goto end;
    Py_DECREF(done);
    if ((current = plait_swap_by_call(loop, Py_None)) != NULL) {
        failed = plait_find_running_words(loop, task);
        if (plait_set_current(loop, current) < 0) failed = -1;
    }
    PyObject *error = PyErr_GetRaisedException();
    done = PyObject_CallMethod(module, "_set_running_loop", "O", before);
    if (done == NULL) failed = -1;
    Py_XDECREF(done);
    if (error != NULL) PyErr_SetRaisedException(error);
end:
    Py_XDECREF(current);
    Py_XDECREF(before);
    Py_XDECREF(loop);
    Py_XDECREF(task);
    return failed;
}

static int plait_current_init(void) {
    PyObject *module = PyImport_ImportModule("_asyncio");
    if (module == NULL) return -1;
    int failed = -1;
    plait_swap_function = PyObject_GetAttrString(module, "_swap_current_task");
    plait_get_function = PyObject_GetAttrString(module, "current_task");
    if (plait_swap_function != NULL && plait_get_function != NULL) {
#if PY_VERSION_HEX < 0x03100000 && !defined(Py_GIL_DISABLED)
        failed = plait_probe(module);
#else
        (void)plait_probe;
        failed = 0;
#endif
    }
    Py_DECREF(module);
    return failed;
}

#endif

#endif
