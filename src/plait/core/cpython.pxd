# What CPython offers beyond Cython's own declarations.
from cpython.ref cimport PyObject

cdef extern from "Python.h":
    unsigned long PyThread_get_thread_ident() nogil
    int PyErr_CheckSignals() except -1
