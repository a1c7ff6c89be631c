"""The codes of a recording: the numbers of functions and classes, of which there are few, and what is told of each, once, as JSON.

A number is found by the address of what it stands for, which is held for ever. The table of the addresses is read on the hot path
(plait_record_code in engine/record.h); new ones are entered here.
"""

import types
from functools import partial

import cython
from cython.cimports.cpython.method import PyMethod_Check, PyMethod_GET_FUNCTION
from cython.cimports.libc.stdlib import calloc, free
from cython.cimports.libc.string import memcpy
from cython.cimports.plait.core.frames import plait_coroutine_code, plait_key_of_callback
from cython.cimports.plait.engine.record import plait_code, plait_live, plait_record, plait_record_code

from plait.core.describing import describe, is_passed_over

CODES_MAX = cython.declare(cython.uint, 0xFFFF)  # a site has 16 bits for its code


class Codes:
    """A recorder's table of them, and their descriptions in its mapping."""

    def remember(self, key, number, passed_over):
        """A place in the table for something new."""
        record: cython.pointer(plait_record) = cython.address(self.record)
        self.keys_used += 1
        if 2 * self.keys_used > record.codes_mask:
            self.grow_codes()
        place: cython.ulonglong = (cython.cast(cython.size_t, key) >> 4) & record.codes_mask
        while record.codes[place].key != cython.NULL:
            place = (place + 1) & record.codes_mask
        record.codes[place].key = key
        record.codes[place].number = number
        record.codes[place].passed_over = passed_over
        return 0

    def grow_codes(self):
        record: cython.pointer(plait_record) = cython.address(self.record)
        old, old_mask = record.codes, record.codes_mask
        mask: cython.ulonglong = 2 * old_mask + 1
        codes = cython.cast(cython.pointer(plait_code), calloc(mask + 1, cython.sizeof(plait_code)))
        if codes == cython.NULL:
            raise MemoryError
        i: cython.ulonglong
        place: cython.ulonglong
        for i in range(old_mask + 1):
            if old[i].key != cython.NULL:
                place = (cython.cast(cython.size_t, old[i].key) >> 4) & mask
                while codes[place].key != cython.NULL:
                    place = (place + 1) & mask
                codes[place] = old[i]
        record.codes, record.codes_mask = codes, mask
        free(old)
        return 0

    def number_of(self, key):
        """Of a function or class, 0 when it is new."""
        code = plait_record_code(cython.address(self.record), key)
        return 0 if code == cython.NULL else code.number

    def new_code(self, key, target, module):
        """Give a number to something new: `key` is held for ever (a code, a function in C, a class), `target` described."""
        number: cython.uint = len(self.held)
        if number >= CODES_MAX:
            return 0
        known: dict = describe(target, module)
        import json

        text = json.dumps(known, separators=(",", ":"))
        line: bytes = text.encode() + b"\n"
        live: cython.pointer(plait_live) = self.record.live
        if live.codes_used + cython.cast(cython.size_t, len(line)) > live.codes_room:
            return 0
        self.remember(cython.cast(cython.p_void, key), number, is_passed_over(known))
        self.held.append(key)
        self.codes.append(text)
        memcpy(
            cython.cast(cython.p_char, self.view.buf) + self.codes_start + live.codes_used,
            cython.cast(cython.p_char, line),
            len(line),
        )
        live.codes_used += len(line)
        return number

    def code_of_coroutine(self, coroutine):
        known = plait_coroutine_code(cython.address(self.record), cython.cast(cython.p_void, coroutine))
        if known != cython.NULL:
            number: cython.uint = self.number_of(cython.cast(cython.p_void, known))
            if number != 0:
                return number
        code = getattr(coroutine, "cr_code", None)
        if not isinstance(code, types.CodeType):
            code = getattr(coroutine, "gi_code", None)
        if not isinstance(code, types.CodeType):
            return self.code_of_class(type(coroutine))
        number = self.number_of(cython.cast(cython.p_void, code))
        if number == 0:
            frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
            module = "" if frame is None else str(frame.f_globals.get("__name__", ""))
            number = self.new_code(code, code, module)
        return number

    def code_of_class(self, cls):
        number: cython.uint = self.number_of(cython.cast(cython.p_void, cls))
        return number if number else self.new_code(cls, cls, str(getattr(cls, "__module__", "")))

    def code_of_callback(self, callback):
        """Of the function behind a bound method or a partial; NULL when there are too many."""
        record: cython.pointer(plait_record) = cython.address(self.record)
        depth: cython.int = 0
        while depth < 8 and type(callback) is partial:
            depth += 1
            callback = callback.func
        key: cython.p_void = plait_key_of_callback(callback)
        code = plait_record_code(record, key)
        if code != cython.NULL:
            return code
        if PyMethod_Check(callback):
            callback = cython.cast(object, PyMethod_GET_FUNCTION(callback))
        module = str(getattr(callback, "__module__", "") or "")
        if type(callback) is types.FunctionType:
            self.new_code(callback.__code__, callback, module)
        elif type(callback) is types.BuiltinFunctionType:
            # Of a bound one there is a new object each time, but one definition.
            owner = callback.__self__
            bound: cython.bint = owner is not None and not isinstance(owner, types.ModuleType)
            held = getattr(type(owner), callback.__name__, type(owner)) if bound else callback
            known: cython.p_void = cython.cast(cython.p_void, held)
            number: cython.uint = self.number_of(known) or self.new_code(held, callback, module)
            if number:
                self.remember(key, number, False)
        elif isinstance(held := getattr(callback, "__code__", None), types.CodeType):
            # Compiled by Cython. A closure is a new object each time: only the first of its code is held, as nothing else is below.
            if self.number_of(cython.cast(cython.p_void, held)) == 0:
                number = self.new_code(held, callback, module)
                if number:
                    self.held[number] = (held, callback)
                    self.remember(key, number, False)
            key = cython.cast(cython.p_void, held)
        else:
            cls = callback if isinstance(callback, type) else type(callback)
            self.code_of_class(cls)
            key = cython.cast(cython.p_void, cls)
        return plait_record_code(record, key)
