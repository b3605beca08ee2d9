/* window.h -- what was sampled between two drains: stacks interned, samples added up as they are taken.
 *
 * No memory is taken for a sample: a sample is a few additions to the group of its (stack, label, thread,
 * flags). All tables are bounded; what finds no room is counted and its time kept, with what is known of it: under
 * a stack that says so, a span that is unknown, a thread that is unknown, never another's.
 *
 *   _tick      in the sampler's loop; no malloc, no locks, no Python
 */
#ifndef OP_WINDOW_H
#define OP_WINDOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "codes.h"
#include "hash.h"
#include "label.h"

#define OP_PLACES_MOST 65536u
#define OP_STACKS_MOST 32768u
#define OP_STACK_DATA_MOST (1u << 20)
#define OP_LABELS_MOST 32768u
#define OP_GROUPS_MOST 65536u
#define OP_THREADS_MOST 8192u

enum { OP_NO_LABEL, OP_UNKNOWN_LABEL, OP_LABELS_RESERVED };
#define OP_NO_ROOM_LABEL UINT32_MAX /* no row: of a sample's label that found none; it becomes an unknown one */

#define OP_FLAG_HELD_GIL 1u
#define OP_FLAG_ON_CPU 2u

/* Why a window lacks something; counts of samples. */
enum {
    OP_LOSS_TORN,      /* the stack could not be read: the sample has none */
    OP_LOSS_TRUNCATED, /* leaf-ward frames could not be proved */
    OP_LOSS_OVERFLOW,  /* a table was full: part of the stack, the label or the thread is missing */
    OP_LOSS_UNKNOWN,   /* the label could not be proved */
    OP_LOSSES
};

extern const char *const op_loss_names[OP_LOSSES];

typedef struct {
    uint32_t code;
    int32_t offset; /* bytes from the first instruction */
} op_place;

typedef struct {
    uint64_t hash;
    uint32_t begin, count; /* in `stack_data` */
} op_stack_row;

typedef struct {
    uint64_t ident;
    uint32_t native_id;
    uint32_t reserved;
} op_thread_row;

typedef struct {
    uint32_t stack, label, thread, flags;
    uint64_t samples, wall_ns, cpu_ns, first_ns, last_ns;
} op_group;

typedef struct {
    op_codes *codes; /* the code numbers are this table's */
    uint64_t start_ns, end_ns;
    op_place *places;
    uint32_t *last_places; /* by code number: 1 + the row of its place that was looked up last */
    op_stack_row *stacks;
    uint32_t *stack_data; /* rows of `places`, leaf first */
    op_label *labels;
    op_thread_row *threads;
    op_group *groups;
    op_index place_index, stack_index, label_index, group_index;
    uint32_t place_count, stack_count, stack_data_count, label_count, thread_count, group_count;
    uint32_t no_room_thread; /* 1 + the row of the thread of what finds no room; 0: not needed so far */
    uint64_t losses[OP_LOSSES];
} op_window;

size_t op_window_memory_bytes(void);

/* Lay the tables out in `memory`, which is zeroed and op_window_memory_bytes() long. */
void op_window_init(op_window *window, void *memory);

/* Empty the window; the memory must have been zeroed again. */
void op_window_clear_tick(op_window *window, op_codes *codes, uint64_t start_ns);

/* The row of a place; UINT32_MAX if there is no room. */
uint32_t op_window_place_tick(op_window *window, uint32_t code, int32_t offset);

/* The row of a stack of `count` places, leaf first. Where there is no room, the row of a stack that says so. */
uint32_t op_window_stack_tick(op_window *window, const uint32_t *places, uint32_t count);

/* The row of the stack of one synthetic frame. */
uint32_t op_window_synthetic_tick(op_window *window, uint32_t code);

/* The row of a label; OP_NO_ROOM_LABEL if there is no room. */
uint32_t op_window_label_tick(op_window *window, const op_label *label);

/* A new row for a thread; that of a thread without ids, which stands for many, if there is no room. */
uint32_t op_window_thread_tick(op_window *window, uint64_t ident, uint32_t native_id);

/* Add `samples` samples of a group, and their time; returns its row, to which more may be added. UINT32_MAX if
 * something of them found no room: that is counted here, once a sample, so the next one must come here, too. */
uint32_t op_window_add_tick(op_window *window, const op_group *what);

/* Add one more sample to a group by its row. */
void op_window_repeat_tick(op_window *window, uint32_t row, uint64_t wall_ns, uint64_t now_ns);

#endif
