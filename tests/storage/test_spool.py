"""The spool: what is in it, for whom, and when it is not used."""

import errno
import json
import os
import stat
from pathlib import Path

import pytest

from otelprof.errors import FormatError
from otelprof.storage import spool as spool_module
from otelprof.storage.adoption import read_envelope
from otelprof.storage.manifest import MAX_BATCH_BYTES, Manifest, decode_manifest
from otelprof.storage.owned import OwnedDirectory
from otelprof.storage.payload import decode_batch
from otelprof.storage.spool import Spool
from otelprof.storage.trust import UntrustedError
from tests.support.damage import Trial, mutants, sealed
from tests.support.spools import HERE, THERE, adopt, manifest_of, weight_of, write


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "state" / "spool")


class TestWriting:
    def test_what_is_written_can_be_read(self, spool: Spool) -> None:
        stored = [write(spool, number) for number in (1, 2)]
        assert [weight_of(decode_batch(spool.read(each))) for each in stored] == [1, 2]
        assert read_envelope(stored[0].path) == (manifest_of(), frozenset())

    def test_it_is_whole_when_the_disk_is_asked_to_have_it(
        self, spool: Spool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sizes: list[int] = []

        def note_size(descriptor: int) -> None:
            sizes.append(os.fstat(descriptor).st_size)

        monkeypatch.setattr(spool_module, "_sync", note_size)
        stored = write(spool)
        assert sizes == [stored.path.stat().st_size]

    def test_it_is_for_its_owner_alone(self, spool: Spool) -> None:
        umask = os.umask(0)
        try:
            stored = write(spool)
        finally:
            os.umask(umask)
        owner = stored.directory.path / "owner"
        modes = {p: stat.S_IMODE(p.stat().st_mode) for p in (stored.path, owner)}
        assert set(modes.values()) == {0o600}
        for directory in (stored.directory.path, spool.path):
            assert stat.S_IMODE(directory.stat().st_mode) == 0o700

    def test_its_size_is_what_it_takes_on_the_disk(self, spool: Spool) -> None:
        first, second = write(spool), write(spool)
        assert spool.own_bytes == first.space_bytes + second.space_bytes == 2 * 4096
        spool.let_go(first, remove=True)
        assert spool.own_bytes == 4096
        assert not first.path.exists()

    def test_who_has_had_a_batch_is_noted_in_it(self, spool: Spool) -> None:
        stored = write(spool, manifest=manifest_of(HERE, THERE))
        spool.acknowledge(stored, THERE)
        assert read_envelope(stored.path)[1] == {THERE}
        assert weight_of(decode_batch(spool.read(stored))) == 1

    def test_a_note_that_is_torn_counts_as_none(self, spool: Spool) -> None:
        stored = write(spool, manifest=manifest_of(HERE, THERE))
        spool.acknowledge(stored, THERE)
        os.truncate(stored.path, stored.path.stat().st_size - 1)
        assert read_envelope(stored.path)[1] == frozenset()
        assert weight_of(decode_batch(spool.read(stored))) == 1

    def test_another_service_of_this_process_has_a_directory_of_its_own(self, spool: Spool) -> None:
        one = write(spool)
        other = write(spool, manifest=manifest_of(service="bank"))
        assert one.directory is not other.directory
        spool.let_go(one, remove=True)
        assert not one.directory.path.exists()

    def test_closed_it_leaves_nothing_but_batches(self, spool: Spool) -> None:
        stored = write(spool)
        spool.let_go(stored, remove=True)
        spool.close()
        assert list(spool.path.iterdir()) == []

    def test_what_is_no_batch_of_ours_is_not_read(self, spool: Spool) -> None:
        stored = write(spool)
        os.truncate(stored.path, 2 * MAX_BATCH_BYTES)
        with pytest.raises(OSError, match="larger than any batch"):
            spool.read(stored)


class TestWhenItIsNotUsed:
    def test_a_batch_that_is_too_large(self, spool: Spool) -> None:
        with pytest.raises(OSError, match="bytes"):
            spool.write(manifest_of(), bytes(MAX_BATCH_BYTES))

    def test_a_disk_that_is_nearly_full(
        self, spool: Spool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write(spool)
        monkeypatch.setattr(spool_module, "FLOOR_SHARE", 1.0)
        monkeypatch.setattr(spool_module, "FLOOR_BYTES", 1 << 60)
        with pytest.raises(OSError, match="MiB are free"):
            write(spool)

    def test_a_directory_that_others_may_write_to(self, spool: Spool) -> None:
        spool.path.mkdir(parents=True)
        spool.path.chmod(0o770)
        with pytest.raises(UntrustedError, match="writable by others"):
            write(spool)

    def test_a_directory_that_others_may_replace(self, spool: Spool) -> None:
        spool.path.parent.mkdir()
        spool.path.parent.chmod(0o777)
        with pytest.raises(UntrustedError, match="writable by others"):
            write(spool)
        spool.path.parent.chmod(0o1777)  # as /tmp
        write(spool)

    def test_a_symbolic_link(self, spool: Spool, tmp_path: Path) -> None:
        (tmp_path / "elsewhere").mkdir()
        spool.path.parent.mkdir()
        spool.path.symlink_to(tmp_path / "elsewhere")
        with pytest.raises((UntrustedError, FileExistsError)):
            write(spool)
        assert list((tmp_path / "elsewhere").iterdir()) == []

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root makes directories of others")
    def test_a_directory_of_somebody_else(self, spool: Spool) -> None:
        spool.path.mkdir(parents=True, mode=0o700)
        os.chown(spool.path, 12345, -1)
        with pytest.raises(UntrustedError, match="belongs to user 12345"):
            write(spool)

    def test_a_batch_behind_a_link_or_a_pipe_is_not_read(
        self, spool: Spool, tmp_path: Path
    ) -> None:
        stored = write(spool)
        other = tmp_path / "other"
        stored.path.rename(other)
        stored.path.symlink_to(other)
        with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
            spool.read(stored)
        stored.path.unlink()
        os.mkfifo(stored.path)
        with pytest.raises(UntrustedError):
            spool.read(stored)

    def test_a_directory_that_was_removed_is_made_anew(self, spool: Spool) -> None:
        stored = write(spool, 1)
        stored.path.unlink()
        (stored.directory.path / "owner").unlink()
        stored.directory.path.rmdir()
        again = write(spool, 2)
        assert weight_of(decode_batch(spool.read(again))) == 2
        spool.let_go(stored, remove=True)
        assert spool.own_bytes == again.space_bytes


class TestDescriptors:
    def test_one_that_is_something_else_by_now_is_left_alone(
        self, spool: Spool, tmp_path: Path
    ) -> None:
        """Programs close descriptors that they do not own, and get their numbers for their own files."""
        stored = write(spool)
        number = stored.directory._descriptor
        with (tmp_path / "theirs").open("w") as theirs:
            os.dup2(theirs.fileno(), number)
        again = write(spool)
        for each in (stored, again):
            spool.let_go(each, remove=True)
        spool.close()
        assert os.fstat(number).st_ino == (tmp_path / "theirs").stat().st_ino
        assert (tmp_path / "theirs").read_bytes() == b""
        os.close(number)

    @pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
    def test_those_of_a_parent_are_closed_in_its_child_and_the_parent_keeps_its_lock(
        self, spool: Spool
    ) -> None:
        stored = write(spool)
        pid = os.fork()
        if not pid:
            spool.forget()
            try:
                os.fstat(stored.directory._descriptor)
            except OSError:
                # The child sees the parent's as any other process does.
                os._exit(bool(adopt(spool.path).adopted))
            os._exit(2)
        assert os.waitpid(pid, 0)[1] == 0
        assert OwnedDirectory.is_held(stored.directory.path)
        assert stored.path.exists()


class TestHostileBytes:
    def test_of_a_file_are_refused_or_are_what_was_written(self, spool: Spool) -> None:
        blob = spool.read(write(spool))
        trial = Trial(lambda mutant: [decode_batch(mutant)], mutants(blob, count=3000, seed=7))
        assert trial.leaks == []
        assert trial.refused > 2000
        assert {weight_of(batch) for (batch,) in trial.decoded} <= {1}

    def test_behind_a_checksum_that_is_right_are_refused_or_are_a_batch(self, spool: Spool) -> None:
        """As somebody could make them who may write to the directory."""
        blob = spool.read(write(spool))
        damaged = map(sealed, mutants(blob, count=1000, seed=8))
        trial = Trial(lambda mutant: [decode_batch(mutant)], damaged)
        assert trial.leaks == []
        assert min(trial.refused, len(trial.decoded)) > 100  # both are reached

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"\xff",
            b"[]",
            b"null",
            b"[" * 100_000,
            b'{"service":"shop"}',
            b'{"service":1,"destinations":[],"profiles":1,"samples":1,"made_unix_ns":1}',
            b'{"service":"s","destinations":[1],"profiles":1,"samples":1,"made_unix_ns":1}',
            b'{"service":"s","destinations":5,"profiles":1,"samples":1,"made_unix_ns":1}',
            b'{"service":"s","destinations":[],"profiles":-1,"samples":1,"made_unix_ns":1}',
            b'{"service":"s","destinations":[],"profiles":true,"samples":1,"made_unix_ns":1}',
            b'{"service":"s","destinations":[],"profiles":1.5,"samples":1,"made_unix_ns":1}',
            b'{"service":"s","destinations":[],"profiles":1e400,"samples":1,"made_unix_ns":1}',
        ],
    )
    def test_of_a_manifest_are_refused(self, body: bytes) -> None:
        with pytest.raises(FormatError, match="manifest"):
            decode_manifest(body)

    @pytest.mark.parametrize(
        "manifest",
        [
            manifest_of(service="s" * 5000),
            manifest_of(*["d"] * 100),
            manifest_of()._replace(profiles=1 << 63),
        ],
    )
    def test_so_is_what_is_too_large(self, manifest: Manifest) -> None:
        with pytest.raises(FormatError, match="too large"):
            decode_manifest(json.dumps(manifest._asdict()).encode())
