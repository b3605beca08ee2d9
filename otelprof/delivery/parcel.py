"""A batch on its way to one or more lanes."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from otelprof.model import Batch

if TYPE_CHECKING:
    from otelprof.storage.spool import Stored  # it and what it imports are for the worker


@dataclass(slots=True, eq=False)
class Parcel:
    """A batch that waits, with as little of it in memory as there need be.

    It has one or more of three shapes: as it was collected, as bytes, on the disk. The depot makes one before it
    takes another away.

    Attributes:
        profiles, samples: how many it has.
        made_ns: when it was collected, by the monotonic clock.
        waiting: names of the lanes that have not had it yet. Changed under the depot's lock.
        batch: as collected, while it is the newest.
        payload: as `payload.encode_batch` has it, where there is no disk.
        stored: on the disk.
        is_shared: its file is for others, too, which this process does not send to.
    """

    profiles: int
    samples: int
    made_ns: int
    waiting: set[str]
    batch: Batch | None = None
    payload: bytes | None = None
    stored: "Stored | None" = None
    is_shared: bool = False
