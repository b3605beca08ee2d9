"""What the kernel says about a thread: its CPU time, and whether it waits for the GIL. Linux only.

Threads are named by the kernel's thread id, so that asking for a dead one is an error and no crash:
`pthread_getcpuclockid` of a dead thread reads freed memory, the clock id made here answers EINVAL.
Nothing here gives up the GIL, which `os.pread` would: the sampler's view must stay that of one instant.
"""

import ctypes
import os
import threading
import time

from otelprof.primitives import Event, Lock
from otelprof.threads import OwnThread

# A per-thread CPU clock: the complement of the thread id above three bits, of which 4 says "of a thread"
# and 2 says "scheduler time" (Linux, include/linux/posix-timers_types.h, CPUCLOCK_*).
_THREAD_SCHED_CLOCK = 6

_GIL_BYTES = 128  # the condition variables of `struct _gil_runtime_state` lie this close together
_LEARN_TRIES = 500  # 2 µs each: well below the 5 ms after which the GIL would be taken from us
_LEARN_ROUNDS = 4
_SETTLE_S = 0.0005
_SETTLE_TRIES = 200
_SETTLE_LOOKS = 5  # about 70 µs, in which a thread that goes to sleep has done so


def clock_id(native_id: int) -> int:
    """The id of the CPU clock of a thread of this process, for `time.clock_gettime_ns`."""
    return (~native_id << 3) | _THREAD_SCHED_CLOCK


def cpu_ns(clock: int) -> int | None:
    """CPU time of a thread since its birth, in nanoseconds; None if the thread is dead. About 1 µs."""
    try:
        return time.clock_gettime_ns(clock)
    except OSError:
        return None


class GilWaiters:
    """Tells a thread that would run, had it the GIL, from one that sleeps in a system call.

    While the sampler holds the GIL nobody else runs Python, and most stacks that it sees end in a call:
    either the call blocks, or the GIL was taken away right after it. Only in the second case is the thread
    on the CPU. The kernel shows the futex that a thread waits for (/proc/self/task/TID/syscall), and the
    GIL's is learned at start from a thread that is made to wait for it (docs/decisions/0004).
    """

    def __init__(self) -> None:
        self._gil: tuple[bytes, int] | None = None  # system call and address; None: cannot be told
        self._buffer = ctypes.create_string_buffer(128)
        libc = ctypes.PyDLL(None)  # whose calls keep the GIL, unlike those of `os`
        self._open, self._read, self._close = libc.open, libc.read, libc.close
        self._read.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t)
        self._read.restype = ctypes.c_ssize_t

    def learn(self) -> bool:
        """Find the GIL's futex; False where it is not shown. Milliseconds, more while the GIL is busy."""
        for _ in range(_LEARN_ROUNDS):
            first, second = self._probe(), self._probe()
            # Two waiters must wait at the same place, which is not so with every C library.
            if first and second and first[0] == second[0] and _are_near(first[1], second[1]):
                self._gil = first
                return True
        return False

    def is_on_cpu(self, native_id: int) -> bool | None:
        """Whether the thread runs, or would if it had the GIL; None if that cannot be told.

        About 15 µs, six times that for a thread that runs.
        """
        if self._gil is None:
            return None
        state = self._state(native_id)
        for _ in range(_SETTLE_LOOKS):
            if state is None or len(state) > 1:
                break
            # It runs: computing without the GIL, or still on its way to sleep, having just given it up.
            state = self._state(native_id)
        if state is None:
            return None
        if len(state) == 1:
            return True
        call, address = self._gil
        return state[0] == call and _are_near(int(state[1], 16), address)

    def _probe(self) -> tuple[bytes, int] | None:
        """Make a thread wait for the GIL and see where it waits."""
        door, ready = Lock(), Event()
        door.acquire()

        def wait_at_door() -> None:
            ready.set()
            door.acquire()

        waiter = OwnThread("gil-probe", wait_at_door)
        try:
            waiter.start()
        except RuntimeError:
            return None  # the program is at its end, where Python starts no thread
        ready.wait(1.0)
        native_id = waiter.native_id or 0
        try:
            return self._watch(native_id, door)
        finally:
            if door.locked():
                door.release()

    def _watch(self, native_id: int, door: threading.Lock) -> tuple[bytes, int] | None:
        at_door = None
        for _ in range(_SETTLE_TRIES):
            time.sleep(_SETTLE_S)
            state = self._state(native_id)
            if state is not None and state == at_door and len(state) > 1:
                break
            at_door = state
        if at_door is None:
            return None
        # Until this returns no bytecode of ours gives the GIL up, so the waiter wakes and waits for it.
        door.release()
        for _ in range(_LEARN_TRIES):
            state = self._state(native_id)
            if state is not None and len(state) > 1 and state[0] == at_door[0] and state != at_door:
                return state[0], int(state[1], 16)
        return None

    def _state(self, native_id: int) -> list[bytes] | None:
        """The number of the system call and its first argument; `[b"running"]` on the CPU.

        The file is opened each time: a descriptor that is kept might be closed by the application, which
        some do with all there are, and its number be another file by the time that we close it.
        """
        file = self._open(b"/proc/self/task/%d/syscall" % native_id, os.O_RDONLY | os.O_CLOEXEC)
        if file < 0:
            return None
        size = self._read(file, self._buffer, len(self._buffer))
        self._close(file)
        return self._buffer.raw[:size].split()[:2] if size > 0 else None


def _are_near(address: int, other: int) -> bool:
    return abs(address - other) < _GIL_BYTES
