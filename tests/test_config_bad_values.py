"""No text in the environment may stop the application."""

import logging

import pytest

from otelprof.config import Config
from otelprof.environment import from_environment
from tests.support.damage import texts
from tests.support.settings import HTTP, TLS_FILES, VARIABLES

# variable, texts that it cannot take; every text but an endpoint or a path can be wrong
BAD = {
    "OTELPROF_ENABLED": ["yes", "1", "0", "on", "tru"],
    "OTEL_SDK_DISABLED": ["yes", "1", "disabled"],
    "OTELPROF_COLLECT": [",", " , ,"],
    "OTELPROF_RATE": ["0", "0.9", "1001", "-5", "nan", "inf", "fast", "1e9", "10Hz/s", "1,5"],
    "OTELPROF_SAMPLER": ["c", "yes", "core,python"],
    "OTELPROF_FLUSH": ["0", "0s", "0.0ms", "-1s", "15x", "s", "nan", "1e3", "soon", "1 5s", ".5"],
    "OTELPROF_ENRICH_RESOURCE": ["zone", "=b", "a=b,c", f"{'k' * 65}=v", "k=" + "v" * 257],
    "OTELPROF_ENRICH_LABELS": ["zone:b", ",".join(f"k{n}=v" for n in range(17))],
    "OTELPROF_SPOOL": ["yes", "1", "memory"],
    "OTELPROF_SPOOL_MAX": ["0", "-1", "much", "1MB", "1e6", "2000GiB", "0.1", "MiB"],
    "OTELPROF_SPOOL_AGE": ["0", "-1s", "200h", "1d", "for ever"],
    "OTELPROF_RETRY_BACKOFF": ["never", "fixed:", "fixed:x", "linear:5s:1s", "fixed:1s:2s:3s"],
    "OTELPROF_SPAN_ID": ["both", "owns", "own,root"],
    "OTELPROF_FILE_NAME": ["{service}", "{begin}/x", "{begin}-{x}", ".{begin}"],
    "OTELPROF_FILE_MAX_COUNT": ["0", "-1", "1.5", "many", "1e3", "9" * 20],
    "OTELPROF_FILE_MAX_SIZE": ["0", "0KiB", "-1", "1GB", "64 MB", "large", "9" * 20],
    "OTELPROF_LOCAL_MAX_SIZE": ["0", "-1", "1GB", "large"],
    "OTELPROF_LOCAL_MAX_AGE": ["0", "-1h", "1w", "old"],
    "OTELPROF_FILE_MAX_AGE": ["0", "0d", "-1h", "1.5d", "1w", "old", "9" * 20],
    # The last ones could be listened at; that is not safe without the other two settings.
    "OTELPROF_PULL": [
        *(":6060", "shop:6060", "127.0.0.1:66000", "127.0.0.1:6069-6060", "0-9", "6060-6160"),
        *("unix:run.sock", "unix:/run/", "unix:/" + "x" * 100, "http://127.0.0.1:6060", "[::1"),
        *("127.0.0.1:6060", "6060", "[::1]:0", "0.0.0.0:6060"),
    ],
    "OTELPROF_PULL_TOKEN": ["short", "x" * 15, "x" * 15 + " x", "ü" * 16],
    "OTELPROF_PULL_INSECURE": ["yes", "1"],
    **{
        f"OTELPROF_{name}": bad
        for exporter in ("PYROSCOPE", "HTTP")
        for name, bad in {
            f"{exporter}_HEADERS": ["novalue", "a=b,c", "=b"],
            f"{exporter}_TIMEOUT": ["0", "-1", "nan", "10x", "never"],
        }.items()
    },
    **{
        f"{prefix}_{name}": bad
        for prefix in ("OTEL_EXPORTER_OTLP", "OTEL_EXPORTER_OTLP_PROFILES")
        for name, bad in {
            "PROTOCOL": ["http/json", "http", "grpc,http/protobuf"],
            "HEADERS": ["novalue", "a=b,c", "=b"],
            "TIMEOUT": ["0", "-1", "nan", "10s", "never"],
            "COMPRESSION": ["deflate", "zstd", "true"],
            "INSECURE": ["1", "yes"],
        }.items()
    },
}


