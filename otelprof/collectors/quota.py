"""How much CPU the control group allows this process: what a sampler's budget has to respect. Linux only."""

from collections.abc import Iterator
from pathlib import Path

_MOST_OF_QUOTA = 0.02  # a sampler may use so much of what its process may use


def budget_within(budget: float, quota: float | None) -> float:
    """`budget`, a share of one core, or less where `quota` cores are all that there is."""
    return budget if quota is None else min(budget, _MOST_OF_QUOTA * quota)


def cpu_quota(root: Path = Path("/")) -> float | None:
    """The cores that the process may use by the tightest of its control groups; None if nothing limits it.

    Both versions of control groups (Linux, Documentation/admin-guide/cgroup-v2.rst, `cpu.max`, and
    Documentation/scheduler/sched-bwc.rst, `cpu.cfs_quota_us`). What cannot be read limits nothing.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    quotas = [quota for line in lines for quota in _quotas(root / "sys/fs/cgroup", line)]
    return min(quotas, default=None)


def _quotas(mount: Path, line: str) -> Iterator[float]:
    """The quotas of one line of /proc/self/cgroup, `number:controllers:path`, and of the groups above."""
    _, _, rest = line.partition(":")
    controllers, _, path = rest.partition(":")
    if not controllers:
        bases = [mount, mount / "unified"]
    elif "cpu" in controllers.split(","):
        bases = [mount / controllers, mount / "cpu"]
    else:
        return
    for base in bases:
        group = base / path.lstrip("/")
        while True:
            quota = _quota_of(group)
            if quota is not None:
                yield quota
            if group == base or base not in group.parents:
                break
            group = group.parent


def _quota_of(group: Path) -> float | None:
    for names in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
        try:
            quota, period = " ".join((group / name).read_text() for name in names).split()
            cores = int(quota) / int(period)
        except (OSError, ValueError, ZeroDivisionError):  # also "max", which is no limit
            continue
        if cores > 0:  # -1 is no limit
            return cores
    return None
