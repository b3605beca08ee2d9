from pathlib import Path

import pytest

from otelprof.collectors.quota import budget_within, cpu_quota


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_version_2_takes_the_tightest_group_above(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            "proc/self/cgroup": "0::/pod/container\n",
            "sys/fs/cgroup/pod/cpu.max": "50000 100000\n",
            "sys/fs/cgroup/pod/container/cpu.max": "150000 100000\n",
        },
    )
    assert cpu_quota(root) == 0.5


def test_version_1_is_read_where_the_controller_is_mounted(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            "proc/self/cgroup": "5:memory:/x\n4:cpu,cpuacct:/x\n0::/\n",
            "sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_quota_us": "25000\n",
            "sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/memory/x/cpu.max": "1 100\n",
        },
    )
    assert cpu_quota(root) == 0.25


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"proc/self/cgroup": "0::/x\n"},
        {"proc/self/cgroup": "0::/x\n", "sys/fs/cgroup/x/cpu.max": "max 100000\n"},
        {"proc/self/cgroup": "0::/x\n", "sys/fs/cgroup/x/cpu.max": "5 0\n"},
        {"proc/self/cgroup": "0::/x\n", "sys/fs/cgroup/x/cpu.max": "nonsense\n"},
        {"proc/self/cgroup": "no colons"},
        {
            "proc/self/cgroup": "1:cpu:/\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
        },
    ],
    ids=["no file", "no group", "max", "no period", "no number", "no path", "version 1 unlimited"],
)
def test_without_a_limit_there_is_none(tmp_path: Path, files: dict[str, str]) -> None:
    assert cpu_quota(write(tmp_path, files)) is None


def test_the_group_of_this_process_can_be_read() -> None:
    quota = cpu_quota()
    assert quota is None or quota > 0


def test_the_budget_is_no_more_than_two_percent_of_the_quota() -> None:
    assert budget_within(0.01, None) == 0.01
    assert budget_within(0.01, 4.0) == 0.01
    assert budget_within(0.01, 0.25) == 0.005
