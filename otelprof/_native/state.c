/* state.c -- see state.h. */
#define _GNU_SOURCE
#include "state.h"

#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

#define FIELD_STATE 3u
#define FIELD_PROCESSOR 39u

static bool
open_stat(op_descriptor *file, uint32_t native_id)
{
    char path[40] = "/proc/self/task/";
    size_t at = 16, digits = 0;
    char reversed[12];
    do {
        reversed[digits++] = (char)('0' + native_id % 10);
        native_id /= 10;
    } while (native_id > 0);
    while (digits > 0) {
        path[at++] = reversed[--digits];
    }
    memcpy(path + at, "/stat", 6);
    return op_descriptor_take_tick(file, open(path, O_RDONLY | O_CLOEXEC));
}

/* The file of a thread: open since it was asked about last, or in the place of the one that was not for longest. */
static op_descriptor *
file_of(op_states *states, uint32_t native_id)
{
    uint32_t oldest = 0;
    for (uint32_t i = 0; i < OP_STATES_KEPT; i++) {
        if (states->of[i].native_id == native_id) {
            states->of[i].asked = states->looks;
            return &states->of[i].file;
        }
        if (states->of[i].asked < states->of[oldest].asked) {
            oldest = i;
        }
    }
    if (states->of[oldest].native_id != 0) {
        op_descriptor_close_tick(&states->of[oldest].file);
    }
    states->of[oldest].native_id = native_id;
    states->of[oldest].asked = states->looks;
    states->of[oldest].file.fd = -1;
    return &states->of[oldest].file;
}

/* What "STATE 1 2 ..." says, which begins with the third field of proc_pid_stat(5). */
static op_readiness
readiness_of(const char *text, const char *end)
{
    int processor = 0;
    if (text < end && *text != 'R') {
        return OP_NOT_READY;
    }
    for (uint32_t field = FIELD_STATE; field < FIELD_PROCESSOR; field++) {
        text = memchr(text, ' ', (size_t)(end - text));
        if (text == NULL) {
            return OP_READY_HERE;
        }
        text += 1;
    }
    const char *const digits = text;
    for (; text < end && *text >= '0' && *text <= '9'; text++) {
        processor = 10 * processor + (*text - '0');
    }
    const int ours = sched_getcpu();
    return text == digits || ours < 0 || processor == ours ? OP_READY_HERE : OP_READY_ELSEWHERE;
}

op_readiness
op_readiness_tick(op_states *states, uint32_t native_id)
{
    char text[512]; /* up to the field that is wanted it is some 200 */
    ssize_t got = -1;
    states->looks += 1;
    op_descriptor *const file = file_of(states, native_id);
    for (uint32_t i = 0; i < 2 && got <= 0; i++) {
        /* It may be that of a thread that ended, whose number this one has. */
        if (i > 0 || !op_descriptor_is_ours_tick(file)) {
            op_descriptor_close_tick(file);
            if (!open_stat(file, native_id)) {
                return OP_READY_HERE;
            }
        }
        got = pread(file->fd, text, sizeof text - 1, 0);
    }
    /* "TID (name) STATE ..."; the name may hold anything, so the last parenthesis counts. */
    for (ssize_t i = got - 3; i > 0; i--) {
        if (text[i] == ')') {
            return readiness_of(text + i + 2, text + got);
        }
    }
    return OP_READY_HERE;
}

void
op_states_close_tick(op_states *states)
{
    for (uint32_t i = 0; i < OP_STATES_KEPT; i++) {
        if (states->of[i].native_id != 0) {
            op_descriptor_close_tick(&states->of[i].file);
            states->of[i].native_id = 0;
        }
    }
}
