/* codes.h -- code objects as small numbers, with what names them.
 *
 * A number stands for one code object that existed, never for an address: when the object dies its address
 * is forgotten before it can be believed again (deaths.h). Names and line tables are copied once, when a
 * code object is met for the first time; no reference is taken.
 *
 *   _tick      in the sampler's loop; no malloc, no locks, no Python
 */
#ifndef OP_CODES_H
#define OP_CODES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hash.h"
#include "read.h"

#define OP_CODES_MOST 32768u
#define OP_TEXTS_MOST 32768u
#define OP_CODES_ARENA_BYTES ((size_t)12 << 20)
#define OP_NAME_BYTES 512u      /* longer names are cut: docs/limits.md */
#define OP_FILENAME_BYTES 1024u
#define OP_LINETABLE_BYTES 65536u /* larger tables give no lines */

/* Frames that are no Python function, by code number. */
enum {
    OP_CODE_ELIDED,      /* the middle of a deep stack, left out */
    OP_CODE_TRUNCATED,   /* leaf-ward of what could be proved */
    OP_CODE_OVERFLOW,    /* no room for the stack */
    OP_CODE_NO_ROOM,     /* no room for the code object */
    OP_CODE_UNREAD,      /* the stack could not be read at all */
    OP_CODE_UNSAMPLED,   /* time of a thread that no sample covers */
    OP_CODE_UNSEEN,      /* CPU time that no thread was seen to use */
    OP_CODES_SYNTHETIC
};

extern const char *const op_synthetic_names[OP_CODES_SYNTHETIC];

typedef struct {
    uint32_t filename, qualname; /* offsets in `arena` of {u32 bytes; char utf8[bytes]} */
    uint32_t linetable;          /* offset in `arena` */
    uint32_t linetable_bytes;
    int32_t first_line;
} op_code_meta;

typedef struct {
    uintptr_t address; /* kept when the object dies: the next one there is numbered anew */
    uint32_t code;     /* 0: it died */
    uint32_t first_traceable_bytes;
    uint32_t instruction_bytes;
} op_code_row;

/* Zeroed memory is an empty table, but for `op_codes_clear_tick`. */
typedef struct {
    op_code_row *rows; /* by address, found through `address_index` */
    op_index address_index;
    op_code_meta *metas; /* by code number */
    uint32_t *texts;     /* offsets in `arena`, found through `text_index` */
    op_index text_index;
    uint8_t *arena;
    uint32_t code_count, row_count, text_count;
    size_t arena_used;
    uint64_t deaths_seen;
} op_codes;

size_t op_codes_memory_bytes(void);

/* Lay the table out in `memory`, which is zeroed and op_codes_memory_bytes() long. */
void op_codes_init(op_codes *codes, void *memory);

/* Forget everything; the memory must have been zeroed again. */
void op_codes_clear_tick(op_codes *codes);

/* Whether it is time to begin anew. */
bool op_codes_is_filling(const op_codes *codes);

/* Forget the addresses of those that died. True if one of `count` addresses is among them: then what was
 * read from it in the meantime may be another's. */
bool op_codes_bury_tick(op_codes *codes, const uintptr_t *addresses, size_t count);

typedef enum {
    OP_RESOLVED,
    OP_INCOMPLETE, /* a frame that has not begun to run: not shown */
    OP_NOT_CODE,   /* not a code object, or the instruction lies outside of it: a torn read */
} op_resolution;

/* Number the code object at `address`, and tell the offset of the instruction `ip` in it, in bytes. */
op_resolution op_codes_resolve_tick(op_codes *codes, op_reader *reader, uintptr_t address, uintptr_t ip,
                                    bool is_generator, uint32_t *code, int32_t *offset);

#endif
