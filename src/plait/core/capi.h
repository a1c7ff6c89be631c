/* The few things of CPython's C interface that Cython cannot say well, or says too dearly. */
#ifndef PLAIT_CAPI_H
#define PLAIT_CAPI_H

#include <Python.h>
#include <time.h>

/* CLOCK_MONOTONIC in nanoseconds: the clock of time.monotonic(). */
static inline long long plait_now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (long long)now.tv_sec * 1000000000LL + now.tv_nsec;
}

/* PyThread_get_thread_ident(): pthread_self(), which is the thread's register where the compiler can read it. */
static inline unsigned long plait_thread_ident(void) {
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && __GNUC__ >= 11
    return (unsigned long)__builtin_thread_pointer();
#else
    return PyThread_get_thread_ident();
#endif
}

/* Have a task's or handle's memory loaded; the address need not be one. */
static inline void plait_prefetch(void *object) {
    __builtin_prefetch((char *)object);
    __builtin_prefetch((char *)object + 64);
    __builtin_prefetch((char *)object + 128);
}

/* Whether somebody else than the one reference that is looked at holds it. A pointer, for Cython may take a reference to an argument. */
static inline int plait_is_shared(void *object) {
    return Py_REFCNT((PyObject *)object) > 1;
}

/* context.run(callback, *args) without building a frame of arguments: the tuple's items are the vector. 0 with an exception set. The
 * context is a pointer, since Cython may take a reference to an argument: entered, it is alive. */
static inline int plait_call(void *context, PyObject *callback, PyObject *args) {
    Py_ssize_t count = PyTuple_GET_SIZE(args);
    PyObject *result;
    if (PyContext_Enter((PyObject *)context) < 0) return 0;
    result = count == 0 ? PyObject_CallNoArgs(callback)
                        : PyObject_Vectorcall(callback, &PyTuple_GET_ITEM(args, 0), (size_t)count, NULL);
    if (PyContext_Exit((PyObject *)context) < 0) Py_CLEAR(result);
    if (result == NULL) return 0;
    Py_DECREF(result);
    return 1;
}

/* The exception being raised, taken out of the thread state with its traceback in place. New reference. */
static inline PyObject *plait_fetch_exception(void) {
#if PY_VERSION_HEX >= 0x030C0000
    return PyErr_GetRaisedException();
#else
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback != NULL) {
        PyException_SetTraceback(value, traceback);
        Py_DECREF(traceback);
    }
    Py_XDECREF(type);
    return value;
#endif
}

/* exception.__traceback__ = traceback, which may be None. */
static inline void plait_set_traceback(PyObject *exception, PyObject *traceback) {
    PyException_SetTraceback(exception, traceback);
}

/* Raise `exception` with that traceback (or None), and no frame of ours. Borrows both. */
static inline void plait_raise(PyObject *exception, PyObject *traceback) {
    plait_set_traceback(exception, traceback);
#if PY_VERSION_HEX >= 0x030C0000
    PyErr_SetRaisedException(Py_NewRef(exception));
#else
    PyErr_Restore(Py_NewRef((PyObject *)Py_TYPE(exception)), Py_NewRef(exception),
                  traceback == Py_None ? NULL : Py_NewRef(traceback));
#endif
}

/* coro.throw(exception), told as PyIter_Send tells: *result is a new reference for RETURN and NEXT. */
static inline PySendResult plait_throw(PyObject *coro, PyObject *exception, PyObject *throw_name, PyObject **result) {
    PyObject *arguments[2] = {coro, exception};
    *result = PyObject_VectorcallMethod(throw_name, arguments, 2 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    if (*result != NULL) return PYGEN_NEXT;
    if (!PyErr_ExceptionMatches(PyExc_StopIteration)) return PYGEN_ERROR;
    PyObject *stop = plait_fetch_exception();
    *result = Py_NewRef(((PyStopIterationObject *)stop)->value);
    Py_DECREF(stop);
    return PYGEN_RETURN;
}

/* The end of an iteration with this result, as tp_iternext tells it: None needs no exception. Steals the reference. Returns NULL. */
static inline PyObject *plait_stop_iteration(PyObject *result) {
    if (PyTuple_Check(result) || PyExceptionInstance_Check(result)) {
        /* PyErr_SetObject would take these for the arguments, or for the exception itself. */
        PyObject *stop = PyObject_CallOneArg(PyExc_StopIteration, result);
        if (stop != NULL) {
            PyErr_SetObject(PyExc_StopIteration, stop);
            Py_DECREF(stop);
        }
    } else if (result != Py_None) {
        PyErr_SetObject(PyExc_StopIteration, result);
    }
    Py_DECREF(result);
    return NULL;
}

/* tp_iternext of whatever has am_send: the same step. */
static inline PyObject *plait_await_next(PyObject *iterator) {
    PyObject *result = NULL;
    if (Py_TYPE(iterator)->tp_as_async->am_send(iterator, Py_None, &result) == PYGEN_RETURN) return plait_stop_iteration(result);
    return result;
}

/* What `await` uses of a type whose objects are their own iterators, and their step: up to 3.11 am_send, which hands results over
   without a StopIteration, from 3.12 tp_iternext. Tasks and asyncio's own C code ask for am_send everywhere. */
static inline int plait_set_await(PyTypeObject *type, sendfunc send) {
    if (type->tp_base->tp_as_async == type->tp_as_async) { /* inherited as a whole: its base must keep what it has */
        PyAsyncMethods *own = (PyAsyncMethods *)PyMem_RawMalloc(sizeof *own); /* lives as long as the type: for ever */
        if (own == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        *own = *type->tp_as_async;
        type->tp_as_async = own;
    }
    type->tp_as_async->am_await = PyObject_SelfIter;
    type->tp_as_async->am_send = send;
    type->tp_iternext = plait_await_next;
    PyType_Modified(type);
    return 0;
}

#endif
