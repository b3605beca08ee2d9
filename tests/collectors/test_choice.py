"""Which sampler takes the samples, and what is said about it."""

import sys

import pytest

from otelprof.collectors import stack as stack_module
from otelprof.collectors.core import CoreCollector
from otelprof.collectors.python import PythonCollector
from otelprof.collectors.stack import stack_collector
from otelprof.config import Config, SamplerChoice
from otelprof.errors import ConfigError
from otelprof.interfaces import Collector
from otelprof.labels import spans_by
from otelprof.model import Producer
from otelprof.profiler import Profiler
from otelprof.version import __version__
from tests.support.fake_core import FakeCore


@pytest.fixture(autouse=True)
def _nothing_said_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack_module, "_said", set[str]())


def chosen(sampler: SamplerChoice) -> Collector:
    return stack_collector(("wall",), Config(sampler=sampler), spans_by(lambda _: 0))


def producer_of(collector: Collector) -> Producer:
    collector.start()
    collector.stop()
    (wall,) = collector.drain()
    return wall.producer


@pytest.mark.parametrize("sampler", ["auto", "core"])
def test_the_core_where_it_runs(
    sampler: SamplerChoice, fake_core: FakeCore, caplog: pytest.LogCaptureFixture
) -> None:
    assert isinstance(chosen(sampler), CoreCollector)
    assert caplog.records == []


def test_the_python_sampler_where_it_is_asked_for(
    fake_core: FakeCore, caplog: pytest.LogCaptureFixture
) -> None:
    collector = chosen("python")
    assert isinstance(collector, PythonCollector)
    assert fake_core.samplers == []
    assert caplog.records == []
    assert producer_of(collector) == Producer(__version__, "python", "it was asked for")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RuntimeError("frame: owner"), "the C core's self-test failed: frame: owner"),
        (OSError("every back-end is refused"), "the C core cannot read memory: every back-end is"),
    ],
)
def test_the_python_sampler_where_the_core_refuses(
    error: Exception, reason: str, fake_core: FakeCore, caplog: pytest.LogCaptureFixture
) -> None:
    fake_core.fails = error
    collectors = [chosen("auto") for _ in range(3)]
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert reason in record.getMessage()
    for collector in collectors:
        assert isinstance(collector, PythonCollector)
    assert producer_of(collectors[0]).reason.startswith(reason)


def test_the_python_sampler_where_there_is_no_core(
    fake_core: FakeCore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "otelprof._core", None)
    collector = chosen("auto")
    (record,) = caplog.records
    assert "since the C core is not built" in record.getMessage()
    assert producer_of(collector).reason.startswith("the C core is not built: ")


def test_a_core_that_is_asked_for_and_refuses_is_the_callers_mistake(fake_core: FakeCore) -> None:
    fake_core.fails = RuntimeError("frame: owner")
    with pytest.raises(ConfigError, match=r"sampler: 'core' cannot be used: .*frame: owner"):
        Profiler(sampler="core", exporters=())


def test_a_core_that_the_environment_asks_for_and_that_refuses_is_said_once(
    fake_core: FakeCore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTELPROF_SAMPLER", "core")
    fake_core.fails = RuntimeError("frame: owner")
    profiler = Profiler(exporters=())
    (record,) = caplog.records
    assert record.getMessage().startswith("OTELPROF_SAMPLER='core' is not used: ")
    assert "frame: owner" in record.getMessage()
    assert profiler.config.sampler == "auto"


def test_an_unknown_kind_is_named() -> None:
    with pytest.raises(ConfigError, match="collect: heap is not a kind of stack profile"):
        stack_collector(("cpu", "heap"), Config(), spans_by(lambda _: 0))
