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

/* The word at so many bytes from a frame or a coroutine. */
static inline void *plait_word(void *start, int64_t offset) {
    return *(void **)((char *)start + offset);
}

/* The address of a frame's code, to be compared and not to be followed. Two bits of the word are 3.14's. */
static inline void *plait_code_address(void *word) {
    return (void *)((uintptr_t)word & ~(uintptr_t)3);
}

/* Of a frame that runs; NULL if that is none of Python's code. */
static inline PyCodeObject *plait_frame_code(const plait_record *record, void **frame) {
    PyObject *code = plait_code_address(plait_word(frame, record->frame_code));
    return code != NULL && PyCode_Check(code) ? (PyCodeObject *)code : NULL;
}

/* The code unit that a frame has come to, + 1; 0 where it is none or too large for 16 bits. The code is not read. */
static inline unsigned plait_place(void *word, void *code) {
    size_t place = (size_t)word + 2 - (size_t)((PyCodeObject *)code)->co_code_adaptive;
    return place < 2 * 0xFFFF ? (unsigned)(place / 2) : 0; /* before the first it is a very large number */
}

static inline unsigned plait_frame_place(const plait_record *record, void **frame, PyCodeObject *code) {
    return plait_place(plait_word(frame, record->frame_place), code);
}

/* Borrowed; NULL where it is not known. It lives as long as the coroutine does. */
static inline PyCodeObject *plait_coroutine_code(const plait_record *record, void *coroutine) {
    if (record->coroutine_code < 0 || !PyCoro_CheckExact((PyObject *)coroutine)) return NULL;
    PyObject *code = plait_code_address(plait_word(coroutine, record->coroutine_code));
    return code != NULL && PyCode_Check(code) ? (PyCodeObject *)code : NULL;
}

/* Where a coroutine that is suspended, or has not begun, goes on. */
static inline unsigned plait_coroutine_place(const plait_record *record, void *coroutine) {
    PyCodeObject *code = plait_coroutine_code(record, coroutine);
    return code == NULL ? 0 : plait_place(plait_word(coroutine, record->coroutine_place), code);
}

/* Whose slice begins: a task's, whose `actor` this is, and which has the number of "Task-N", or 0. False where only its identify() can
 * tell. What is held in the table of codes is never freed, so an address that is found there is that of a code. */
PLAIT_INTO_CALLER int plait_record_task(plait_record *record, uint32_t *actor, void *coroutine, int64_t number) {
    if (record->coroutine_code < 0 || !PyCoro_CheckExact((PyObject *)coroutine)) return 0;
    void *code = plait_code_address(plait_word(coroutine, record->coroutine_code));
    record->at = (uint16_t)plait_place(plait_word(coroutine, record->coroutine_place), code);
    if (__builtin_expect(!plait_record_knows(record, *actor), 0)) {
        if (*actor != PLAIT_NEW_ACTOR || number == 0 || code == NULL) return 0;
        const plait_code *known = plait_record_code(record, code);
        if (known == NULL) return 0;
        *actor = plait_record_new(record, known->number, (uint32_t)number);
    }
    record->actor = *actor;
    return 1;
}

/* Remember where the coroutine that runs waits, and for what. False where only Recorder.awaits() can tell. */
PLAIT_INTO_CALLER int plait_record_awaits(plait_record *record, unsigned awaited) {
    void **frame = plait_current_frame();
    record->awaited = (uint16_t)awaited;
    if (record->frame_code < 0) return 1;
    void *code = plait_code_address(plait_word(frame, record->frame_code));
    if (code == NULL) return 1;
    const plait_code *known = plait_record_code(record, code);
    if (__builtin_expect(known == NULL || known->passed_over, 0)) return 0;
    record->site = (uint32_t)known->number << 16 | plait_place(plait_word(frame, record->frame_place), code);
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
    int64_t found_code = -1, previous = -1, place = -1, word_size = sizeof(void *);
    for (int i = 0; i < PLAIT_FRAME_WORDS; i++) {
        uintptr_t word = (uintptr_t)frame[i];
        if (found_code < 0 && (word & ~(uintptr_t)3) == (uintptr_t)code) found_code = i * word_size;
        if (previous < 0 && word == (uintptr_t)caller) previous = i * word_size;
        if (place < 0 && word >= first && word < last) place = i * word_size;
    }
    if (found_code < 0 || previous < 0 || place < 0) return 0;
    record->frame_code = found_code;
    record->frame_previous = previous;
    record->frame_place = place;
    int64_t within = (char *)frame - (char *)coroutine;
    if (within > 0) {
        record->coroutine_code = within + found_code;
        record->coroutine_place = within + place;
    }
    return 1;
}

#endif
