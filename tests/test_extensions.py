"""Collectors, processors and exporters by name: otelprof's own, and those that other packages bring."""

import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from types import ModuleType

import pytest

from otelprof.collectors.stack import stack_collector
from otelprof.errors import ConfigError, ExporterError, OtelprofError
from otelprof.exporters import file, otlp
from otelprof.extensions import COLLECTORS, EXPORTERS, PROCESSORS, load
from otelprof.processors import enrich, filter, redact  # noqa: A004 - a module
from otelprof.profiler import Profiler

PATIENCE_S = 30.0
THEIRS = """
from tests.support.pipelines import FakeCollector, FakeExporter

collector, exporter = FakeCollector(), FakeExporter()
built = []

def moods(kinds, config, spans):
    built.append((kinds, config.rate_hz))
    return collector

def pigeon(config):
    return exporter

class Quiet:
    is_required = True

    def process(self, profile):
        raise LookupError("of their own")

def quiet(config):
    return Quiet()
"""
ENTRY_POINTS = """
[otelprof.collectors]
moods = theirs:moods
cpu = theirs:moods
gone = nowhere:moods
stale = theirs:Moods
broken = broken:moods

[otelprof.processors]
quiet = theirs:quiet
redact = theirs:quiet
gone = nowhere:quiet
stale = theirs:Silent
broken = broken:quiet

[otelprof.exporters]
pigeon = theirs:pigeon
file = theirs:pigeon
gone = nowhere:pigeon
stale = theirs:Pigeon
broken = broken:pigeon
"""
ERRORS: dict[str, type[OtelprofError]] = {
    COLLECTORS: ConfigError,
    PROCESSORS: ConfigError,
    EXPORTERS: ExporterError,
}


@pytest.fixture
def theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], ModuleType]]:
    """Another package is installed, with collectors, processors and exporters of its own. Gives its module."""
    (tmp_path / "theirs.py").write_text(THEIRS)
    (tmp_path / "broken.py").write_text("raise LookupError('of their own')")
    folder = tmp_path / "theirs-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    yield lambda: sys.modules["theirs"]
    for name in ("theirs", "broken"):
        sys.modules.pop(name, None)


@pytest.mark.usefixtures("theirs")
class TestOwn:
    @pytest.mark.parametrize(
        ("group", "name", "what"),
        [
            (COLLECTORS, "cpu", stack_collector),
            (COLLECTORS, "wall", stack_collector),
            (PROCESSORS, "enrich", enrich.from_config),
            (PROCESSORS, "filter", filter.from_config),
            (PROCESSORS, "redact", redact.from_config),
            (EXPORTERS, "file", file.from_config),
            (EXPORTERS, "otlp", otlp.from_config),
        ],
    )
    def test_are_found_without_looking_at_entry_points(
        self, group: str, name: str, what: object, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delattr(metadata, "entry_points")
        assert load(group, name, OtelprofError) is what


class TestTheirs:
    def test_collect_and_export_under_their_names(
        self, theirs: Callable[[], ModuleType], caplog: pytest.LogCaptureFixture
    ) -> None:
        with Profiler(collect="moods", exporters="pigeon", rate_hz=50) as profiler:
            assert theirs().built == [(("moods",), 50)]
            theirs().collector.give(2)
            assert profiler.flush(PATIENCE_S)
            assert profiler.health()["pigeon.delivered_profiles"] == 2
        assert caplog.records == []

    def test_process_under_their_names(
        self, theirs: Callable[[], ModuleType], caplog: pytest.LogCaptureFixture
    ) -> None:
        with Profiler(collect="moods", exporters="pigeon", processors="quiet") as profiler:
            theirs().collector.give(2)
            assert profiler.flush(PATIENCE_S)
            assert profiler.health()["processors.quiet.errors"] == 2
            assert "pigeon.delivered_profiles" not in profiler.health()
        (record,) = caplog.records
        assert "quiet: profiles that it cannot process do not leave" in record.getMessage()

    @pytest.mark.usefixtures("theirs")
    @pytest.mark.parametrize("group", [COLLECTORS, PROCESSORS, EXPORTERS])
    @pytest.mark.parametrize(
        ("name", "reason"),
        [
            ("gone", "ModuleNotFoundError: No module named 'nowhere'"),
            ("stale", "AttributeError: module 'theirs' has no attribute "),
            ("broken", "LookupError: of their own"),
        ],
    )
    def test_that_cannot_be_loaded_are_named(self, group: str, name: str, reason: str) -> None:
        with pytest.raises(ERRORS[group]) as raised:
            load(group, name, ERRORS[group])
        assert str(raised.value).startswith(f"{group}: '{name}' cannot be loaded: {reason}")

    @pytest.mark.usefixtures("theirs")
    def test_a_collector_that_cannot_be_loaded_is_the_callers_mistake(self) -> None:
        with pytest.raises(ConfigError, match="'stale' cannot be loaded") as raised:
            Profiler(collect="cpu,stale", exporters=())
        assert raised.value.setting == "collect"

    @pytest.mark.usefixtures("theirs")
    def test_an_exporter_that_cannot_be_loaded_is_said(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        with Profiler(collect="moods", exporters="stale") as profiler:
            sys.modules["theirs"].collector.give()
            assert not profiler.flush(PATIENCE_S)
        (record,) = caplog.records
        said = (
            "otelprof: stale: no profiles leave here: otelprof.exporters: 'stale' cannot be loaded"
        )
        assert record.getMessage().startswith(said)

    @pytest.mark.usefixtures("theirs")
    @pytest.mark.parametrize(
        ("group", "known"),
        [
            (COLLECTORS, "broken, cpu, gone, moods, stale, wall"),
            (PROCESSORS, "broken, enrich, filter, gone, quiet, redact, stale"),
            (EXPORTERS, "broken, file, gone, http, otlp, pigeon, pyroscope, stale"),
        ],
    )
    def test_are_listed_beside_our_own_where_a_name_is_unknown(
        self, group: str, known: str
    ) -> None:
        with pytest.raises(ERRORS[group], match="there is no 'nothing', only ") as raised:
            load(group, "nothing", ERRORS[group])
        named = str(raised.value).partition("only ")[2]
        assert set(known.split(", ")) <= set(named.split(", "))  # others may be installed here

    def test_in_metadata_that_nobody_can_read_are_named(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(**_: str) -> None:
            raise ValueError("Invalid object reference")  # from 3.15 on, of any package

        monkeypatch.setattr(metadata, "entry_points", refuse)
        with pytest.raises(ConfigError, match="'moods' cannot be loaded: ValueError: Invalid"):
            load(COLLECTORS, "moods", ConfigError)
