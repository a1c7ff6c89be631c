"""The private parts of asyncio that plait touches, all of them, with what differs between releases and why each is needed.

Nothing else in plait names an underscore of asyncio or imports one of its internal modules.
"""

import sys
from asyncio import base_events, base_futures, base_tasks, coroutines, events, format_helpers

# What Future and Task show in repr(), and a Task's stack: the same words as the standard library's own.
future_repr = base_futures._future_repr
task_get_stack = base_tasks._task_get_stack
task_print_stack = base_tasks._task_print_stack

# Handles: "callback at file:line" for repr(), the creation stack in debug mode, and the slow-callback report.
format_callback_source = format_helpers._format_callback_source
extract_stack = format_helpers.extract_stack
format_handle = base_events._format_handle

# Marks coroutines that debug mode tracks; also true for Cython's coroutines.
iscoroutine = coroutines.iscoroutine

# A loop is "running" in a thread when the standard library says so.
set_running_loop = events._set_running_loop
get_running_loop_or_none = events._get_running_loop


def task_repr_info(task):  # type: ignore[no-untyped-def]
    """3.11: a list of words; from 3.12 base_tasks has _task_repr alone, from which futures' words are built."""
    return base_tasks._task_repr_info(task)  # type: ignore[attr-defined]


if sys.version_info >= (3, 12):
    task_repr = base_tasks._task_repr
else:

    def task_repr(task):  # type: ignore[no-untyped-def]
        return f"<{task.__class__.__name__} {' '.join(base_tasks._task_repr_info(task))}>"
