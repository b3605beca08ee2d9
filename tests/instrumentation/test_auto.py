"""Under `opentelemetry-instrument`: profiles come by themselves, and nothing stops the application."""

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from otelprof.instrumentation import OtelprofInstrumentor
from tests.support.programs import (
    INSTRUMENT,
    Finished,
    names_in,
    read_all,
    run,
    run_together,
    target,
)
from tests.support.servers import grpc_receiver

ROOT = Path(__file__).parents[2]
COMMAND = [INSTRUMENT, sys.executable, target("busy.py")]
FILES = {"OTELPROF_EXPORTER": "file", "OTELPROF_FILE_DIR": "profiles", "OTEL_SERVICE_NAME": "shop"}


def instrumented(cwd: Path, **variables: str) -> Finished:
    """The target under `opentelemetry-instrument`, to its end."""
    return run(COMMAND, cwd, {**FILES, **variables})


class TestInstrumented:
    def test_profiles_carry_the_spans_that_ran(self, tmp_path: Path) -> None:
        finished = instrumented(tmp_path)
        assert (finished.code, finished.said) == (0, [])
        (left,) = read_all(tmp_path / "profiles")
        assert left.links() == set(finished.facts["spans"].values())
        recorded = {span.name: f"{span.trace_id.hex()}:{span.span_id.hex()}" for span in left.spans}
        assert recorded == finished.facts["spans"]
        labels = left.labels()
        for function, span in (("burn_checkout", "checkout"), ("burn_payment", "payment")):
            assert set(labels[function]) == {span}
        assert set(labels["burn_outside"]) == {"(none)"}
        assert all(name.startswith("shop-") for name in names_in(tmp_path / "profiles"))

    def test_they_go_to_a_collector_by_default(self, tmp_path: Path) -> None:
        with grpc_receiver() as receiver:
            endpoint = f"http://{receiver.address}"
            variables = {"OTELPROF_EXPORTER": "", "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
            finished = instrumented(tmp_path, **variables)
            (arrived,) = receiver.wait_for(1)
        assert (finished.code, finished.said) == (0, [])
        assert names_in(tmp_path) == []
        links = {
            f"{link.trace_id.hex()}:{link.span_id.hex()}"
            for link in arrived.message.dictionary.link_table[1:]
        }
        assert links == set(finished.facts["spans"].values())

    def test_the_programs_exit_code_is_kept(self, tmp_path: Path) -> None:
        commands = {ending: [*COMMAND, ending] for ending in ("exit", "raise")}
        finished = run_together(commands, tmp_path, dict.fromkeys(commands, FILES))
        assert {ending: each.code for ending, each in finished.items()} == {"exit": 3, "raise": 1}


class TestSwitchedOff:
    def test_nothing_runs_and_nothing_is_left(self, tmp_path: Path) -> None:
        switches = {
            "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "otelprof",
            "OTEL_SDK_DISABLED": "true",
            "OTELPROF_ENABLED": "false",
        }
        variables = {name: {**FILES, name: value} for name, value in switches.items()}
        finished = run_together(dict.fromkeys(switches, COMMAND), tmp_path, variables)
        for name, each in finished.items():
            assert (each.code, each.said) == (0, []), name
            assert not any(thread.startswith("otelprof") for thread in each.facts["threads"]), name
        assert names_in(tmp_path) == []


class TestBadSettings:
    def test_a_bad_value_is_named_in_one_line_and_the_default_used(self, tmp_path: Path) -> None:
        bad = {"OTELPROF_RATE": "fast", "OTELPROF_FLUSH": "0s"}
        variables = {name: {**FILES, name: value} for name, value in bad.items()}
        finished = run_together(dict.fromkeys(bad, COMMAND), tmp_path, variables)
        for name, value in bad.items():
            assert finished[name].code == 0
            (line,) = finished[name].said
            assert name in line
            assert value in line
            assert len(read_all(tmp_path / name / "profiles")) == 1

    def test_an_unknown_exporter_is_named_in_one_line(self, tmp_path: Path) -> None:
        finished = instrumented(tmp_path, OTELPROF_EXPORTER="pigeon,file")
        assert finished.code == 0
        (line,) = finished.said
        assert "pigeon" in line
        assert len(read_all(tmp_path / "profiles")) == 1

    def test_an_unknown_collector_is_named_in_one_line(self, tmp_path: Path) -> None:
        finished = instrumented(tmp_path, OTELPROF_COLLECT="cpu,moods")
        assert finished.code == 0
        (line,) = finished.said
        assert "moods" in line


class TestInstrumentor:
    @pytest.fixture
    def instrumentor(self) -> Iterator[OtelprofInstrumentor]:
        instrumentor = OtelprofInstrumentor()
        yield instrumentor
        instrumentor.uninstrument()

    def test_takes_settings_and_can_be_used_again(
        self, instrumentor: OtelprofInstrumentor, tmp_path: Path
    ) -> None:
        for number in range(2):
            instrumentor.instrument(output=tmp_path / f"{number}.pb.gz", tracer_provider=None)
            sum(range(3_000_000))
            instrumentor.uninstrument()
        assert {"0.pb.gz", "1.pb.gz"} <= set(names_in(tmp_path))

    def test_a_setting_that_does_not_exist_is_said_and_does_not_raise(
        self, instrumentor: OtelprofInstrumentor, caplog: pytest.LogCaptureFixture
    ) -> None:
        instrumentor.instrument(rat_hz=100)
        assert "rat_hz" in caplog.text
        (record,) = caplog.records
        assert record.levelno >= logging.WARNING

    def test_depends_on_nothing(self, instrumentor: OtelprofInstrumentor) -> None:
        assert list(instrumentor.instrumentation_dependencies()) == []


@pytest.mark.parametrize("folder", ["exporters", "instrumentation"])
@pytest.mark.skipif(not (ROOT / "exporters").exists(), reason="there is no checkout around")
def test_the_folders_behind_the_links_say_what_to_import(folder: str) -> None:
    finished = run([sys.executable, "-c", f"import {folder}"], ROOT)
    assert finished.code == 1
    assert finished.said[-1].startswith("ImportError: ")
    assert f"otelprof.{folder}" in finished.said[-1]


# Exporters are imported in the first second, or at exit.
@pytest.mark.parametrize("after_s", [0.1, 2.5])
def test_an_unhandled_keyboard_interrupt_ends_the_program_as_without_us(
    tmp_path: Path, after_s: float
) -> None:
    """Importing at exit would make CPython forget it, and the exit code change from 130 to 1."""
    script = tmp_path / "interrupted.py"
    script.write_text(
        "import os, signal, time\n"
        # A shell may have started us with this ignored.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"time.sleep({after_s})\n"
        "os.kill(os.getpid(), signal.SIGINT)\n"
        "time.sleep(10)\n",
    )
    program = Path(sys.executable).with_name("opentelemetry-instrument")
    finished = subprocess.run(
        [program, sys.executable, script],
        cwd=tmp_path,
        env={
            **os.environ,
            **{f"OTEL_{signal}_EXPORTER": "none" for signal in ("TRACES", "METRICS", "LOGS")},
            "OTELPROF_OUTPUT": "out.pb.gz",
        },
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert finished.returncode == -signal.SIGINT, finished.stderr
    assert (tmp_path / "out.pb.gz").exists()