class TestBadValues:
    @pytest.mark.parametrize(
        ("variable", "text"),
        [(variable, text) for variable, texts in BAD.items() for text in texts],
    )
    def test_are_named_in_one_line_and_not_used(
        self, variable: str, text: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert from_environment({variable: text}) == Config()
        (record,) = caplog.records
        assert (record.name, record.levelno) == ("otelprof", logging.WARNING)
        # Headers carry credentials, which have no place in a log.
        shown = "…" if variable.endswith(("_HEADERS", "_TOKEN")) else text.strip()
        assert record.getMessage().startswith(f"{variable}={shown!r} is not used: ")

    def test_are_tried_for_every_variable_that_has_some(self) -> None:
        takes_anything = {
            "OTELPROF_EXPORTER",
            "OTELPROF_FILE_DIR",
            "OTELPROF_LOCAL_DIRECTORY",
            "OTELPROF_OUTPUT",
            "OTELPROF_STATE_DIR",
        }
        # What is wrong with these, the processor says (tests/processors/test_chain.py).
        takes_anything |= {"OTELPROF_PROCESSORS", "OTELPROF_REDACT_PATTERNS"}
        takes_anything |= {"OTELPROF_FILTER_INCLUDE", "OTELPROF_FILTER_EXCLUDE"}
        takes_anything |= {
            f"OTELPROF_PYROSCOPE_{name}"
            for name in ("USER", "PASSWORD", "TOKEN", "TENANT", "LABELS", "SAMPLE_LABELS")
        }
        places = {name for name in VARIABLES if name.endswith(("_ENDPOINT", *TLS_FILES))}
        assert set(BAD) == set(VARIABLES) - takes_anything - places

    def test_of_the_signal_leave_the_general_one_in_force(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        environ = {
            "OTEL_EXPORTER_OTLP_PROFILES_TIMEOUT": "never",
            "OTEL_EXPORTER_OTLP_TIMEOUT": "3",
        }
        assert from_environment(environ).otlp.timeout_s == 3.0
        assert len(caplog.records) == 1

    def test_are_each_named(self, caplog: pytest.LogCaptureFixture) -> None:
        assert from_environment({variable: bad[0] for variable, bad in BAD.items()}) == Config()
        assert sorted(r.getMessage().partition("=")[0] for r in caplog.records) == sorted(BAD)

    @pytest.mark.parametrize("text", ["0." + "0" * 322 + "1ms", "0." + "0" * 400 + "1"])
    def test_a_flush_too_short_for_a_float_does_not_stop_the_application(
        self, text: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert from_environment({"OTELPROF_FLUSH": text}) == Config()
        assert len(caplog.records) == 1

    @pytest.mark.parametrize(
        ("variable", "text"),
        [
            ("OTELPROF_FLUSH", "9" * 400),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "inf"),
            ("OTEL_EXPORTER_OTLP_PROFILES_TIMEOUT", "1e999"),
        ],
    )
    def test_a_time_without_end_is_not_used(
        self, variable: str, text: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        # threading.Event.wait and socket timeouts raise OverflowError for infinity.
        assert from_environment({variable: text}) == Config()
        assert len(caplog.records) == 1

    @pytest.mark.parametrize("variable", [*VARIABLES, "OTELPROF_RUNNER_PID"])
    @pytest.mark.parametrize("around", [{}, HTTP], ids=["grpc", "http"])
    def test_never_raise(self, variable: str, around: dict[str, str]) -> None:
        for text in texts(count=300, seed=51):
            environ = {"OTELPROF_OUTPUT": "out", **around, variable: text}
            config = from_environment(environ)
            assert config.flush_s > 0
            assert 1 <= config.rate_hz <= 1000
            assert config.otlp.timeout_s > 0
            assert config.otlp.endpoint

    def test_never_raise_all_at_once(self) -> None:
        words = texts(count=300 * len(VARIABLES), seed=52)
        for _ in range(300):
            config = from_environment({variable: next(words) for variable in VARIABLES})
            assert config.collect
