"""Gives up what a container of Kubernetes' standard *restricted* lacks, and becomes the program in its arguments.

No capabilities, no way to have any again, and system calls that sandboxes forbid fail. Linux on x86-64.
"""

import ctypes
import os
import sys

from tests.native.sandbox import PROCESS_VM_READV, forbid

# Linux, arch/x86/entry/syscalls/syscall_64.tbl: what lets a process look at or change another one, or the system.
PTRACE, PROCESS_VM_WRITEV, KCMP, PERF_EVENT_OPEN, BPF = 101, 311, 312, 298, 321
PIDFD_GETFD, PROCESS_MADVISE, USERFAULTFD = 438, 440, 323
FORBIDDEN = [
    PTRACE,
    PROCESS_VM_READV,
    PROCESS_VM_WRITEV,
    KCMP,
    PERF_EVENT_OPEN,
    BPF,
    PIDFD_GETFD,
    PROCESS_MADVISE,
    USERFAULTFD,
]
PR_CAPBSET_DROP, CAPABILITIES = 24, 64


def give_up_capabilities() -> None:
    """As `capabilities: {drop: [ALL]}`, from the next `execve` on. Who is not root has none."""
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None)
        for capability in range(CAPABILITIES):  # unknown ones are refused
            libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)


if __name__ == "__main__":
    give_up_capabilities()
    forbid(FORBIDDEN)
    os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606 - that is what it is for
