cdef extern from "current.h":
    int plait_current_init() except -1
    int plait_switch_task(object loop, object task) except -1
    int plait_leave_task(object loop) except -1
    object plait_current_task(object loop)
