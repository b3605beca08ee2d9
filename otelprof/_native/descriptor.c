/* descriptor.c -- see descriptor.h. */
#define _GNU_SOURCE
#include "descriptor.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define HIGHEST_FD 4096 /* a table of descriptors up to it takes 32 KiB, which a fork copies */
#define BELOW_THE_TOP 64

bool
op_descriptor_is_ours_tick(const op_descriptor *d)
{
    struct stat now;
    return d->fd >= 0 && fstat(d->fd, &now) == 0 && now.st_dev == d->device && now.st_ino == d->inode;
}

void
op_descriptor_close_tick(op_descriptor *d)
{
    const int error = errno;
    if (op_descriptor_is_ours_tick(d)) {
        (void)close(d->fd);
    }
    d->fd = -1;
    errno = error;
}

bool
op_descriptor_take_tick(op_descriptor *d, int fd)
{
    struct rlimit limit;
    struct stat file;
    *d = (op_descriptor){.fd = -1};
    if (fd < 0) {
        return false;
    }
    if (fstat(fd, &file) != 0) {
        const int error = errno;
        (void)close(fd);
        errno = error;
        return false;
    }
    *d = (op_descriptor){fd, file.st_dev, file.st_ino};
    int base = HIGHEST_FD;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < HIGHEST_FD) {
        base = (int)limit.rlim_cur;
    }
    /* Where there is no room, lower: most of the numbers may be the program's. */
    for (base -= BELOW_THE_TOP; base > fd; base /= 2) {
        op_descriptor high = *d;
        if ((high.fd = fcntl(fd, F_DUPFD_CLOEXEC, base)) >= 0) {
            op_descriptor_close_tick(d);
            *d = high;
            break;
        }
    }
    return true;
}
