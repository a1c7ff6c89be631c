# What CPython offers for the insides of str and bytearray, beyond Cython's own declarations.

cdef extern from "Python.h":
    char* PyByteArray_AS_STRING(object array) noexcept
    const char* PyUnicode_AsUTF8AndSize(object text, Py_ssize_t* size) except NULL
    bytes PyUnicode_AsUTF8String(object text)
    Py_ssize_t PyUnicode_FindChar(object text, unsigned int character, Py_ssize_t start, Py_ssize_t end, int direction) except? -2
    Py_ssize_t PyUnicode_GET_LENGTH(object text) noexcept
    bint PyUnicode_IS_ASCII(object text) noexcept
    unsigned int PyUnicode_READ_CHAR(object text, Py_ssize_t at) noexcept
    str PyUnicode_Substring(object text, Py_ssize_t start, Py_ssize_t end)
