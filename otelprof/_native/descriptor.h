/* descriptor.h -- a descriptor of ours, among those of the program.
 *
 * A descriptor is a number that the program may close, as everyone does who closes what he does not own
 * (os.closerange(3, 65536), before a daemon), and that the program's next file may get. To write there or to
 * close it would be the program's loss. So ours has a high number, which files that are opened do not get; and
 * it is used only after a look at which file it is. One that is not ours any more is left alone.
 *
 * What remains is the moment in which a file is opened: then it has a low number, until it is taken to a high one. So
 * files are kept open that are needed often.
 *
 *   _tick      in the sampler's loop; no malloc, no locks, no Python
 */
#ifndef OP_DESCRIPTOR_H
#define OP_DESCRIPTOR_H

#include <stdbool.h>
#include <sys/types.h>

typedef struct {
    int fd;       /* -1: none */
    dev_t device; /* which file it must be */
    ino_t inode;
} op_descriptor;

/* Take a file that was just opened, unless `fd` is negative, to a high number. False, with errno, if it cannot be had. */
bool op_descriptor_take_tick(op_descriptor *descriptor, int fd);

bool op_descriptor_is_ours_tick(const op_descriptor *descriptor);

/* Close it if it is ours; then there is none. Keeps errno. */
void op_descriptor_close_tick(op_descriptor *descriptor);

#endif
