"""The sampler in Python: one pass over all threads, from a thread that holds the GIL.

It stays for interpreters that the C core does not know. Its limits are Python's: it sees a thread only
where that gives up the GIL, and comes late while others compute (docs/limits.md). So every sample weighs
as much as the time since the thread's last one, and whatever a pass could not prove is left to the next.

What a pass reads must belong to one instant. That holds while the GIL is held from the list of frames to
the last label: the kernel counts how often this thread went to sleep, which giving up the GIL makes it do.
"""

import resource
import sys
import threading
import time
from collections.abc import Set as AbstractSet
from types import FrameType
from typing import Protocol

from otelprof.collectors.kernel import GilWaiters, clock_id, cpu_ns
from otelprof.collectors.window import NO_STACK, Window
from otelprof.context import UNKNOWN, SpanIds, Unknown
from otelprof.cpython import Place
from otelprof.threads import OwnThread, own_threads

PASS_BUDGET_NS = 2_000_000  # well below the 5 ms after which another thread may demand the GIL
_TRIES = 3
_MAX_POOL_NS = 1_000_000_000  # CPU time waits this long for its thread to be seen on the CPU


class SpanSource(Protocol):
    """Who knows the current span of a thread: `context.SpanReader`."""

    def install(self) -> None:
        """Begin to watch. Idempotent."""
        ...

    def uninstall(self) -> None:
        """Watch no more. Idempotent."""
        ...

    def after_fork(self) -> None:
        """Forget the parent's other threads in a forked child, and watch on if the parent did."""
        ...

    def span_ids(self, ident: int, top: FrameType, place: Place) -> SpanIds | Unknown | None:
        """The span current in thread `ident`, whose innermost frame is `top`."""
        ...

    def keep_only(self, idents: AbstractSet[int]) -> None:
        """Drop what is known of threads other than these: they ended."""
        ...


class _Thread:
    """What the sampler knows of one thread of the application."""

    __slots__ = (
        "clock",
        "counted_cpu_ns",
        "name",
        "native_id",
        "pool_ns",
        "pool_since_ns",
        "sampled_ns",
        "span",
        "stack",
        "still_cpu_ns",
        "window",
    )

    def __init__(
        self, name: str, native_id: int | None, sampled_ns: int, counted_cpu_ns: int
    ) -> None:
        self.name = name
        self.native_id = native_id
        self.clock = None if native_id is None else clock_id(native_id)
        self.sampled_ns = sampled_ns  # when it was sampled last
        self.counted_cpu_ns = counted_cpu_ns  # its CPU clock then
        self.still_cpu_ns = -1  # its CPU clock right after its stack was read
        self.pool_ns = 0  # CPU time not yet given to a stack
        self.pool_since_ns = sampled_ns
        self.window: Window | None = None  # what `stack` belongs to
        self.stack = NO_STACK
        self.span: SpanIds | Unknown | None = None

    def cpu_ns(self) -> int | None:
        """Its CPU time; None if it is dead or its clock is not known."""
        return None if self.clock is None else cpu_ns(self.clock)

    def keep(self, pool_ns: int, window: Window, now_ns: int) -> None:
        """Hold CPU time back until the thread is seen on the CPU, but not for ever."""
        if not pool_ns:
            self.pool_since_ns = now_ns
        elif now_ns - self.pool_since_ns > _MAX_POOL_NS:
            window.add_unattributed(self.name, pool_ns, 0)
            pool_ns, self.pool_since_ns = 0, now_ns
        self.pool_ns = pool_ns


