/* unit_window.c -- the tables of a window, filled to the brim and beyond.
 *
 * They lie in memory of exactly their size, so that ASan sees a byte too many; that no table runs into the next one,
 * which it cannot see, is told by what the others hold.
 */
#include "check.h"
#include "window.h"

#include <string.h>

enum { DEPTH = 128, CODE = 100 };

static void *
zeroed(size_t bytes)
{
    void *memory = calloc(1, bytes);
    CHECK(memory != NULL);
    return memory;
}

static op_window
begin(void)
{
    op_window window = {0};
    op_window_init(&window, zeroed(op_window_memory_bytes()));
    op_window_clear_tick(&window, NULL, 0);
    return window;
}

static void
end(op_window *window)
{
    free(window->places); /* its memory begins with them */
}

static op_label
label_of(uint32_t number)
{
    op_label label = {.flags = OP_LABEL_SAMPLED};
    memset(label.trace_id, 'T', sizeof label.trace_id);
    memcpy(label.span_id, &number, sizeof number);
    memset(label.local_root_span_id, 'R', sizeof label.local_root_span_id);
    return label;
}

/* A stack of `count` places, the `number`-th of this depth. Its leaf is a place of its own. */
static uint32_t
stack_of(op_window *window, uint32_t number, uint32_t count)
{
    uint32_t places[DEPTH];
    for (uint32_t i = 0; i < count; i++) {
        places[i] = op_window_place_tick(window, CODE + i, i == 0 ? (int32_t)number : 0);
        CHECK(places[i] != UINT32_MAX);
    }
    return op_window_stack_tick(window, places, count);
}

/* The only code of a stack of one place. */
static uint32_t
code_of(const op_window *window, uint32_t stack)
{
    CHECK(stack < window->stack_count && window->stacks[stack].count == 1);
    return window->places[window->stack_data[window->stacks[stack].begin]].code;
}

static uint32_t
add(op_window *window, uint32_t stack, uint32_t label, uint32_t thread)
{
    return op_window_add_tick(
        window, &(op_group){.stack = stack, .label = label, .thread = thread, .samples = 1, .wall_ns = 10, .cpu_ns = 3});
}

static void
check_sums(const op_window *window, uint64_t samples, uint64_t wall_ns, uint64_t cpu_ns)
{
    for (uint32_t i = 0; i < window->group_count; i++) {
        const op_group *group = &window->groups[i];
        CHECK(group->stack < window->stack_count && group->label < window->label_count
              && group->thread < window->thread_count);
        samples -= group->samples;
        wall_ns -= group->wall_ns;
        cpu_ns -= group->cpu_ns;
    }
    CHECK(samples == 0 && wall_ns == 0 && cpu_ns == 0);
}

static void
places_beyond_the_last_are_refused_and_those_before_are_found(void)
{
    op_window window = begin();
    const uint32_t most = OP_PLACES_MOST - OP_CODES_SYNTHETIC;
    for (uint32_t i = 0; i < most; i++) {
        CHECK(op_window_place_tick(&window, CODE + i % 3, (int32_t)i) == i);
    }
    CHECK(op_window_place_tick(&window, CODE, -2) == UINT32_MAX);
    for (uint32_t code = 0; code < OP_CODES_SYNTHETIC; code++) {
        CHECK(op_window_place_tick(&window, code, 0) == most + code);
    }
    CHECK(window.place_count == OP_PLACES_MOST && op_window_place_tick(&window, OP_CODES_MOST - 1, 0) == UINT32_MAX);
    for (uint32_t i = 0; i < most; i++) {
        CHECK(op_window_place_tick(&window, CODE + i % 3, (int32_t)i) == i);
    }
    for (uint32_t i = 0; i < OP_CODES_MOST; i++) {
        CHECK(window.last_places[i] <= OP_PLACES_MOST);
    }
    CHECK(window.stacks[0].hash == 0 && window.stack_count == 0);
    end(&window);
}

