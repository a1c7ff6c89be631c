from cpython.buffer cimport Py_buffer

from plait.engine.record cimport plait_code, plait_record

cdef class Codes:
    cdef object __weakref__
    cdef plait_record record
    cdef Py_buffer view                    # of the mapping
    cdef size_t codes_start
    cdef list held, codes                  # functions and classes by number, and what is told of them
    cdef size_t keys_used                  # in the table by which they are found
    cdef int grow_codes(self) except -1
    cdef unsigned int number_of(self, void* key) noexcept
    cdef int remember(self, void* key, unsigned int number, bint passed_over) except -1
    cdef unsigned int new_code(self, object key, object target, str module) except? 0
    cdef unsigned int code_of_coroutine(self, object coroutine) except? 0
    cdef plait_code* code_of_callback(self, object callback) except? NULL
    cdef unsigned int code_of_class(self, object cls) except? 0
