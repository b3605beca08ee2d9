"""The C core's contract, written by hand: a sampler without the GIL, OpenTelemetry's context in C, and protobuf.

Threads: everything here is called with the GIL held, by any thread. `Sampler` methods may wait for the end
of a pass and give the GIL up for that long: well below a millisecond, some with thousands of frames or threads.
"""

from array import array
from collections.abc import Callable, Mapping
from contextvars import ContextVar, Token
from typing import Any, TypedDict, final

from opentelemetry.context.context import Context
from opentelemetry.trace import Span

COMPILED_FOR: int
"""`sys.hexversion` of the headers that this module was built with."""

NO_LABEL: int
"""Row of `Window.labels`: no span of this process was current."""
UNKNOWN_LABEL: int
"""Row of `Window.labels`: a span may have been current, but which one is not proved."""

FLAG_HELD_GIL: int
"""Bit of `Window.flags`: the thread held the GIL when its stack was read."""
FLAG_ON_CPU: int
"""Bit of `Window.flags`: the thread was seen running, or ready to run, when its stack was read."""

@final
class Label:
    """What stands in OpenTelemetry's ContextVar.

    Attributes:
        context: the OpenTelemetry context that was attached.
        has_span: whether a span of this process is current in it.
        trace_id: 16 bytes, big endian as in W3C; span_id and local_root_span_id: 8. Zeros if there is no span,
            or none that tells its ids.
        local_root_span_id: zeros if it is not known.
        is_sampled: the sampled flag of the span.
    """

    @property
    def context(self) -> Context: ...
    @property
    def has_span(self) -> bool: ...
    @property
    def trace_id(self) -> bytes: ...
    @property
    def span_id(self) -> bytes: ...
    @property
    def local_root_span_id(self) -> bytes: ...
    @property
    def is_sampled(self) -> bool: ...

class RuntimeContext:
    """OpenTelemetry's runtime context, with labels that a thread without the GIL can read.

    Tokens are those of the ContextVar, so what another runtime context over the same variable attached can be
    detached here, and the reverse.
    """

    def __init__(self, var: ContextVar[Any] | None = None) -> None:
        """Keep contexts in `var`, or in a variable of its own.

        Raises:
            TypeError: `var` is not a ContextVar.
        """

    @property
    def _current_context(self) -> ContextVar[Any]: ...
    def attach(self, context: Context) -> Token[Any]: ...
    def get_current(self) -> Context: ...
    def detach(self, token: Token[Any]) -> None: ...

def set_labels(
    *, enabled: bool, span_key: str = ..., local_root_of: Callable[[Span], int] | None = ...
) -> None:
    """Whether `RuntimeContext.attach` makes labels.

    Args:
        enabled: off, `attach` keeps the context as it is.
        span_key: the key under which OpenTelemetry keeps the current span in a context.
        local_root_of: asked for the local root of a span whose parent is not current; 0 for unknown.
    """

def note_thread_id() -> None:
    """Have the calling thread known by the kernel's id that it has now, where a fork was not Python's."""

class Window(TypedDict):
    """Everything sampled between two drains. Columns are native-endian arrays; rows of one table are parallel.

    Groups: one row for each distinct (stack, label, thread, flags).
        stack, label, thread, flags: u32, rows of the tables below.
        samples, wall_ns, cpu_ns: u64.
        first_ns, last_ns: u64, CLOCK_MONOTONIC of the first and last sample.
    Stacks: `stack_ends` (u32) is where each stack ends in `stack_places` (u32, leaf first).
    Places: `place_code` (u32, row of `codes`); `place_line`, `place_column` (i32; from 1, 0 if unknown).
    """

    start_ns: int
    end_ns: int
    stack: bytes
    label: bytes
    thread: bytes
    flags: bytes
    samples: bytes
    wall_ns: bytes
    cpu_ns: bytes
    first_ns: bytes
    last_ns: bytes
    stack_ends: bytes
    stack_places: bytes
    place_code: bytes
    place_line: bytes
    place_column: bytes
    codes: list[tuple[str, str, int]]
    """Filename, qualified name and first line. An empty filename marks a synthetic frame such as `(truncated)`."""
    labels: list[tuple[bytes, bytes, bytes, bool] | None]
    """Trace id, span id, local root's span id, sampled. Rows `NO_LABEL` and `UNKNOWN_LABEL` are None."""
    threads: list[tuple[int, int]]
    """`threading.get_ident()` (0 if unknown) and the kernel's id (0: no thread, time that nobody was seen to use)."""
    losses: dict[str, int]
    """What this window lacks, by reason: torn, truncated, overflow, span_unknown, …"""

