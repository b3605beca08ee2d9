"""`otelprof.Profiler` in programs that fork: each process leaves what is its own, over its own connections."""

from pathlib import Path

import pytest

from tests.support.programs import names_in, read, read_all, run_target
from tests.support.servers import ENDPOINTS, grpc_receiver, http_receiver, otlp_variables


@pytest.mark.usefixtures("sampler")
class TestForking:
    @pytest.mark.parametrize("way", ["fork", "multiprocessing"])
    def test_a_child_leaves_its_own_file(self, tmp_path: Path, way: str) -> None:
        variables = {"OTELPROF_OUTPUT": "out.pb.gz"}
        finished = run_target("forks.py", way, cwd=tmp_path, variables=variables)
        assert (finished.code, finished.said) == (0, [])
        (child,) = finished.facts["children"]
        assert {name for name in names_in(tmp_path) if name.endswith(".pb.gz")} == {
            "out.pb.gz",
            f"out-{child}.pb.gz",
        }
        mine, theirs = read(tmp_path / "out.pb.gz"), read(tmp_path / f"out-{child}.pb.gz")
        assert mine.pids() == {finished.facts["pid"]}
        assert theirs.pids() == {child}
        assert [span.name for span in mine.spans] == ["before", "around", "after"]
        assert "child" in [span.name for span in theirs.spans]
        assert not {"before", "after"} & {span.name for span in theirs.spans}
        assert set(theirs.labels()["burn_child"]) == {"child"}
        assert not {"burn_before", "burn_after"} & theirs.labels().keys()
        assert "burn_child" not in mine.labels()
        assert mine.labels()["burn_before"]["before"] > 0
        assert mine.labels()["burn_after"]["after"] > 0

    def test_all_processes_write_to_one_directory(self, tmp_path: Path) -> None:
        variables = {"OTELPROF_EXPORTER": "file", "OTELPROF_FILE_DIR": "out"}
        ways = ("fork", "multiprocessing")
        finished = run_target("forks.py", *ways, cwd=tmp_path, variables=variables)
        every = read_all(tmp_path / "out")
        pids = {finished.facts["pid"], *finished.facts["children"]}
        assert {pid for left in every for pid in left.pids()} == pids
        assert len(every) == 3
        for name in names_in(tmp_path / "out"):
            assert int(name.split("-")[1]) in pids

    @pytest.mark.parametrize("way", ["exit", "execute"])
    def test_a_child_that_is_over_at_once_leaves_and_says_nothing(
        self, tmp_path: Path, way: str
    ) -> None:
        variables = {"OTELPROF_EXPORTER": "file", "OTELPROF_FILE_DIR": "out"}
        finished = run_target("forks.py", way, cwd=tmp_path, variables=variables)
        assert (finished.code, finished.said) == (0, [])
        assert finished.facts["codes"] == [0]
        assert finished.facts["stopped"] is True
        left = {pid for each in read_all(tmp_path / "out") for pid in each.pids()}
        assert left <= {finished.facts["pid"], *finished.facts["children"]}

    def test_a_child_of_a_child_that_forks_at_once_leaves_its_own_file(
        self, tmp_path: Path
    ) -> None:
        variables = {"OTELPROF_EXPORTER": "file", "OTELPROF_FILE_DIR": "out"}
        finished = run_target("forks.py", "twice", cwd=tmp_path, variables=variables)
        assert (finished.code, finished.said) == (0, [])
        assert finished.facts["codes"] == [0]
        (grandchild,) = finished.facts["children"]
        (theirs,) = [left for left in read_all(tmp_path / "out") if left.pids() == {grandchild}]
        assert set(theirs.labels()["burn_child"]) == {"child"}
        assert "child" in [span.name for span in theirs.spans]
        assert not {"before", "after"} & {span.name for span in theirs.spans}

    def test_a_child_of_a_paused_program_is_paused(self, tmp_path: Path) -> None:
        facts = run_target("profiled.py", "paused_fork", "out.pb.gz", cwd=tmp_path).facts
        labels = read(tmp_path / f"out-{facts['child']}.pb.gz").labels()
        assert "burn_later" in labels
        assert "burn_paused" not in labels

    def test_a_program_that_it_starts_does_not_overwrite_its_file(self, tmp_path: Path) -> None:
        variables = {"OTELPROF_OUTPUT": "out.pb.gz"}
        finished = run_target("exits.py", "start another", cwd=tmp_path, variables=variables)
        assert (finished.code, finished.said) == (0, [])
        assert len(read_all(tmp_path)) == 2

    @pytest.mark.parametrize(("start", "told"), [("takes long", 2 + 1), ("hangs", 0)])
    def test_a_flush_in_a_child_waits_for_its_start(
        self, tmp_path: Path, start: str, told: int
    ) -> None:
        """As long as it may: whether all was delivered, and whether the start was over."""
        finished = run_target("flushed_in_child.py", start, cwd=tmp_path)
        assert (finished.code, finished.facts) == (0, {"told": told})

    @pytest.mark.parametrize("protocol", ENDPOINTS)
    def test_a_child_sends_over_its_own_connection(self, tmp_path: Path, protocol: str) -> None:
        with grpc_receiver() if protocol == "grpc" else http_receiver() as receiver:
            variables = otlp_variables(protocol, receiver.address)
            finished = run_target("forks.py", "fork", "flush", cwd=tmp_path, variables=variables)
            assert (finished.code, finished.said) == (0, [])
            arrived = list(receiver.requests)
        connections: dict[int, set[str]] = {}
        for request in arrived:
            (resource_profiles,) = request.message.resource_profiles
            names = {item.key: item.value for item in resource_profiles.resource.attributes}
            pid = names["process.pid"].int_value
            connections.setdefault(pid, set()).add(request.connection)
        parent, (child,) = finished.facts["pid"], finished.facts["children"]
        assert set(connections) == {parent, child}
        assert len(connections[parent]) == 1  # also after the fork
        assert not connections[parent] & connections[child]
