/* window.c -- see window.h. */
#include "window.h"

#include <string.h>

#define PLACE_SLOTS (2u * OP_PLACES_MOST)
#define STACK_SLOTS (2u * OP_STACKS_MOST)
#define LABEL_SLOTS (2u * OP_LABELS_MOST)
#define GROUP_SLOTS (2u * OP_GROUPS_MOST)

const char *const op_loss_names[OP_LOSSES] = {
    [OP_LOSS_TORN] = "torn",
    [OP_LOSS_TRUNCATED] = "truncated",
    [OP_LOSS_OVERFLOW] = "overflow",
    [OP_LOSS_UNKNOWN] = "span_unknown",
};

/* Every table begins at a multiple of 8 bytes, since every length here is one. */
size_t
op_window_memory_bytes(void)
{
    return OP_PLACES_MOST * sizeof(op_place) + OP_CODES_MOST * sizeof(uint32_t) + OP_STACKS_MOST * sizeof(op_stack_row)
           + OP_STACK_DATA_MOST * sizeof(uint32_t) + OP_LABELS_MOST * sizeof(op_label)
           + OP_THREADS_MOST * sizeof(op_thread_row) + OP_GROUPS_MOST * sizeof(op_group)
           + (PLACE_SLOTS + STACK_SLOTS + LABEL_SLOTS + GROUP_SLOTS) * sizeof(uint32_t);
}

static void *
take(uint8_t **at, size_t bytes)
{
    void *const taken = *at;
    *at += bytes;
    return taken;
}

void
op_window_init(op_window *window, void *memory)
{
    uint8_t *at = memory;
    window->places = take(&at, OP_PLACES_MOST * sizeof(op_place));
    window->last_places = take(&at, OP_CODES_MOST * sizeof(uint32_t));
    window->stacks = take(&at, OP_STACKS_MOST * sizeof(op_stack_row));
    window->stack_data = take(&at, OP_STACK_DATA_MOST * sizeof(uint32_t));
    window->labels = take(&at, OP_LABELS_MOST * sizeof(op_label));
    window->threads = take(&at, OP_THREADS_MOST * sizeof(op_thread_row));
    window->groups = take(&at, OP_GROUPS_MOST * sizeof(op_group));
    window->place_index = op_index_over(take(&at, PLACE_SLOTS * sizeof(uint32_t)), PLACE_SLOTS);
    window->stack_index = op_index_over(take(&at, STACK_SLOTS * sizeof(uint32_t)), STACK_SLOTS);
    window->label_index = op_index_over(take(&at, LABEL_SLOTS * sizeof(uint32_t)), LABEL_SLOTS);
    window->group_index = op_index_over(take(&at, GROUP_SLOTS * sizeof(uint32_t)), GROUP_SLOTS);
}

void
op_window_clear_tick(op_window *window, op_codes *codes, uint64_t start_ns)
{
    window->codes = codes;
    window->start_ns = window->end_ns = start_ns;
    window->place_count = 0;
    window->stack_count = 0;
    window->stack_data_count = 0;
    window->label_count = OP_LABELS_RESERVED;
    window->thread_count = 0;
    window->no_room_thread = 0;
    window->group_count = 0;
    memset(window->losses, 0, sizeof window->losses);
    op_index_clear(&window->place_index);
    op_index_clear(&window->stack_index);
    op_index_clear(&window->label_index);
    op_index_clear(&window->group_index);
}

/* ---- what rows are found by ---- */

static uint64_t
hash_of_place(const void *places, uint32_t row)
{
    const op_place *place = (const op_place *)places + row;
    return op_hash_add(0, (uint64_t)place->code << 32 | (uint32_t)place->offset);
}

static uint64_t
hash_of_stack(const void *stacks, uint32_t row)
{
    return ((const op_stack_row *)stacks)[row].hash;
}

static uint64_t
hash_of_label(const void *labels, uint32_t row)
{
    uint64_t words[sizeof(op_label) / sizeof(uint64_t)];
    uint64_t hash = 0;
    memcpy(words, (const op_label *)labels + row, sizeof words);
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        hash = op_hash_add(hash, words[i]);
    }
    return hash;
}