@final
class Sampler:
    """Samples all threads of the main interpreter from a thread that never holds the GIL."""

    def __init__(
        self,
        *,
        period_ns: int,
        cpu_budget: float = 0.01,
        var: ContextVar[Any] | None = None,
        max_depth: int = 128,
        backend: str | None = None,
    ) -> None:
        """Map the tables and probe the ways to read memory; sample nothing yet.

        Args:
            period_ns: mean time between two passes, 1,000,000 to 1,000,000,000.
            cpu_budget: share of one core that sampling may use, above 0 to 1; 1 never slows down.
            var: the ContextVar whose `Label`s are put on samples; None for no labels.
            max_depth: frames kept of a stack, 2 to 1,024; of a deeper one the middle is left out.
            backend: `memfd`, `process_vm_readv` or `proc_mem`; None for the first that works.

        Raises:
            ValueError: an argument is out of its range; it names the argument, the value and the range.
            OSError: no memory, or no way to read it.
            RuntimeError: this interpreter is not laid out as the core was compiled for; it names the part.
        """

    def start(self) -> None:
        """Start the thread. Idempotent. Raises OSError if the system refuses a thread."""
    def stop(self) -> None:
        """Stop the thread, within 0.1 s; what was sampled stays to be drained. Idempotent."""
    def pause(self) -> None:
        """Take no samples until `resume`."""
    def resume(self) -> None: ...
    def set_period_ns(self, period_ns: int) -> None:
        """Sample at another rate from the next pass on, also after a stop and in forked children.

        Where the budget has slowed sampling down, it stays as slow until that is known to cost too little.
        Raises ValueError and TypeError as the constructor.
        """
    def leave_out(self, native_id: int) -> None:
        """Take no samples of this thread, one of our own; its CPU time is no loss either. Idempotent.

        Raises ValueError and TypeError as the constructor, for what is no kernel id of a thread.
        """
    def drain(self) -> Window:
        """Take everything sampled since the last drain.

        Raises:
            MemoryError: there is none; what was sampled is lost.
            RuntimeError: another thread is draining.
        """
    def health(self) -> Mapping[str, int | str]:
        """Counters since the first start, and what is so now; units are in the names.

        Now: `period_ns`, the period that the budget allows; `sampler_mapped_bytes`, the address space that the
        core's tables take; and `backend`, as in the constructor. The program may close the core's descriptor
        (`descriptors_lost`): the back-end is another one then, or `none` where every other one is refused.
        """
    def resident_bytes(self) -> int:
        """How much of `sampler_mapped_bytes` is in memory; 0 if the kernel does not say. About 0.1 ms."""
    def after_fork(self) -> None:
        """Begin anew in a forked child, not started. Raises OSError as the constructor."""

def packed_rows(
    tag: int, rows: list[tuple[int, ...]], numbers: array[int] | None, /
) -> list[bytes]:
    """Each row as a protobuf field: the byte `tag`, a length, and packed varints.

    With `numbers`, an array of `Q`, those that it has at the row's items. The GIL is held, so some thousand rows at a
    time. The twins in Python of this and of what follows are in otelprof/formats/packing.py.

    Raises:
        IndexError: an item is no index of `numbers`.
        OverflowError: a number is not one of 64 bits, signed, or `tag` not one of 8.
        TypeError: a row is no tuple of int, or an argument is of another type.
    """

def message_rows(tags: bytes, rows: list[tuple[int, ...]], /) -> list[bytes]:
    """Each row as a protobuf message: one byte of `tags` before each item as a varint, zeros left out.

    Raises:
        ValueError: a row has more or fewer items than there are tags.
        OverflowError, TypeError: as `packed_rows`.
    """

def mark_rows(rows: list[tuple[int, ...]], mask: bytearray, /) -> None:
    """Set `mask` to 1 at every item of every row.

    Raises:
        IndexError: an item is no index of `mask`.
        TypeError: as `packed_rows`.
    """

def ranked_rows(bodies: list[bytes], /) -> tuple[list[bytes], list[int]]:
    """The distinct bodies in order, and of each body the number among them, from 1. Sorts without the GIL.

    Raises:
        TypeError: `bodies` is no list of bytes.
    """

def sample_rows(
    tag: int,
    before: tuple[list[bytes], ...],
    value_tag: int,
    values: tuple[tuple[int, ...], ...],
    after: tuple[list[bytes], ...],
    /,
) -> bytes:
    """Each row as a message, a protobuf field with the byte `tag`: what `before` has, values, what `after` has.

    The values are a field of packed varints with the byte `value_tag`, their sums where several rows have the same
    before and after. Sorted by what is before and after; sorts and writes without the GIL.

    Raises:
        ValueError: the columns differ in length.
        OverflowError: a value or a sum is not one of 64 bits, signed.
        TypeError: the columns are not of these types.
    """
