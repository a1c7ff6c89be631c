# What CPython offers beyond Cython's own declarations.
from cpython.object cimport PyObject, PyTypeObject

ctypedef PyObject* PyObjectPointer

cdef extern from "Python.h":
    unsigned long PyThread_get_thread_ident() noexcept nogil
    int PyErr_CheckSignals() except -1
    int Py_EnterRecursiveCall(const char* where) except *  # 1, and in other releases -1
    void Py_LeaveRecursiveCall() noexcept
    void PyObject_GC_Track(object o) noexcept
    bint PyObject_GC_IsTracked(object o) noexcept
    ctypedef enum PySendResult:
        PYGEN_RETURN
        PYGEN_ERROR
        PYGEN_NEXT
    PySendResult PyIter_Send(object iterator, object argument, PyObject** result) noexcept
    bint PyCoro_CheckExact(object o) noexcept
    bint PyGen_CheckExact(object o) noexcept
    object PyContext_CopyCurrent()
    object PyContext_Copy(object context)
    int PyContext_Enter(object context) except -1
    int PyContext_Exit(object context) except -1
    ctypedef PySendResult (*sendfunc)(PyObject* iterator, PyObject* argument, PyObject** result) noexcept

cdef extern from "capi.h":
    long long plait_now_ns() noexcept nogil
    unsigned long plait_thread_ident() noexcept nogil
    void plait_prefetch(void* object) noexcept
    bint plait_is_shared(void* object) noexcept
    bint plait_call(void* context, object callback, tuple args) noexcept
    object plait_fetch_exception() noexcept
    void plait_raise(object exception, object traceback) noexcept
    void plait_set_traceback(object exception, object traceback) noexcept
    PySendResult plait_throw(object coro, object exception, object throw_name, PyObject** result) noexcept
    int plait_set_await(PyTypeObject* type, sendfunc send) except -1

cdef extern from "contexts.h":
    int plait_contexts_init() except -1
    # Pointers, since Cython may take a reference to an argument, and a context's count is dear (contexts.h).
    int plait_enter "PyContext_Enter"(void* context) except -1
    int plait_exit "PyContext_Exit"(void* context) except -1
    void* plait_vars(void* context) noexcept
    bint plait_is_current(void* context) noexcept
    bint plait_are_equal(void* context, void* shared) noexcept
    bint plait_is_as_lent(void* lent, void* master) noexcept

cdef extern from "running.h":
    int plait_running_init() except -1
    object plait_get_running() noexcept
    void plait_set_running(object loop) noexcept

cdef extern from "reuse.h":
    ctypedef void (*destructor)(PyObject*) noexcept
    void plait_reuse(PyTypeObject* type, destructor dealloc, bint hidden) noexcept
    void plait_drop(PyObject* object, PyTypeObject* type, bint finalize) noexcept

cdef extern from "sys/epoll.h":
    const unsigned int EPOLLIN, EPOLLOUT, EPOLLERR, EPOLLHUP, EPOLLRDHUP
