"""What the dead have left goes to the next of their service, to the receiver that it was for, and once."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from otelprof.storage.owned import OwnedDirectory
from otelprof.storage.payload import decode_batch
from otelprof.storage.spool import Spool
from tests.support.profiles import START_UNIX_NS
from tests.support.programs import environment
from tests.support.spools import (
    HERE,
    THERE,
    adopt,
    left_by_a_dead_process,
    manifest_of,
    weight_of,
    write,
)

# Writes a batch, says where, and waits; with an argument in a child that is forked after that.
LIVING = """
import os, sys, time
from pathlib import Path
from otelprof.storage.spool import Spool
from tests.support.spools import write
stored = write(Spool(Path(sys.argv[1])))
child = os.fork() if "fork" in sys.argv else 0
if "fork" in sys.argv and child == 0:
    time.sleep(600)
print(child, flush=True)
time.sleep(600)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def test_all_of_it_in_order(path: Path) -> None:
    left_by_a_dead_process(path, *[manifest_of()] * 3)
    found = adopt(path)
    spool = Spool(path)
    batches = [decode_batch(spool.read(each.stored)) for each in found.adopted]
    assert [weight_of(batch) for batch in batches] == [1, 2, 3]
    assert [each.destinations for each in found.adopted] == [(HERE,)] * 3


def test_once(path: Path) -> None:
    left_by_a_dead_process(path, manifest_of())
    assert len(adopt(path).adopted) == 1
    assert adopt(path).adopted == []


def test_not_what_this_process_has_itself(path: Path) -> None:
    spool = Spool(path)
    write(spool)
    assert adopt(path).adopted == []
    assert adopt(path).dead_bytes == 0


@pytest.mark.parametrize(
    ("service", "destination"), [("bank", HERE), ("shop", THERE), ("bank", THERE)]
)
def test_not_of_another_service_nor_for_another_receiver(
    path: Path, service: str, destination: str
) -> None:
    (stored,) = left_by_a_dead_process(path, manifest_of())
    found = adopt(path, destination, service=service)
    assert found.adopted == []
    assert found.dead_bytes == stored.space_bytes
    assert len(adopt(path).adopted) == 1  # those whose it is still get it


def test_not_for_a_receiver_that_has_it_already(path: Path) -> None:
    (stored,) = left_by_a_dead_process(path, manifest_of(HERE, THERE))
    Spool(path).acknowledge(stored, HERE)
    (adopted,) = adopt(path, HERE, THERE).adopted
    assert adopted.destinations == (THERE,)


def test_what_everybody_has_is_removed(path: Path) -> None:
    (stored,) = left_by_a_dead_process(path, manifest_of())
    Spool(path).acknowledge(stored, HERE)
    found = adopt(path)
    assert (found.adopted, found.expired_profiles) == ([], 0)
    assert list(path.iterdir()) == []


def test_what_is_too_old_and_nobodys_is_removed_and_counted(path: Path) -> None:
    (old, new) = left_by_a_dead_process(path, manifest_of(), manifest_of())
    os.utime(old.path, ns=(START_UNIX_NS, START_UNIX_NS))
    found = adopt(path, THERE, service="bank", oldest_unix_ns=START_UNIX_NS + 1)
    assert found.expired_profiles == 1
    assert not old.path.exists()
    assert new.path.exists()


def test_empty_directories_of_the_dead_are_removed(path: Path) -> None:
    (stored,) = left_by_a_dead_process(path, manifest_of())
    stored.path.unlink()
    adopt(path, service="bank")
    assert list(path.iterdir()) == []


@pytest.mark.parametrize("size", [0, 5, 30])
def test_what_nobody_can_read_is_removed_and_counted(path: Path, size: int) -> None:
    torn, whole = left_by_a_dead_process(path, manifest_of(), manifest_of())
    os.truncate(torn.path, size)
    found = adopt(path)
    assert found.corrupt_batches == 1
    assert [each.stored.path for each in found.adopted] == [whole.path]
    assert not torn.path.exists()


def test_what_a_newer_version_has_written_is_left_to_it(path: Path) -> None:
    (stored,) = left_by_a_dead_process(path, manifest_of())
    blob = bytearray(stored.path.read_bytes())
    blob[2] = 2
    stored.path.write_bytes(blob)
    found = adopt(path)
    assert (found.adopted, found.corrupt_batches) == ([], 0)
    assert found.dead_bytes == stored.space_bytes
    assert stored.path.exists()


class TestProcesses:
    def started(self, path: Path, *arguments: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", LIVING, str(path), *arguments]
        return subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True)

    @pytest.mark.parametrize("way", ["alone", "fork"])
    def test_while_it_lives_it_is_its_own_and_then_anybodys(self, path: Path, way: str) -> None:
        """Also if a child lives on, which has inherited its descriptors."""
        process = self.started(path, way)
        assert process.stdout is not None
        child = int(process.stdout.readline())
        try:
            found = adopt(path)
            assert found.adopted == []
            assert found.live_bytes > 0
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
        try:
            assert len(adopt(path).adopted) == 1
        finally:
            if child:
                os.kill(child, signal.SIGKILL)

    def test_of_many_that_want_it_one_gets_it(self, path: Path) -> None:
        left_by_a_dead_process(path, *[manifest_of()] * 5)
        wanting = (
            "import sys; from pathlib import Path; from tests.support.spools import adopt\n"
            "found = adopt(Path(sys.argv[1])); print(len(found.adopted), flush=True); sys.stdin.read()"
        )
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", wanting, str(path)],
                env=environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(4)
        ]
        got: list[int] = []
        for process in processes:
            assert process.stdout is not None
            got.append(int(process.stdout.readline()))
        for process in processes:
            process.communicate()
        assert sorted(got) == [0, 0, 0, 5]

    def test_a_directory_that_is_cleared_away_while_it_is_made_is_made_again(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path.mkdir(mode=0o700)
        mkdir, made = Path.mkdir, list[Path]()

        def mkdir_and_lose(self: Path, mode: int = 0o777) -> None:
            mkdir(self, mode)
            made.append(self)
            if len(made) == 1:
                adopt(path)  # somebody comes by before it is locked

        monkeypatch.setattr(Path, "mkdir", mkdir_and_lose)
        directory = OwnedDirectory.create(path, "0" * 16)
        assert directory.path == made[1]
        assert not made[0].exists()
