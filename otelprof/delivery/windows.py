"""What is asked for besides what leaves: profiles of a window of time that somebody else has chosen.

Collectors are drained by the worker alone, and each sample once. So whoever wants a window of its own has the worker
drain at its beginning and at its end, too, and is given a copy of what is drained between them; so are others whose
windows are open. What leaves is put together again (`Segments`), so that it is the same with and without readers.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from otelprof.builder import merged
from otelprof.model import Profile
from otelprof.primitives import Event

_MOST_SEGMENTS = 16  # then they are added up, so that memory stays bounded

Process = Callable[[Sequence[Profile]], list[Profile]]


class Moment(NamedTuple):
    """A point in time by both clocks."""

    unix_ns: int
    monotonic_ns: int


class Segments:
    """Profiles of windows that follow each other, put together when they are taken."""

    def __init__(self) -> None:
        self._segments: list[list[Profile]] = []

    def add(self, profiles: Sequence[Profile]) -> None:
        """Add those of the next window."""
        if not profiles:
            return
        if len(self._segments) >= _MOST_SEGMENTS:
            self._segments = [self.take()]
        self._segments.append(list(profiles))

    def take(self) -> list[Profile]:
        """Take all of them away: as they came if they are of one window, else added up."""
        segments, self._segments = self._segments, []
        if len(segments) == 1:
            return segments[0]
        return merged(profile for segment in segments for profile in segment)


class Reading(Protocol):
    """What is asked of the worker by another thread. It turns it once each time that it is asked for.

    Attributes:
        is_cut: collectors are to be drained before.
    """

    is_cut: bool

    def turn(self, moment: Moment, process: Process) -> None:
        """Called by the worker: `moment` is that of the drain, `process` what profiles go through before they leave."""
        ...

    def end(self, moment: Moment) -> None:
        """Called once nobody turns it any more, by the worker or by whoever asked."""
        ...


class Window:
    """The profiles of one kind between two moments. The first turn opens it, the second closes it.

    Attributes:
        is_open, is_closed: set by the worker; a profiler that stops closes it early, and maybe without opening it.
        start_unix_ns, duration_ns: once it is closed.
    """

    is_cut = True

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.is_open, self.is_closed = Event(), Event()
        self.start_unix_ns = self.duration_ns = 0
        self._start_ns = 0
        self._segments = Segments()
        self._is_abandoned = False

    @property
    def is_filling(self) -> bool:
        """Whether what is drained now belongs to it."""
        return self.is_open.is_set() and not self.is_closed.is_set() and not self._is_abandoned

    def add(self, profiles: Sequence[Profile]) -> None:
        """Take what was drained. By the worker."""
        self._segments.add([profile for profile in profiles if profile.kind == self.kind])

    def turn(self, moment: Moment, process: Process) -> None:
        """Open it, or close it."""
        del process  # what it is given has gone through it
        if self.is_open.is_set():
            self.end(moment)
            return
        self.start_unix_ns, self._start_ns = moment
        self.is_open.set()

    def end(self, moment: Moment) -> None:
        """Close it with what there is."""
        if self.is_open.is_set() and not self.is_closed.is_set():
            self.duration_ns = moment.monotonic_ns - self._start_ns
        self.is_closed.set()

    def abandon(self) -> None:
        """Nobody waits for it any more. By any thread."""
        self._is_abandoned = True

    def profiles(self) -> list[Profile]:
        """What was collected; none if there was nothing. Once it is closed."""
        return self._segments.take()


class Processed:
    """Profiles that did not come from a collector, as they may leave: `profiles`, once `is_done`."""

    is_cut = False

    def __init__(self, profiles: Sequence[Profile]) -> None:
        self.is_done = Event()
        self.profiles: list[Profile] = []
        self._given = profiles

    def turn(self, moment: Moment, process: Process) -> None:
        """Process them."""
        self.profiles = process(self._given)
        self.end(moment)

    def end(self, moment: Moment) -> None:
        """Leave it at what is done."""
        del moment
        self.is_done.set()


class Readings:
    """What a worker has been asked for. `ask` is for any thread, all else for the worker."""

    def __init__(self) -> None:
        self._asked: deque[Reading] = deque()
        self._windows: list[Window] = []
        self._end: Moment | None = None

    def ask(self, reading: Reading) -> None:
        """Have the worker turn it; it is over at once where there is none any more."""
        self._asked.append(reading)
        if self._end is not None:  # the worker may have looked for the last time by then
            reading.end(self._end)

    def are_waiting(self) -> bool:
        """Whether somebody has asked for something."""
        return bool(self._asked)

    def asked(self) -> list[Reading]:
        """Take away what was asked for until now. What comes later is for the next drain."""
        return [self._asked.popleft() for _ in range(len(self._asked))]

    def add(self, profiles: Sequence[Profile]) -> None:
        """Give those whose windows are open what was drained, after processing."""
        self._windows = [window for window in self._windows if window.is_filling]
        for window in self._windows:
            window.add(profiles)

    def turn(self, reading: Reading, moment: Moment, process: Process) -> None:
        """Turn it."""
        reading.turn(moment, process)
        if isinstance(reading, Window) and reading.is_filling:
            self._windows.append(reading)

    def end(self, moment: Moment) -> None:
        """Nothing is turned any more: windows are closed with what there is."""
        self._end = moment
        for reading in (*self._windows, *self.asked()):
            reading.end(moment)
        self._windows = []


class Reader:
    """How another thread reads. Any number of threads at a time: what leaves, and other windows, stay as without them.

    Args:
        read: `Pipeline.read`.
    """

    def __init__(self, read: Callable[[Reading], object]) -> None:
        self._read = read

    def open_window(self, kind: str, timeout_s: float) -> Window | None:
        """A window of profiles of `kind` that begins now; None if that does not happen within `timeout_s` seconds."""
        window = Window(kind)
        self._read(window)
        if window.is_open.wait(timeout_s):
            return window
        window.abandon()
        return None

    def close_window(self, window: Window, timeout_s: float) -> bool:
        """End it, if the profiler has not; True if that was done within `timeout_s` seconds."""
        if not window.is_closed.is_set():
            self._read(window)
        if window.is_closed.wait(timeout_s):
            return True
        window.abandon()
        return False

    def processed(self, profile: Profile, timeout_s: float) -> list[Profile] | None:
        """What may leave of a profile that no collector has made; None if that is not known in time."""
        reading = Processed([profile])
        self._read(reading)
        return reading.profiles if reading.is_done.wait(timeout_s) else None
