"""The instrumentor where the application sets up OpenTelemetry itself: before, later, from a file, or not at all."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

from otelprof import process_profiler
from otelprof.instrumentation import OtelprofInstrumentor
from otelprof.spans import PROFILE_ID_ATTRIBUTE
from tests.support.programs import Finished, names_in, read, run

FILE = """
file_format: "1.0"
instrumentation/development:
  python:
    otelprof: {{enabled: {enabled}, rate_hz: 42, output: out.pb.gz}}
"""

# Sets up the SDK from the file, as `opentelemetry-instrument` does.
FROM_FILE = """
from opentelemetry.configuration import configure_sdk, load_config_file
configure_sdk(load_config_file("otel.yaml"))
"""

WORK = """
import sys, time
from opentelemetry import trace
from tests.targets.burning import LEARNING_S, burn, tell
burn(LEARNING_S)
spans = []
end = time.monotonic() + 30
while not spans and time.monotonic() < end:
    with trace.get_tracer("application").start_as_current_span("work") as span:
        burn(0.02)
    if "pyroscope.profile.id" in (getattr(span, "attributes", None) or {}):
        spans.append(span.name)
tell(spans=spans)
"""

INSTRUMENT_IT = """
from otelprof.instrumentation import OtelprofInstrumentor
OtelprofInstrumentor().instrument(output="out.pb.gz")
"""

SET_PROVIDER = """
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
trace.set_tracer_provider(TracerProvider(resource=Resource({"service.name": "late"})))
"""

WAIT = "import time\ntime.sleep(1.5)  # past the first look for a provider\n"


def run_program(source: str, cwd: Path) -> Finished:
    return run([sys.executable, "-c", source], cwd)


@pytest.mark.parametrize(
    "set_up",
    [
        SET_PROVIDER + INSTRUMENT_IT,
        INSTRUMENT_IT + SET_PROVIDER,
        INSTRUMENT_IT + WAIT + SET_PROVIDER,
    ],
    ids=["after the provider", "before it", "long before it"],
)
def test_spans_are_marked_and_recorded_whenever_there_is_a_provider(
    set_up: str, tmp_path: Path
) -> None:
    finished = run_program(set_up + WORK, tmp_path)
    assert (finished.code, finished.said) == (0, [])
    assert finished.facts["spans"] == ["work"]
    left = read(tmp_path / "out.pb.gz")
    assert "work" in {span.name for span in left.spans}
    assert {dict(profile.resource)["service.name"] for profile in left.profiles} == {"late"}


def test_without_a_provider_there_is_a_profile_all_the_same(tmp_path: Path) -> None:
    finished = run_program(
        INSTRUMENT_IT + "from tests.targets.burning import burn\nburn(0.4)", tmp_path
    )
    assert (finished.code, finished.said) == (0, [])
    assert "burn" in read(tmp_path / "out.pb.gz").labels()


@pytest.mark.parametrize("is_enabled", [True, False])
def test_a_file_of_declarative_configuration_has_its_settings(
    tmp_path: Path, *, is_enabled: bool
) -> None:
    pytest.importorskip("opentelemetry.configuration")
    pytest.importorskip("yaml")
    (tmp_path / "otel.yaml").write_text(FILE.format(enabled=str(is_enabled).lower()))
    finished = run_program(
        FROM_FILE + "from tests.targets.burning import burn\nburn(0.4)", tmp_path
    )
    assert finished.code == 0, finished.err
    if not is_enabled:
        assert names_in(tmp_path) == ["otel.yaml"]
        return
    (cpu,) = (p for p in read(tmp_path / "out.pb.gz").profiles if p.kind == "cpu")
    assert cpu.period == round(1e9 / 42)


class TestInThisProcess:
    @pytest.fixture
    def instrumentor(self) -> Iterator[OtelprofInstrumentor]:
        instrumentor = OtelprofInstrumentor()
        yield instrumentor
        instrumentor.uninstrument()

    def test_a_tracer_provider_that_is_given_is_the_one(
        self, instrumentor: OtelprofInstrumentor, tmp_path: Path
    ) -> None:
        provider = TracerProvider(
            resource=Resource({"service.name": "given"}), shutdown_on_exit=False
        )
        instrumentor.instrument(tracer_provider=provider, output=tmp_path / "out.pb.gz")
        with provider.get_tracer("test").start_as_current_span("work") as span:
            end = time.thread_time() + 0.4
            while time.thread_time() < end:
                sum(range(500))
        assert PROFILE_ID_ATTRIBUTE in (getattr(span, "attributes", None) or {})
        instrumentor.uninstrument()
        left = read(tmp_path / "out.pb.gz")
        assert [each.name for each in left.spans] == ["work"]
        assert dict(left.profiles[0].resource)["service.name"] == "given"

    def test_whatever_goes_wrong_is_said_and_not_raised(
        self,
        instrumentor: OtelprofInstrumentor,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        def fail(*_: object, **__: object) -> None:
            raise ZeroDivisionError("of ours")

        monkeypatch.setattr(process_profiler, "start", fail)
        instrumentor.instrument()
        monkeypatch.setattr(process_profiler, "stop", fail)
        instrumentor.uninstrument()
        assert caplog.text.count("the application is not affected") == 2

    def test_a_module_that_cannot_be_imported_is_said_and_not_raised(
        self,
        instrumentor: OtelprofInstrumentor,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        monkeypatch.setitem(sys.modules, "otelprof.errors", None)
        instrumentor.instrument()
        assert "does not profile this process" in caplog.text
