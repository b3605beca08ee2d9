/* compat_object.h -- the differences between CPython's versions that context.c meets. To become part of compat.h.
 *
 *   (none)     with an attached thread state, as any CPython API
 */
#ifndef OP_COMPAT_OBJECT_H
#define OP_COMPAT_OBJECT_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdbool.h>
#include <stdint.h>

_Static_assert(PyLong_SHIFT == 30, "op_int_parse takes digits of 30 bits");

/* Read an int below 2**128. Returns -1 with an exception for anything else.
 *
 * Of digits, since _PyLong_AsByteArray and PyLong_AsNativeBytes go byte by byte, ten times slower. Count and
 * sign of the digits lie in `lv_tag` since 3.12 (gh-101291); before, they were ob_size. */
static inline int
op_int_parse(PyObject *number, uint64_t *high, uint64_t *low)
{
    if (!PyLong_Check(number)) {
        PyErr_Format(PyExc_TypeError, "expected an int, not %s", Py_TYPE(number)->tp_name);
        return -1;
    }
#if PY_VERSION_HEX >= 0x030C0000
    const digit *digits = ((PyLongObject *)number)->long_value.ob_digit;
    const uintptr_t tag = ((PyLongObject *)number)->long_value.lv_tag;
    const size_t count = tag >> 3;
    const bool is_negative = (tag & 3) == 2;
#else
    const digit *digits = ((PyLongObject *)number)->ob_digit;
    const Py_ssize_t signed_count = Py_SIZE(number);
    const bool is_negative = signed_count < 0;
    const size_t count = is_negative ? 0 : (size_t)signed_count;
#endif
    const uint64_t first = count > 0 ? digits[0] : 0;
    const uint64_t second = count > 1 ? digits[1] : 0;
    const uint64_t third = count > 2 ? digits[2] : 0;
    const uint64_t fourth = count > 3 ? digits[3] : 0;
    const uint64_t fifth = count > 4 ? digits[4] : 0;
    if (is_negative || count > 5 || fifth >> 8 != 0) {
        PyErr_SetString(PyExc_OverflowError, "not an id: negative or too big");
        return -1;
    }
    *low = first | second << 30 | third << 60;
    *high = third >> 4 | fourth << 26 | fifth << 56;
    return 0;
}

/* 1 and a new reference to an attribute; 0 and NULL if there is none; -1 and NULL with an exception.
 *
 * PyObject_GetOptionalAttr is new in 3.13 (gh-106521); before, it was private. */
static inline int
op_optional_attribute(PyObject *object, PyObject *name, PyObject **value)
{
#if PY_VERSION_HEX >= 0x030D0000
    return PyObject_GetOptionalAttr(object, name, value);
#else
    return _PyObject_LookupAttr(object, name, value);
#endif
}

#endif
