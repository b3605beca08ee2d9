"""The seams of otelprof, on one page: what a collector, a processor and an exporter promise.

Threads, deadlines and errors are part of the promise and stand in the docstrings. Each implementation
proves itself in its own file with a `TYPE_CHECKING` line.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

from otelprof.model import Batch, Profile, SpanRecord


class Collector(Protocol):
    """Takes samples of one or more kinds. All methods are called from threads of otelprof or `start()`'s.

    After `start()` returned, no method raises: what goes wrong is counted in `health()`.
    """

    def start(self) -> None:
        """Begin to sample. Idempotent. Returns when sampling runs, within 100 ms.

        Raises:
            RuntimeError: Python refuses a thread; nothing is left running.
        """
        ...

    def stop(self) -> None:
        """Stop sampling, within 0.1 s. Idempotent. What was collected stays for `drain`."""
        ...

    def pause(self) -> None:
        """Sample nothing until `resume`. The time between is not sampled and not made up for."""
        ...

    def resume(self) -> None:
        """Sample again after `pause`."""
        ...

    def set_rate_hz(self, rate_hz: float) -> None:
        """Sample so often from the next sample on: also after a pause, a stop or a fork, until it is set again.

        `rate_hz` is one that `Config` takes. A profile that is drained from now on has this rate's period, since
        its counts are in periods. A collector that does not sample by time does nothing.
        """
        ...

    def drain(self) -> list[Profile]:
        """Hand over everything since the last drain, one profile a kind, without empty ones.

        The profiles carry no resource and no id yet: the pipeline adds both.
        """
        ...

    def tick(self) -> None:
        """Note what may be gone at the next drain. Called about once a second; microseconds."""
        ...

    def health(self) -> Mapping[str, int]:
        """Counters since `start`, by name; units are in the names."""
        ...

    def after_fork(self) -> None:
        """Start fresh in a forked child: nothing of the parent's samples, no thread, new locks.

        Called in the child before any other method, and from a thread of otelprof's: the application runs on
        meanwhile. `start` follows if the parent was sampling, else `stop`.
        """
        ...


class Processor(Protocol):
    """Makes of each profile another one, before anything leaves. Called from one thread at a time.

    Attributes:
        is_required: a profile that it could not process must not leave: it is dropped and counted. Else the
            profile leaves as it was.
    """

    is_required: bool

    def process(self, profile: Profile) -> Profile:
        """The profile that goes on instead of `profile`; one without rows does not leave.

        Pure: equal input, equal output, no I/O. Resource and id are there, and the id stays. In milliseconds,
        with the interpreter's lock held: work on the tables, where each function, stack and label set stands
        once. Samples that are left out belong into `losses`. May raise: it is counted, and said once.
        """
        ...


@runtime_checkable
class SpanRecordProcessor(Protocol):
    """What a `Processor` has besides if it changes the spans that leave beside profiles, too."""

    def process_span(self, span: SpanRecord) -> SpanRecord:
        """The span that goes on instead of `span`; otherwise as `Processor.process`."""
        ...


Verdict = Literal["delivered", "retry", "refused"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one batch.

    Attributes:
        verdict: `delivered`; `retry`, later; or `refused`, never again.
        reason: for `retry`, `refused` and rejected profiles, in words for a log line; for others that were delivered, a
            warning of the receiver's.
        retry_after_s: for `retry`, what the receiver asked for; None if it did not.
        rejected_profiles: of a delivered batch, those that the receiver refused, a partial success. They are not to
            be sent again; the pipeline counts and says them.
        patience_s: for `retry`, give the batch up as refused when it has been retried that long; None for as long
            as there is room for it.
        is_too_large: of a refused request, that a smaller one may be taken: its halves are sent.
        delivered_bytes: of the requests or files in which the receiver took what it took, also before it asked for a
            retry; 0 if the exporter does not say. It tells no two outcomes apart.
    """

    verdict: Verdict
    reason: str = ""
    retry_after_s: float | None = None
    rejected_profiles: int = 0
    patience_s: float | None = None
    is_too_large: bool = False
    delivered_bytes: int = field(default=0, compare=False)


DELIVERED = Outcome("delivered")


class Exporter(Protocol):
    """Delivers batches. Called from one thread at a time, its own.

    May have an attribute `timeout_s`: how long one `export` may take, in seconds, where that is more than 10.
    """

    @property
    def destination(self) -> str:
        """The receiver, as text that is equal for equal receivers, without credentials; empty for local files.

        What waits for a receiver waits on the disk, and another process may deliver it: to an equal one only.
        """
        ...

    def export(self, batch: Batch, *, timeout_s: float) -> Outcome:
        """Deliver `batch` within `timeout_s` seconds; one outcome for all of it.

        Never raises for what a receiver does; the pipeline retries, counts and drops.
        """
        ...

    def close(self) -> None:
        """Release connections and files, within 0.5 s. `export` is not called again."""
        ...

    def after_fork(self) -> None:
        """Forget inherited connections in a forked child, without using or closing them politely."""
        ...
