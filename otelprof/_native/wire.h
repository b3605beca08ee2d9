/* wire.h -- protobuf's wire format for whole columns, which Python writes too slowly for a flush.
 *
 * Python twins of the same names, with the same bytes and errors: otelprof/formats/packing.py. The contract is
 * _core.pyi. Nothing here runs code of the caller's: rows are tuples of int, and nothing else is taken. The GIL is
 * held where tuples are read, so callers hand over some thousand rows at a time; it is given up for sorting.
 */
#ifndef OP_WIRE_H
#define OP_WIRE_H

#include "compat.h"

/* packed_rows(tag: int, rows: list[tuple[int, ...]], numbers: array[int] | None) -> list[bytes] */
PyObject *op_packed_rows(PyObject *module, PyObject *args);

/* message_rows(tags: bytes, rows: list[tuple[int, ...]]) -> list[bytes] */
PyObject *op_message_rows(PyObject *module, PyObject *args);

/* mark_rows(rows: list[tuple[int, ...]], mask: bytearray) -> None */
PyObject *op_mark_rows(PyObject *module, PyObject *args);

/* ranked_rows(bodies: list[bytes]) -> tuple[list[bytes], list[int]] */
PyObject *op_ranked_rows(PyObject *module, PyObject *args);

/* sample_rows(tag: int, before: tuple[list[bytes], ...], value_tag: int, values: tuple[tuple[int, ...], ...],
 *             after: tuple[list[bytes], ...]) -> bytes */
PyObject *op_sample_rows(PyObject *module, PyObject *args);

#endif