static void
check_no_room_for_a_stack(op_window *window, uint32_t stack)
{
    const uint32_t thread = op_window_thread_tick(window, 7, 7);
    CHECK(code_of(window, stack) == OP_CODE_OVERFLOW);
    for (uint64_t i = 1; i <= 3; i++) {
        CHECK(add(window, stack, OP_NO_LABEL, thread) == UINT32_MAX); /* never a repeat, which would not be counted */
        CHECK(window->losses[OP_LOSS_OVERFLOW] == i);
    }
    CHECK(window->group_count == 1 && window->groups[0].thread == thread && window->groups[0].label == OP_NO_LABEL);
    check_sums(window, 3, 30, 9);
}

static void
stacks_beyond_the_last_are_one_that_says_so(void)
{
    op_window window = begin();
    const uint32_t most = OP_STACKS_MOST - OP_CODES_SYNTHETIC;
    for (uint32_t i = 0; i < most; i++) {
        CHECK(stack_of(&window, i, 1) == i);
    }
    check_no_room_for_a_stack(&window, stack_of(&window, most, 1));
    for (uint32_t code = 0; code < OP_CODES_SYNTHETIC; code++) {
        CHECK(code_of(&window, op_window_synthetic_tick(&window, code)) == code);
    }
    CHECK(window.stack_count == OP_STACKS_MOST);
    CHECK(code_of(&window, stack_of(&window, most + 1, 2)) == OP_CODE_OVERFLOW);
    for (uint32_t i = 0; i < most; i++) {
        CHECK(stack_of(&window, i, 1) == i);
    }
    end(&window);
}

/* Until `left` entries of the places of stacks are free, of those that are not kept. */
static void
fill_stack_data(op_window *window, uint32_t left)
{
    const uint32_t most = OP_STACK_DATA_MOST - OP_CODES_SYNTHETIC - left;
    for (uint32_t i = 0; window->stack_data_count < most; i++) {
        const uint32_t rest = most - window->stack_data_count;
        (void)stack_of(window, i, rest < DEPTH ? rest : DEPTH);
    }
    CHECK(window->stack_data_count == most && window->losses[OP_LOSS_OVERFLOW] == 0);
}

static void
places_of_stacks_beyond_the_last_are_written_nowhere(void)
{
    for (uint32_t left = 0; left < 3; left++) {
        op_window window = begin();
        const op_label label = label_of(1);
        const uint32_t row = op_window_label_tick(&window, &label);
        fill_stack_data(&window, left);
        /* Each of those kept may be taken before the next stack that finds no room comes. */
        for (uint32_t code = 0; code < OP_CODES_SYNTHETIC; code++) {
            for (uint32_t count = left + 1; count <= DEPTH; count += 42) {
                CHECK(code_of(&window, stack_of(&window, 40000 + code, count)) == OP_CODE_OVERFLOW);
                CHECK(window.stack_data_count <= OP_STACK_DATA_MOST);
            }
            CHECK(code_of(&window, op_window_synthetic_tick(&window, code)) == code);
        }
        CHECK(window.stack_data_count == OP_STACK_DATA_MOST - left);
        CHECK(memcmp(&window.labels[row], &label, sizeof label) == 0);
        for (uint32_t i = row + 1; i < OP_LABELS_MOST; i++) {
            CHECK(memcmp(&window.labels[i], &(op_label){0}, sizeof label) == 0);
        }
        for (uint32_t i = 0; i < OP_STACK_DATA_MOST; i++) {
            CHECK(window.stack_data[i] < window.place_count);
        }
        check_no_room_for_a_stack(&window, stack_of(&window, 50000, DEPTH));
        end(&window);
    }
}

