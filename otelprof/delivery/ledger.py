"""The accounts of one exporter, in profiles and in samples.

Every batch that comes in is entered as waiting, and leaves that state for exactly one other. So at any instant

    collected + adopted = delivered + refused + dropped + waiting + left

What is left was on the disk when the pipeline ended: for the next one, which adopts it.
"""

from collections.abc import Mapping
from typing import Literal

from otelprof.primitives import Lock

Source = Literal["collected", "adopted"]

# Why a lane does not get a batch any more. All but the last drop profiles: given up without the receiver having
# refused them.
Reason = Literal[
    "age",  # they waited longer than the spool keeps anything
    "budget",  # the spool was full, and they were the oldest
    "memory",  # there was no disk to write to, and the memory for them was full
    "unreadable",  # their file is corrupt, torn or gone
    "broken",  # the exporter cannot be built
    "exit",  # the process ended, and they were not on a disk
    "left",  # the pipeline ended, and they are on the disk
]


class Ledger:
    """What became of one exporter's profiles. Written by threads of ours; read by anybody without waiting.

    Readers get a mapping that is never changed again: each change makes a new one.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._counts: dict[str, int] = {}

    def counts(self) -> Mapping[str, int]:
        """All counters by name, as they were at one instant."""
        return self._counts

    def enter(self, source: Source, profiles: int, samples: int) -> None:
        """A batch has come and waits."""
        self._change(_both(source, profiles, samples) | _both("waiting", profiles, samples))

    def deliver(self, profiles: int, samples: int, *, rejected: int = 0) -> None:
        """A receiver has taken a batch, or all but `rejected` profiles of it.

        Receivers do not say which they rejected: samples are counted in proportion.
        """
        rejected = min(max(0, rejected), profiles)
        rejected_samples = samples * rejected // profiles if profiles else 0
        self._change(
            _both("delivered", profiles - rejected, samples - rejected_samples)
            | _both("refused", rejected, rejected_samples)
            | _both("waiting", -profiles, -samples)
        )

    def deliver_bytes(self, size_bytes: int) -> None:
        """A receiver has taken so many bytes, also of a batch whose rest it has put off."""
        self._change({"delivered_bytes": max(0, size_bytes)})

    def refuse(self, profiles: int, samples: int) -> None:
        """A receiver has refused a batch for good."""
        self._change(_both("refused", profiles, samples) | _both("waiting", -profiles, -samples))

    def drop(self, reason: Reason, profiles: int, samples: int) -> None:
        """A batch is given up, or left to the next pipeline."""
        if reason == "left":
            self._change(_both("left", profiles, samples) | _both("waiting", -profiles, -samples))
            return
        self._change(
            _both("dropped", profiles, samples)
            | {f"dropped_profiles.{reason}": profiles, f"dropped_samples.{reason}": samples}
            | _both("waiting", -profiles, -samples)
        )

    def attempt(self, export_ns: int) -> None:
        """An exporter was asked to deliver, which took so long."""
        self._change({"exports": 1, "export_ns": export_ns})

    def put_off(self, profiles: int, samples: int) -> None:
        """A batch is to be sent again."""
        self._change({"retries": 1} | _both("retried", profiles, samples))

    def given_up(self) -> int:
        """Profiles that will not be delivered, so far."""
        return self._counts.get("refused_profiles", 0) + self._counts.get("dropped_profiles", 0)

    def _change(self, changes: Mapping[str, int]) -> None:
        with self._lock:
            counts = dict(self._counts)
            for name, change in changes.items():
                if change:
                    counts[name] = counts.get(name, 0) + change
            self._counts = counts


def _both(what: str, profiles: int, samples: int) -> dict[str, int]:
    return {f"{what}_profiles": profiles, f"{what}_samples": samples}
