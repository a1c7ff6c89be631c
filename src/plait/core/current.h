/* Which task runs now, told to asyncio.current_task().
 *
 * Up to 3.13 that is a dictionary from loop to task that the standard library's C and Python code share; from 3.14 it is a field of
 * the thread state, reached through the functions of _asyncio. A standard Task refuses to step while an entry is there
 * (even with the value None), so the entry is taken out before anything runs that is not a Task of ours.
 */
#ifndef PLAIT_CURRENT_H
#define PLAIT_CURRENT_H

#include <Python.h>

static PyObject *plait_current_tasks;   /* <= 3.13: the dictionary; owned for the life of the process */
static PyObject *plait_swap_function;   /* >= 3.14: _asyncio._swap_current_task */
static PyObject *plait_get_function;    /* >= 3.14: _asyncio.current_task */

static int plait_current_init(void) {
    PyObject *module = PyImport_ImportModule("_asyncio");
    if (module == NULL) return -1;
#if PY_VERSION_HEX >= 0x030E0000
    plait_swap_function = PyObject_GetAttrString(module, "_swap_current_task");
    plait_get_function = PyObject_GetAttrString(module, "current_task");
    int result = plait_swap_function != NULL && plait_get_function != NULL ? 0 : -1;
#else
    plait_current_tasks = PyObject_GetAttrString(module, "_current_tasks");
    int result = plait_current_tasks != NULL ? 0 : -1;
#endif
    Py_DECREF(module);
    return result;
}

/* Make `task` the current one, whatever was there. Borrows both. */
static inline int plait_switch_task(PyObject *loop, PyObject *task) {
#if PY_VERSION_HEX >= 0x030E0000
    PyObject *arguments[2] = {loop, task};
    PyObject *previous = PyObject_Vectorcall(plait_swap_function, arguments, 2, NULL);
    if (previous == NULL) return -1;
    Py_DECREF(previous);
    return 0;
#else
    return PyDict_SetItem(plait_current_tasks, loop, task);
#endif
}

/* No task is current any more. */
static inline int plait_leave_task(PyObject *loop) {
#if PY_VERSION_HEX >= 0x030E0000
    return plait_switch_task(loop, Py_None);
#else
    return PyDict_DelItem(plait_current_tasks, loop);
#endif
}

/* The current task or None. New reference. */
static inline PyObject *plait_current_task(PyObject *loop) {
#if PY_VERSION_HEX >= 0x030E0000
    return PyObject_CallOneArg(plait_get_function, loop);
#else
    PyObject *task = PyDict_GetItemWithError(plait_current_tasks, loop);
    if (task == NULL) return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
    return Py_NewRef(task);
#endif
}

#endif
