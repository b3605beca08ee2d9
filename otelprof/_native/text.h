/* text.h -- the characters of a Python string as UTF-8.
 *
 * What a PyUnicode holds after its header is an array of code points of 1, 2 or 4 bytes each (PEP 393).
 * The bytes are a copy of another's memory and may be anything; what comes out is always valid UTF-8.
 *
 * A pure function: no malloc, no locks, no Python, nothing kept; it may be called anywhere. O(length) time.
 * Its Python twin is `str.encode("utf-8")`, after surrogates were replaced.
 */
#ifndef OP_TEXT_H
#define OP_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* Encode as many of the first characters as fit into `capacity` bytes, none of them in part. Returns the
 * number of bytes written; there is no NUL at the end, and a NUL in the text is a byte like others.
 *
 *   text    `length_chars * kind` readable bytes, aligned or not; may be NULL if there are none
 *   kind    bytes a character: 1, 2 or 4; of another kind nothing is written
 *   is_cut  set to whether characters are missing at the end; may be NULL
 *
 * Surrogates, also in pairs (Python never pairs them), and what is above U+10FFFF become U+FFFD. */
size_t op_text_to_utf8(const void *text, size_t length_chars, unsigned kind, char *out, size_t capacity,
                       bool *is_cut);

#endif
