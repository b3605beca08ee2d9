"""How much may wait for exporters, where, and how long."""

from dataclasses import dataclass
from pathlib import Path

MAX_MEMORY_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may wait, and how long.

    Attributes:
        directory: where the spool is; None for memory only.
        disk_bytes: what all processes together may have there. Each keeps its newest batch in any case.
        age_s: what is older is dropped.
        memory_bytes: what may wait in memory, as bytes.
    """

    directory: Path | None
    disk_bytes: int
    age_s: float
    memory_bytes: int = MAX_MEMORY_BYTES
