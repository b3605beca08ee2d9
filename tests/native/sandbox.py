"""System calls that fail from now on, as in a sandbox."""

import ctypes
import os

# Linux, arch/x86/entry/syscalls/syscall_64.tbl
MEMFD_CREATE, PROCESS_VM_READV, PREAD64 = 319, 310, 17
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, SECCOMP_MODE_FILTER = 22, 38, 2


class _Instruction(ctypes.Structure):
    """`struct sock_filter`, linux/filter.h."""

    _fields_ = (
        ("code", ctypes.c_uint16),
        ("if_true", ctypes.c_uint8),
        ("if_false", ctypes.c_uint8),
        ("k", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):
    """`struct sock_fprog`."""

    _fields_ = (("length", ctypes.c_uint16), ("filter", ctypes.c_void_p))


def forbid(syscalls: list[int]) -> None:
    """Make these system calls fail with EPERM, for good."""
    load, jump_if_equal, answer = 0x20, 0x15, 0x06  # BPF_LD|W|ABS, BPF_JMP|JEQ|K, BPF_RET|K
    allow, refuse = 0x7FFF0000, 0x00050000 | 1  # SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO | EPERM
    program = [_Instruction(load, 0, 0, 0)]  # seccomp_data.nr
    for number in syscalls:
        program += [_Instruction(jump_if_equal, 0, 1, number), _Instruction(answer, 0, 0, refuse)]
    program.append(_Instruction(answer, 0, 0, allow))
    instructions = (_Instruction * len(program))(*program)
    libc = ctypes.CDLL(None, use_errno=True)
    described = _Program(len(program), ctypes.cast(instructions, ctypes.c_void_p))
    assert libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    done = libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(described), 0, 0)
    assert done == 0, os.strerror(ctypes.get_errno())