static void
labels_beyond_the_last_are_unknown_never_others(void)
{
    op_window window = begin();
    op_label label;
    const uint32_t stack = stack_of(&window, 0, 1);
    const uint32_t thread = op_window_thread_tick(&window, 7, 7);
    for (uint32_t i = OP_LABELS_RESERVED; i < OP_LABELS_MOST; i++) {
        label = label_of(i);
        CHECK(op_window_label_tick(&window, &label) == i);
    }
    label = label_of(OP_LABELS_MOST);
    CHECK(op_window_label_tick(&window, &label) == OP_NO_ROOM_LABEL);
    CHECK(window.threads[0].ident == 7 && window.losses[OP_LOSS_OVERFLOW] == 0);
    for (uint64_t i = 1; i <= 3; i++) {
        CHECK(add(&window, stack, OP_NO_ROOM_LABEL, thread) == UINT32_MAX);
        CHECK(window.losses[OP_LOSS_OVERFLOW] == i && window.losses[OP_LOSS_UNKNOWN] == i);
    }
    CHECK(window.group_count == 1 && window.groups[0].label == OP_UNKNOWN_LABEL && window.groups[0].stack == stack);
    CHECK(add(&window, stack, OP_UNKNOWN_LABEL, thread) == 0); /* not proved: no matter of room */
    op_window_repeat_tick(&window, 0, 10, 0);
    CHECK(window.losses[OP_LOSS_OVERFLOW] == 3 && window.losses[OP_LOSS_UNKNOWN] == 5);
    check_sums(&window, 5, 50, 12);
    for (uint32_t i = OP_LABELS_RESERVED; i < OP_LABELS_MOST; i++) {
        label = label_of(i);
        CHECK(op_window_label_tick(&window, &label) == i);
    }
    end(&window);
}

static void
threads_beyond_the_last_are_nobody_never_others(void)
{
    op_window window = begin();
    const uint32_t stack = stack_of(&window, 0, 1);
    for (uint32_t i = 0; i < OP_THREADS_MOST - 1; i++) {
        CHECK(op_window_thread_tick(&window, 1000 + i, 1000 + i) == i);
    }
    for (uint64_t i = 1; i <= 3; i++) {
        const uint32_t thread = op_window_thread_tick(&window, 1, 1);
        CHECK(thread == OP_THREADS_MOST - 1 && window.thread_count == OP_THREADS_MOST);
        CHECK(window.threads[thread].ident == 0 && window.threads[thread].native_id == 0);
        CHECK(add(&window, stack, OP_NO_LABEL, thread) == UINT32_MAX && window.losses[OP_LOSS_OVERFLOW] == i);
    }
    for (uint32_t i = 0; i < OP_THREADS_MOST - 1; i++) {
        CHECK(window.threads[i].ident == 1000 + i && window.threads[i].native_id == 1000 + i);
    }
    CHECK(window.groups[0].stack == stack && window.losses[OP_LOSS_UNKNOWN] == 0);
    check_sums(&window, 3, 30, 9);
    end(&window);
}

static void
a_sample_that_lacks_everything_is_lost_once(void)
{
    op_window window = begin();
    for (uint32_t i = 0; i < OP_THREADS_MOST; i++) {
        (void)op_window_thread_tick(&window, i + 1, i + 1);
    }
    (void)add(&window, op_window_synthetic_tick(&window, OP_CODE_OVERFLOW), OP_NO_ROOM_LABEL, OP_THREADS_MOST - 1);
    CHECK(window.losses[OP_LOSS_OVERFLOW] == 1 && window.losses[OP_LOSS_UNKNOWN] == 1);
    end(&window);
}

static void
a_function_without_room_is_counted_wherever_it_is_on_the_stack(void)
{
    op_window window = begin();
    const uint32_t thread = op_window_thread_tick(&window, 7, 7);
    const uint32_t whole = stack_of(&window, 0, 3);
    CHECK(add(&window, whole, OP_NO_LABEL, thread) == 0);
    for (uint32_t at = 0; at < 3; at++) {
        uint32_t places[3];
        for (uint32_t i = 0; i < 3; i++) {
            places[i] = op_window_place_tick(&window, i == at ? OP_CODE_NO_ROOM : CODE + i, 0);
        }
        const uint32_t stack = op_window_stack_tick(&window, places, 3);
        for (uint64_t i = 1; i <= 2; i++) {
            CHECK(add(&window, stack, OP_NO_LABEL, thread) == UINT32_MAX);
            CHECK(window.losses[OP_LOSS_OVERFLOW] == 2 * at + i);
        }
    }
    CHECK(add(&window, whole, OP_NO_LABEL, thread) == 0);
    op_window_repeat_tick(&window, 0, 10, 0);
    CHECK(window.losses[OP_LOSS_OVERFLOW] == 6);
    check_sums(&window, 9, 90, 24);
    end(&window);
}

