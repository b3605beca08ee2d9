"""What was read, in one line."""

from otelprof import processes, summary
from otelprof.cli.inputs import Loaded
from otelprof.clock import NS_PER_S


def describe(loaded: Loaded) -> str:
    """How long, how much, how many spans and processes, and what is missing."""
    totals = summary.total_ns(loaded.profiles)
    seconds = max((p.duration_ns for p in loaded.profiles), default=0) / NS_PER_S
    cpu = totals.get("cpu", 0) / NS_PER_S
    pids = processes.pids_of(loaded.by_process)
    parts = [f"{seconds:.1f} s", f"{cpu:.2f} s CPU", f"{len(loaded.spans)} spans"]
    if len(pids) > 1:
        parts.append(f"{len(pids)} processes")
    parts += [f"{count} {reason}" for reason, count in losses_of(loaded).items()]
    return ", ".join(parts)


def losses_of(loaded: Loaded) -> dict[str, int]:
    """What the profiles lack, by reason."""
    lost = {reason: n for p in loaded.profiles for reason, n in p.losses if n}
    if loaded.removed_files:
        lost["removed files"] = loaded.removed_files
    if loaded.unreadable_files:
        lost["unreadable files"] = loaded.unreadable_files
    return lost