static uint64_t
hash_of_group(const void *groups, uint32_t row)
{
    const op_group *group = (const op_group *)groups + row;
    return op_hash_add(op_hash_add(0, (uint64_t)group->stack << 32 | group->label),
                       (uint64_t)group->thread << 32 | group->flags);
}

/* ---- rows ---- */

uint32_t
op_window_place_tick(op_window *window, uint32_t code, int32_t offset)
{
    /* A frame that calls is mostly where it was: then only what lies close together is touched. */
    uint32_t row = window->last_places[code];
    if (row != 0 && window->places[row - 1].offset == offset) {
        return row - 1;
    }
    const op_place wanted = {code, offset};
    op_index_make_room(&window->place_index, window->places, 0, window->place_count, hash_of_place);
    uint32_t at = op_index_first(&window->place_index, hash_of_place(&wanted, 0));
    while ((row = window->place_index.slots[at]) != 0) {
        const op_place *place = &window->places[row - 1];
        if (place->code == code && place->offset == offset) {
            break;
        }
        at = op_index_next(&window->place_index, at);
    }
    if (row == 0) {
        /* The last few are for synthetic frames, which must always find room. */
        if (window->place_count >= OP_PLACES_MOST - (code < OP_CODES_SYNTHETIC ? 0 : OP_CODES_SYNTHETIC)) {
            return UINT32_MAX;
        }
        window->places[window->place_count] = wanted;
        window->place_count += 1;
        row = window->place_index.slots[at] = window->place_count;
    }
    window->last_places[code] = row;
    return row - 1;
}

uint32_t
op_window_synthetic_tick(op_window *window, uint32_t code)
{
    const uint32_t place = op_window_place_tick(window, code, 0);
    return op_window_stack_tick(window, &place, 1);
}

uint32_t
op_window_stack_tick(op_window *window, const uint32_t *places, uint32_t count)
{
    uint64_t hash = count;
    for (uint32_t i = 0; i < count; i++) {
        hash = op_hash_add(hash, places[i]);
    }
    op_index_make_room(&window->stack_index, window->stacks, 0, window->stack_count, hash_of_stack);
    uint32_t at = op_index_first(&window->stack_index, hash);
    uint32_t row;
    while ((row = window->stack_index.slots[at]) != 0) {
        const op_stack_row *stack = &window->stacks[row - 1];
        if (stack->hash == hash && stack->count == count
            && memcmp(window->stack_data + stack->begin, places, count * sizeof *places) == 0) {
            return row - 1;
        }
        at = op_index_next(&window->stack_index, at);
    }
    /* The last few are for stacks of one synthetic frame, which must always find room. */
    const bool is_synthetic = count == 1 && window->places[places[0]].code < OP_CODES_SYNTHETIC;
    const uint32_t kept = is_synthetic ? 0 : OP_CODES_SYNTHETIC;
    if (window->stack_count >= OP_STACKS_MOST - kept
        || window->stack_data_count + count > OP_STACK_DATA_MOST - kept) { /* some of those may be taken */
        return op_window_synthetic_tick(window, OP_CODE_OVERFLOW);
    }
    window->stacks[window->stack_count] = (op_stack_row){hash, window->stack_data_count, count};
    memcpy(window->stack_data + window->stack_data_count, places, count * sizeof *places);
    window->stack_data_count += count;
    window->stack_count += 1;
    window->stack_index.slots[at] = window->stack_count;
    return window->stack_count - 1;
}

uint32_t
op_window_label_tick(op_window *window, const op_label *label)
{
    op_index_make_room(&window->label_index, window->labels, OP_LABELS_RESERVED, window->label_count, hash_of_label);
    uint32_t at = op_index_first(&window->label_index, hash_of_label(label, 0));
    uint32_t row;
    while ((row = window->label_index.slots[at]) != 0) {
        if (memcmp(&window->labels[row - 1], label, sizeof *label) == 0) {
            return row - 1;
        }
        at = op_index_next(&window->label_index, at);
    }
    if (window->label_count == OP_LABELS_MOST) {
        return OP_NO_ROOM_LABEL;
    }
    window->labels[window->label_count] = *label;
    window->label_count += 1;
    window->label_index.slots[at] = window->label_count;
    return window->label_count - 1;
}