/* Groups to the brim, of one thread and of as many labels as there are; returns how many. */
static uint32_t
fill_groups(op_window *window, uint32_t thread)
{
    for (uint32_t i = 0; i < OP_GROUPS_MOST - 1; i++) {
        const op_label label = label_of(i / 4);
        const uint32_t row = add(window, stack_of(window, i % 4, 2), op_window_label_tick(window, &label), thread);
        CHECK(row == i);
    }
    return OP_GROUPS_MOST - 1;
}

static void
groups_beyond_the_last_are_nobodys_and_each_sample_is_counted(void)
{
    op_window window = begin();
    const uint32_t innocent = op_window_thread_tick(&window, 7, 7);
    const uint32_t groups = fill_groups(&window, innocent);
    const uint32_t stack = stack_of(&window, 5, 2);
    for (uint64_t i = 1; i <= 3; i++) {
        CHECK(add(&window, stack, OP_NO_LABEL, innocent) == UINT32_MAX);
        CHECK(window.losses[OP_LOSS_OVERFLOW] == i && window.losses[OP_LOSS_UNKNOWN] == i);
    }
    const op_group *last = &window.groups[OP_GROUPS_MOST - 1];
    CHECK(window.group_count == OP_GROUPS_MOST && last->samples == 3 && last->label == OP_UNKNOWN_LABEL);
    CHECK(code_of(&window, last->stack) == OP_CODE_OVERFLOW);
    CHECK(window.threads[last->thread].ident == 0 && window.threads[last->thread].native_id == 0);
    for (uint32_t i = 0; i < groups; i++) { /* those before are found, and repeated as ever */
        const op_label label = label_of(i / 4);
        CHECK(add(&window, stack_of(&window, i % 4, 2), op_window_label_tick(&window, &label), innocent) == i);
        op_window_repeat_tick(&window, i, 10, 0);
    }
    CHECK(window.losses[OP_LOSS_OVERFLOW] == 3);
    /* Time without a sample is kept, and is no sample. */
    (void)op_window_add_tick(&window, &(op_group){.stack = stack, .thread = innocent, .wall_ns = 1, .cpu_ns = 1});
    CHECK(window.losses[OP_LOSS_OVERFLOW] == 3 && window.group_count == OP_GROUPS_MOST);
    check_sums(&window, 3 + 3ull * groups, 31 + 30ull * groups, 10 + 6ull * groups);
    end(&window);
}

static void
the_thread_of_groups_without_room_has_a_row_however_many_threads_come(void)
{
    op_window window = begin();
    const uint32_t innocent = op_window_thread_tick(&window, 7, 7);
    (void)fill_groups(&window, innocent);
    (void)add(&window, stack_of(&window, 5, 2), OP_NO_LABEL, innocent);
    const uint32_t nobody = window.groups[OP_GROUPS_MOST - 1].thread;
    CHECK(nobody == 1);
    for (uint32_t i = 2; i < OP_THREADS_MOST; i++) {
        CHECK(op_window_thread_tick(&window, i, i) == i);
    }
    CHECK(op_window_thread_tick(&window, 1, 1) == nobody && window.thread_count == OP_THREADS_MOST);
    end(&window);
}

int
main(void)
{
    places_beyond_the_last_are_refused_and_those_before_are_found();
    stacks_beyond_the_last_are_one_that_says_so();
    places_of_stacks_beyond_the_last_are_written_nowhere();
    labels_beyond_the_last_are_unknown_never_others();
    threads_beyond_the_last_are_nobody_never_others();
    a_sample_that_lacks_everything_is_lost_once();
    a_function_without_room_is_counted_wherever_it_is_on_the_stack();
    groups_beyond_the_last_are_nobodys_and_each_sample_is_counted();
    the_thread_of_groups_without_room_has_a_row_however_many_threads_come();
    return 0;
}
