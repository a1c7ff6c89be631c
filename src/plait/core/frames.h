/* Where the interpreter keeps the frames of running coroutines: read only, never followed further than is proven.
 *
 * A frame's struct is private and differs between releases (3.11: code, back and place are words 4, 6, 7; 3.12 and 3.13: 0, 1, 7; 3.14:
 * 0 with two tag bits, 1, 7). So the words are found out once per process, by looking for what a known coroutine must have in
 * them, and whatever is not found is not read. The first frame is in the thread state, in its public part.
 */
#ifndef PLAIT_FRAMES_H
#define PLAIT_FRAMES_H

#include <Python.h>
#include <frameobject.h>
#include "record.h"

enum { PLAIT_FRAME_WORDS = 10 };

/* The frame that runs in this thread: an address to look at while it runs. */
static inline void **plait_current_frame(void) {
#if PY_VERSION_HEX >= 0x030D0000
    return (void **)PyThreadState_GetUnchecked()->current_frame;
#else
    return (void **)_PyThreadState_UncheckedGet()->cframe->current_frame;
#endif
}

static inline PyCodeObject *plait_frame_code(const plait_record *record, void **frame) {
    PyObject *code = (PyObject *)((uintptr_t)frame[record->frame_code] & ~(uintptr_t)3);
    return code != NULL && PyCode_Check(code) ? (PyCodeObject *)code : NULL;
}

/* The code unit that the frame has come to, + 1; 0 where it is none or too large for 16 bits. */
static inline unsigned plait_frame_place(const plait_record *record, void **frame, PyCodeObject *code) {
    size_t place = ((size_t)frame[record->frame_place] + 2 - (size_t)code->co_code_adaptive) / 2;
    return place < 0xFFFF ? (unsigned)place : 0; /* before the first it is a very large number */
}

/* Borrowed; NULL where it is not known. It lives as long as the coroutine does. */
static inline PyCodeObject *plait_coroutine_code(const plait_record *record, void *coroutine) {
    if (record->coroutine_frame <= 0 || !PyCoro_CheckExact((PyObject *)coroutine)) return NULL;
    return plait_frame_code(record, (void **)((char *)coroutine + record->coroutine_frame));
}

/* Where a coroutine that is suspended, or has not begun, goes on. */
static inline unsigned plait_coroutine_place(const plait_record *record, void *coroutine) {
    PyCodeObject *code = plait_coroutine_code(record, coroutine);
    return code == NULL ? 0 : plait_frame_place(record, (void **)((char *)coroutine + record->coroutine_frame), code);
}

/* Introduce a new task of the number "Task-N" with its code, and tell where it begins. 0 where only Recorder.introduce() can. */
static inline uint32_t plait_record_new_task(plait_record *record, void *coroutine, uint32_t number) {
    PyCodeObject *code = plait_coroutine_code(record, coroutine);
    const plait_code *known = code == NULL ? NULL : plait_record_code(record, code);
    if (known == NULL) return 0;
    record->at = (uint16_t)plait_frame_place(record, (void **)((char *)coroutine + record->coroutine_frame), code);
    return plait_record_introduce(record, PLAIT_NEW_ACTOR, 0, known->number, number);
}

/* Remember where the coroutine that runs waits, and for what. False where only Recorder.awaits() can tell. */
static inline int plait_record_awaits(plait_record *record, unsigned awaited) {
    record->awaited = (uint8_t)awaited;
    if (record->frame_code < 0) return 1;
    void **frame = plait_current_frame();
    PyCodeObject *code = plait_frame_code(record, frame);
    if (code == NULL) return 1;
    const plait_code *known = plait_record_code(record, code);
    if (known == NULL || known->passed_over) return 0;
    record->site = (uint32_t)known->number << 16 | plait_frame_place(record, frame, code);
    return 1;
}

/* What stands for a callback's function in the table of codes; borrowed. One that is not held for ever is not found there. */
static inline void *plait_key_of_callback(PyObject *callback) {
    if (PyMethod_Check(callback)) callback = PyMethod_GET_FUNCTION(callback);
    if (PyFunction_Check(callback)) return PyFunction_GET_CODE(callback);
    if (PyCFunction_CheckExact(callback)) return ((PyCFunctionObject *)callback)->m_ml;
    return callback;
}

/* The actor of a callback's function; 0 where only Recorder.callback_actor() can tell. */
static inline uint32_t plait_record_callback(const plait_record *record, PyObject *callback) {
    const plait_code *code = plait_record_code(record, plait_key_of_callback(callback));
    return code != NULL && code->actor != 0 && plait_record_knows(record, code->actor) ? code->actor : 0;
}

/* Called by a coroutine of a known code that was called by another: look where their frames have what is known. */
static inline int plait_find_words(plait_record *record, PyObject *code, PyObject *coroutine, void **caller) {
    void **frame = plait_current_frame();
    uintptr_t first = (uintptr_t)((PyCodeObject *)code)->co_code_adaptive;
    uintptr_t last = first + 2 * (uintptr_t)Py_SIZE(code);
    int found_code = -1, previous = -1, place = -1;
    for (int i = 0; i < PLAIT_FRAME_WORDS; i++) {
        uintptr_t word = (uintptr_t)frame[i];
        if (found_code < 0 && (word & ~(uintptr_t)3) == (uintptr_t)code) found_code = i;
        if (previous < 0 && word == (uintptr_t)caller) previous = i;
        if (place < 0 && word >= first && word < last) place = i;
    }
    if (found_code < 0 || previous < 0 || place < 0) return 0;
    record->frame_code = found_code;
    record->frame_previous = previous;
    record->frame_place = place;
    record->coroutine_frame = (char *)frame - (char *)coroutine;
    return 1;
}

#endif