class Sampler:
    """Samples all threads into a window. Used by one thread, which holds the GIL throughout a pass."""

    def __init__(self, spans: SpanSource, *, main_id: int | None = None) -> None:
        self._spans = spans
        self._main_id = main_id  # the kernel's, where `threading` may have it wrong
        self._threads: dict[int, _Thread] = {}
        self._present: set[int] = set()  # idents of the last list of frames, our own threads' too
        self._waiters = GilWaiters()
        self._last_pass_ns = 0
        # CPU time of the process since `begin` must be that of its threads: what is missing was used by
        # threads that ended before they were sampled again, or that Python does not know.
        # Of our own threads, by ident: the clock, and what it showed at `begin`.
        self._own_clocks: dict[int, tuple[int, int]] = {}
        self._process_ns = 0
        self._accounted_ns = 0
        self._unseen_ns = 0
        self.samples = 0
        self.retries = 0
        self.cut_passes = 0

    def learn(self) -> None:
        """Find out what this machine can tell. Once, in any thread; until then CPU goes to the stack seen."""
        self._waiters.learn()

    def begin(self, window: Window, now_ns: int) -> None:
        """Take what every thread has used so far as the beginning: at start and after a pause."""
        self._threads.clear()
        self._present = set()
        self._last_pass_ns = now_ns
        self._own_clocks.clear()
        self._process_ns = time.process_time_ns()
        self._accounted_ns = self._unseen_ns = 0
        self._update_threads(_all_frames(), window, now_ns)
        for thread in self._threads.values():
            thread.counted_cpu_ns = thread.cpu_ns() or 0
        self._own_clocks = {i: (c, cpu_ns(c) or 0) for i, (c, _) in self._own_clocks.items()}

    def take_pass(self, window: Window, now_ns: int) -> None:
        """Sample every thread once, fewer if the pass gets long: those are first in the next one.

        Args:
            window: where the samples go.
            now_ns: monotonic time.
        """
        deadline_ns = now_ns + PASS_BUDGET_NS
        for _ in range(_TRIES):
            if self._try_pass(window, now_ns, deadline_ns):
                break
            self.retries += 1
        else:
            window.count("torn")
        self._last_pass_ns = now_ns

    def _try_pass(self, window: Window, now_ns: int, deadline_ns: int) -> bool:
        """False if the GIL was given up: then nothing was added after that."""
        switches = _voluntary_switches()
        frames = _frames_of_others()
        for ident in [i for i, (clock, _) in self._own_clocks.items() if cpu_ns(clock) is None]:
            # A thread of ours ended, and its ident may be a thread's of the application by now.
            del self._own_clocks[ident]
            self._present.discard(ident)
        if frames.keys() != self._present:
            self._update_threads(frames, window, now_ns)
        for ident, thread in list(self._threads.items()):
            if thread.sampled_ns == now_ns:
                continue
            if not self._sample(ident, thread, frames[ident], window, now_ns, switches):
                return False
            if time.monotonic_ns() > deadline_ns:
                self._put_last(now_ns)
                self.cut_passes += 1
                break
        return True

    def _put_last(self, now_ns: int) -> None:
        """Let the next pass begin with the threads that this one did not reach."""
        done = {i: t for i, t in self._threads.items() if t.sampled_ns == now_ns}
        for ident in done:
            del self._threads[ident]
        self._threads.update(done)

    def _sample(
        self,
        ident: int,
        thread: _Thread,
        top: FrameType,
        window: Window,
        now_ns: int,
        switches: int,
    ) -> bool:
        """Add one sample; False if the GIL was given up, and nothing added."""
        used_ns = thread.cpu_ns()
        if used_ns is None and thread.clock is not None:
            self._drop(ident, window)  # the thread is dead, and its ident may be another's by now
            return True
        wall_ns = now_ns - thread.sampled_ns
        if used_ns is not None and used_ns == thread.still_cpu_ns and thread.window is window:
            # It has not run since its stack was read, so that is its stack.
            stack, span, spent_ns = thread.stack, thread.span, 0
        else:
            stack = window.intern(top)
            span = self._span_of(ident, top, stack.place, window)
            pool_ns = 0 if used_ns is None else thread.pool_ns + used_ns - thread.counted_cpu_ns
            # Asked last: a thread that gave the GIL up to sleep is asleep by now.
            is_on_cpu = pool_ns and self._waiters.is_on_cpu(thread.native_id or 0) is not False
            after_ns = thread.cpu_ns()
            if _voluntary_switches() != switches:
                return False
            spent_ns = pool_ns if is_on_cpu else 0
            if used_ns is not None:
                self._accounted_ns += used_ns - thread.counted_cpu_ns
                thread.counted_cpu_ns = used_ns
            thread.still_cpu_ns = -1 if after_ns is None else after_ns
            thread.window, thread.stack, thread.span = window, stack, span
            thread.keep(pool_ns - spent_ns, window, now_ns)
        window.add(stack, span, thread.name, wall_ns, spent_ns)
        thread.sampled_ns = now_ns
        self.samples += 1
        return True

    def _span_of(
        self, ident: int, top: FrameType, place: Place, window: Window
    ) -> SpanIds | Unknown | None:
        try:
            return self._spans.span_ids(ident, top, place)
        except Exception:  # noqa: BLE001 - a span is the application's object, and may do anything when asked
            window.count("span_raised")
            return UNKNOWN

    def add_unseen(self, window: Window) -> None:
        """Add the CPU time of threads that were not seen to use it, so that totals are true. At a drain."""
        known_ns = self._accounted_ns
        for thread in self._threads.values():
            known_ns += (thread.cpu_ns() or thread.counted_cpu_ns) - thread.counted_cpu_ns
        for clock, before_ns in self._own_clocks.values():
            known_ns += (cpu_ns(clock) or before_ns) - before_ns
        unseen_ns = time.process_time_ns() - self._process_ns - known_ns
        if unseen_ns > self._unseen_ns:
            window.add_unseen(unseen_ns - self._unseen_ns)
            self._unseen_ns = unseen_ns

    def end(self, window: Window, now_ns: int) -> None:
        """Account for the time since the last pass, without a stack. At stop, so that totals are true."""
        self.add_unseen(window)
        for thread in self._threads.values():
            since_ns = (thread.cpu_ns() or thread.counted_cpu_ns) - thread.counted_cpu_ns
            window.add_unattributed(
                thread.name, thread.pool_ns + since_ns, now_ns - thread.sampled_ns
            )
        self._threads.clear()

    def threads_without_clock(self) -> int:
        """Threads whose CPU time cannot be read: started neither by `threading` nor known to it."""
        return sum(thread.clock is None for thread in self._threads.values())

    def _update_threads(self, frames: dict[int, FrameType], window: Window, now_ns: int) -> None:
        for ident in self._threads.keys() - frames.keys():
            self._drop(ident, window)
        new = frames.keys() - self._present
        self._present = set(frames)
        self._spans.keep_only(self._present)
        if not new:
            return
        known = {thread.ident: thread for thread in threading.enumerate()}
        own = own_threads()
        for ident in new:
            thread = known.get(ident)
            native_id = own.get(ident) or getattr(thread, "native_id", None)
            if ident in own or isinstance(thread, OwnThread):
                if native_id is not None:
                    self._own_clocks[ident] = (clock_id(native_id), 0)
                continue
            if self._main_id is not None and thread is threading.main_thread():
                native_id = self._main_id
            used_ns = None if native_id is None else cpu_ns(clock_id(native_id))
            if used_ns is None:
                native_id, used_ns = None, 0
            name = thread.name if thread is not None else "unknown"
            # Born since the last pass: all it has used is new, which cannot be more than has passed.
            before_ns = max(0, used_ns - (now_ns - self._last_pass_ns))
            self._threads[ident] = _Thread(name, native_id, self._last_pass_ns, before_ns)

    def _drop(self, ident: int, window: Window) -> None:
        thread = self._threads.pop(ident)
        self._present.discard(ident)
        if thread.pool_ns:
            window.add_unattributed(thread.name, thread.pool_ns, 0)


def _all_frames() -> dict[int, FrameType]:
    """The innermost frame of every thread, by ident."""
    return sys._current_frames()  # noqa: SLF001 - CPython's documented way to other threads' stacks


def _frames_of_others() -> dict[int, FrameType]:
    """The same without this thread's.

    Its frame would hold this dict and the dict its frame, a cycle that keeps the frames and local variables
    of all threads alive until the garbage collector comes by.
    """
    frames = _all_frames()
    frames.pop(threading.get_ident(), None)
    return frames


def _voluntary_switches() -> int:
    """How often this thread went to sleep: at the latest when it gives the GIL to another that wants it.

    CPython's `drop_gil` waits until the other has it, and `take_gil` waits to get it back. Under 1 µs.
    """
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