static uint32_t
no_room_thread(op_window *window)
{
    if (window->no_room_thread == 0) {
        window->threads[window->thread_count] = (op_thread_row){0, 0, 0};
        window->thread_count += 1;
        window->no_room_thread = window->thread_count;
    }
    return window->no_room_thread - 1;
}

uint32_t
op_window_thread_tick(op_window *window, uint64_t ident, uint32_t native_id)
{
    /* One is kept for what finds no room. */
    if (window->thread_count >= OP_THREADS_MOST - (window->no_room_thread == 0 ? 1 : 0)) {
        return no_room_thread(window);
    }
    window->threads[window->thread_count] = (op_thread_row){ident, native_id, 0};
    window->thread_count += 1;
    return window->thread_count - 1;
}

/* Whether there was no room for the stack, or for a function of it. Both have one place in a window. */
static bool
lacks_frames(const op_window *window, uint32_t row)
{
    const uint32_t overflow = window->last_places[OP_CODE_OVERFLOW];
    const uint32_t no_room = window->last_places[OP_CODE_NO_ROOM];
    const op_stack_row *stack = &window->stacks[row];
    for (uint32_t i = 0; i < stack->count && (overflow | no_room) != 0; i++) {
        const uint32_t place = window->stack_data[stack->begin + i] + 1;
        if (place == overflow || place == no_room) {
            return true;
        }
    }
    return false;
}

static uint32_t
find_group(const op_window *window, const op_group *what)
{
    uint32_t at = op_index_first(&window->group_index, hash_of_group(what, 0));
    uint32_t row;
    while ((row = window->group_index.slots[at]) != 0) {
        const op_group *group = &window->groups[row - 1];
        if (group->stack == what->stack && group->label == what->label && group->thread == what->thread
            && group->flags == what->flags) {
            break;
        }
        at = op_index_next(&window->group_index, at);
    }
    return at;
}

uint32_t
op_window_add_tick(op_window *window, const op_group *what)
{
    op_group key = *what;
    bool is_whole = what->label != OP_NO_ROOM_LABEL && what->thread + 1 != window->no_room_thread
                    && !lacks_frames(window, what->stack);
    if (what->label == OP_NO_ROOM_LABEL) {
        key.label = OP_UNKNOWN_LABEL;
    }
    op_index_make_room(&window->group_index, window->groups, 0, window->group_count, hash_of_group);
    uint32_t at = find_group(window, &key);
    uint32_t row = window->group_index.slots[at];
    if (row == 0 && window->group_count >= OP_GROUPS_MOST - 1) {
        /* The last group takes what finds no room, whoever it was. */
        is_whole = false;
        key.stack = op_window_synthetic_tick(window, OP_CODE_OVERFLOW);
        key.label = OP_UNKNOWN_LABEL;
        key.thread = no_room_thread(window);
        key.flags = 0;
        at = find_group(window, &key);
        row = window->group_index.slots[at];
    }
    window->losses[OP_LOSS_OVERFLOW] += is_whole ? 0 : what->samples;
    window->losses[OP_LOSS_UNKNOWN] += key.label == OP_UNKNOWN_LABEL ? what->samples : 0;
    if (row == 0) {
        if (window->group_count == OP_GROUPS_MOST) {
            return UINT32_MAX; /* cannot be: the last group exists since it was the last */
        }
        key.samples = key.wall_ns = key.cpu_ns = 0;
        key.first_ns = what->first_ns;
        window->groups[window->group_count] = key;
        window->group_count += 1;
        row = window->group_index.slots[at] = window->group_count;
    }
    op_group *group = &window->groups[row - 1];
    group->samples += what->samples;
    group->wall_ns += what->wall_ns;
    group->cpu_ns += what->cpu_ns;
    group->last_ns = what->last_ns;
    return is_whole ? row - 1 : UINT32_MAX;
}

void
op_window_repeat_tick(op_window *window, uint32_t row, uint64_t wall_ns, uint64_t now_ns)
{
    op_group *group = &window->groups[row];
    group->samples += 1;
    group->wall_ns += wall_ns;
    group->last_ns = now_ns;
    window->losses[OP_LOSS_UNKNOWN] += group->label == OP_UNKNOWN_LABEL;
}
