/* location.h -- which line and column an instruction stands for: CPython's co_linetable, decoded.
 *
 * The format is PEP 657's, the same in CPython 3.11 to 3.15 (Objects/locations.md, since 3.14
 * InternalDocs/code_objects.md). The bytes are a copy of another's memory and may be anything: what is not
 * exactly what CPython's compiler writes up to the wanted instruction is answered with "unknown", never with
 * a guess.
 *
 * A pure function: no malloc, no locks, no Python, nothing kept; it may be called anywhere. O(size) time, so
 * the sampler stores offsets and whoever drains decodes them. Its Python twin is `code.co_positions()`.
 */
#ifndef OP_LOCATION_H
#define OP_LOCATION_H

#include <stddef.h>
#include <stdint.h>

/* Find the place of the instruction `offset_bytes` after the start of the bytecode (2 * lasti; inline caches
 * belong to the instruction before them).
 *
 *   first_line  co_firstlineno
 *   *line       as co_lines() gives it, counted from 1; 0 if it gives None or if unknown
 *   *column     as co_positions() gives it, in UTF-8 bytes, but counted from 1; 0 if it gives None or if
 *               unknown. Line 0 with column 1 is real: what precedes the first line of a module.
 *
 * `table` may be NULL if `size` is 0. */
void op_location_find(const uint8_t *table, size_t size, int32_t first_line, int32_t offset_bytes,
                      int32_t *line, int32_t *column);

#endif
