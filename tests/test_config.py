import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any, cast

import pytest

from otelprof.backoff import Backoff
from otelprof.config import Config, with_pid
from otelprof.environment import from_environment
from otelprof.errors import ConfigError
from otelprof.exporter_settings import (
    SERIES_LABELS,
    FileSettings,
    HttpSettings,
    LocalSettings,
    OtlpSettings,
    PyroscopeSettings,
    shown_url,
)
from otelprof.pull_settings import PullSettings
from otelprof.scalar_settings import parse_bool, parse_duration_s, parse_headers
from tests.support.settings import HTTP, VARIABLES

DOCUMENTATION = Path(__file__).parents[1] / "docs" / "configuration.md"

# variable, text, the field it sets, the value that the text means
READ = [
    ("OTELPROF_ENABLED", "false", "enabled", False),
    ("OTEL_SDK_DISABLED", "true", "enabled", False),
    ("OTELPROF_COLLECT", "wall, cpu,wall", "collect", ("wall", "cpu")),
    ("OTELPROF_RATE", "19.5", "rate_hz", 19.5),
    ("OTELPROF_RATE", "250Hz", "rate_hz", 250.0),
    ("OTELPROF_RATE", "1000hz", "rate_hz", 1000.0),
    ("OTELPROF_RATE", "1", "rate_hz", 1.0),
    ("OTELPROF_SAMPLER", "core", "sampler", "core"),
    ("OTELPROF_SAMPLER", "Python", "sampler", "python"),
    ("OTELPROF_FLUSH", "250ms", "flush_s", 0.25),
    ("OTELPROF_FLUSH", "2m", "flush_s", 120.0),
    ("OTELPROF_PROCESSORS", "redact, filter,redact", "processors", ("redact", "filter")),
    ("OTELPROF_PROCESSORS", "None", "processors", ()),
    (
        "OTELPROF_FILTER_INCLUDE",
        "module=a; file=~b{1,2};",
        "filter_include",
        ("module=a", "file=~b{1,2}"),
    ),
    ("OTELPROF_FILTER_EXCLUDE", "label.k=v w", "filter_exclude", ("label.k=v w",)),
    (
        "OTELPROF_ENRICH_RESOURCE",
        "a.b=c%20d, e=%24f, g=$UNSET",
        "enrich_resource",
        (("a.b", "c d"), ("e", "$f")),
    ),
    ("OTELPROF_ENRICH_LABELS", "zone=", "enrich_labels", (("zone", ""),)),
    ("OTELPROF_REDACT_PATTERNS", "acme;[0-9]{4}", "redact_patterns", ("acme", "[0-9]{4}")),
    ("OTELPROF_EXPORTER", "file, otlp", "exporters", ("file", "otlp")),
    ("OTELPROF_EXPORTER", "none", "exporters", ()),
    ("OTELPROF_SPAN_ID", "root", "span_id", "root"),
    ("OTELPROF_FILE_DIR", "/var/profiles", "file_dir", Path("/var/profiles")),
    ("OTELPROF_OUTPUT", "/tmp/out.pb.gz", "output", Path("/tmp/out.pb.gz")),  # noqa: S108 - not written
    ("OTELPROF_STATE_DIR", "/srv/state", "state_dir", Path("/srv/state")),
    ("OTELPROF_SPOOL", "false", "spool", False),
    ("OTELPROF_SPOOL_MAX", "1.5GiB", "spool_max_bytes", 3 << 29),
    ("OTELPROF_SPOOL_AGE", "72h", "spool_age_s", 72 * 3600.0),
    ("OTELPROF_RETRY_BACKOFF", "fixed:5s", "retry_backoff", Backoff("fixed", 5.0, 60.0)),
    *(
        (f"{prefix}_{name}", text, f"otlp.{name.lower()}{suffix}", value)
        for prefix in ("OTEL_EXPORTER_OTLP", "OTEL_EXPORTER_OTLP_PROFILES")
        for name, text, suffix, value in (
            ("PROTOCOL", "HTTP/protobuf", "", "http/protobuf"),
            ("ENDPOINT", "http://collector:4317", "", "http://collector:4317"),
            ("HEADERS", "Api-Key=a%20b,tenant=shop", "", (("api-key", "a b"), ("tenant", "shop"))),
            ("TIMEOUT", "2.5", "_s", 2.5),
            ("COMPRESSION", "NONE", "", "none"),
            ("INSECURE", "True", "", True),
            ("CERTIFICATE", "/etc/ca.pem", "", Path("/etc/ca.pem")),
            ("CLIENT_KEY", "/etc/key.pem", "", Path("/etc/key.pem")),
            ("CLIENT_CERTIFICATE", "/etc/cert.pem", "", Path("/etc/cert.pem")),
        )
    ),
    *(
        (f"OTELPROF_{exporter}_{name}", text, f"{exporter.lower()}.{field}", value)
        for exporter in ("PYROSCOPE", "HTTP")
        for name, text, field, value in (
            ("ENDPOINT", "https://host/x", "endpoint", "https://host/x"),
            ("HEADERS", "Api-Key=a%20b", "headers", (("api-key", "a b"),)),
            ("TIMEOUT", "500ms", "timeout_s", 0.5),
            ("CERTIFICATE", "/etc/ca.pem", "certificate", Path("/etc/ca.pem")),
            ("CLIENT_KEY", "/etc/key.pem", "client_key", Path("/etc/key.pem")),
            ("CLIENT_CERTIFICATE", "/etc/c.pem", "client_certificate", Path("/etc/c.pem")),
        )
    ),
    ("OTELPROF_PYROSCOPE_USER", "12345", "pyroscope.user", "12345"),
    ("OTELPROF_PYROSCOPE_PASSWORD", "a,b=c", "pyroscope.password", "a,b=c"),
    ("OTELPROF_PYROSCOPE_TOKEN", "6d73", "pyroscope.token", "6d73"),
    ("OTELPROF_PYROSCOPE_TENANT", "shop", "pyroscope.tenant", "shop"),
    ("OTELPROF_PYROSCOPE_LABELS", "team, zone", "pyroscope.labels", ("team", "zone")),
    ("OTELPROF_PYROSCOPE_LABELS", "none", "pyroscope.labels", ()),
    (
        "OTELPROF_PYROSCOPE_SAMPLE_LABELS",
        "thread_name",
        "pyroscope.sample_labels",
        ("thread_name",),
    ),
    ("OTELPROF_FILE_NAME", "{host}-{begin}", "file.name", "{host}-{begin}"),
    ("OTELPROF_FILE_MAX_COUNT", "500", "file.max_count", 500),
    ("OTELPROF_FILE_MAX_SIZE", "64MiB", "file.max_size_bytes", 64 * 1024**2),
    ("OTELPROF_FILE_MAX_SIZE", "500 kib", "file.max_size_bytes", 500 * 1024),
    ("OTELPROF_FILE_MAX_SIZE", "4096", "file.max_size_bytes", 4_096),
    ("OTELPROF_FILE_MAX_SIZE", "none", "file.max_size_bytes", None),
    ("OTELPROF_FILE_MAX_AGE", "7d", "file.max_age_s", 7 * 86_400.0),
    ("OTELPROF_FILE_MAX_AGE", "90m", "file.max_age_s", 5_400.0),
    ("OTELPROF_PULL", "unix:/run/shop/{pid}.sock", "pull.address", "unix:/run/shop/{pid}.sock"),
    ("OTELPROF_PULL_TOKEN", "a-token-of-length", "pull.token", "a-token-of-length"),
    ("OTELPROF_PULL_INSECURE", "true", "pull.insecure", True),
    ("OTELPROF_LOCAL_DIRECTORY", "/srv/run", "local.directory", Path("/srv/run")),
    ("OTELPROF_LOCAL_MAX_SIZE", "none", "local.max_size_bytes", None),
    ("OTELPROF_LOCAL_MAX_SIZE", "64MiB", "local.max_size_bytes", 64 * 1024**2),
    ("OTELPROF_LOCAL_MAX_AGE", "12h", "local.max_age_s", 43_200.0),
]


class TestDefaults:
    def test_are_those_of_the_documentation(self) -> None:
        assert from_environment({}) == Config()
        assert Config() == Config(
            enabled=True,
            collect=("cpu", "wall"),
            rate_hz=100.0,
            sampler="auto",
            flush_s=15.0,
            processors=("filter", "enrich", "redact"),
            filter_include=(),
            filter_exclude=(),
            enrich_resource=(),
            enrich_labels=(),
            redact_patterns=(),
            exporters=("otlp",),
            span_id="own",
            file_dir=Path("otelprof-profiles"),
            output=None,
            state_dir=Path.home() / ".local" / "state" / "otelprof",
            spool=True,
            spool_max_bytes=256 << 20,
            spool_age_s=86_400.0,
            retry_backoff=Backoff("exponential", 1.0, 60.0),
            otlp=OtlpSettings(
                protocol="grpc",
                endpoint="http://localhost:4317",
                headers=(),
                timeout_s=10.0,
                compression="gzip",
                insecure=False,
                certificate=None,
                client_key=None,
                client_certificate=None,
            ),
            pyroscope=PyroscopeSettings(
                endpoint="http://localhost:4040",
                user="",
                password="",
                token="",
                tenant="",
                headers=(),
                timeout_s=10.0,
                labels=SERIES_LABELS,
                sample_labels=(),
            ),
            http=HttpSettings(endpoint="", headers=(), timeout_s=10.0),
            file=FileSettings(
                name="{service}-{pid}-{begin}",
                max_count=None,
                max_size_bytes=1024**3,
                max_age_s=None,
            ),
            local=LocalSettings(directory=None, max_size_bytes=1024**3, max_age_s=7 * 86_400.0),
            pull=PullSettings(address="", token="", insecure=False),
        )

    @pytest.mark.parametrize("variable", VARIABLES)
    @pytest.mark.parametrize("empty", ["", " ", "\t\n"])
    def test_an_empty_variable_counts_as_unset(
        self, variable: str, empty: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert from_environment({variable: empty}) == Config()
        assert caplog.records == []

    def test_the_environment_is_that_of_the_process_unless_given(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OTELPROF_RATE", "33")
        assert from_environment().rate_hz == 33.0


class TestVariables:
    @pytest.mark.parametrize(("variable", "text", "name", "value"), READ)
    def test_each_sets_its_field_and_no_other(
        self, variable: str, text: str, name: str, value: object
    ) -> None:
        config = from_environment({variable: f" {text} "})
        assert attrgetter(name)(config) == value
        assert attrgetter(name)(Config()) != value
        if "PROTOCOL" not in variable:  # it also changes the default endpoint
            assert differences(config, Config()) == {name}

    @pytest.mark.parametrize(
        ("variable", "text"),
        [
            ("OTELPROF_ENABLED", "true"),
            ("OTELPROF_SPAN_ID", "OWN"),
            ("OTELPROF_SAMPLER", "auto"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ],
    )
    def test_each_default_can_be_said(
        self, variable: str, text: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert from_environment({variable: text}) == Config()
        assert caplog.records == []

    @pytest.mark.skipif(not DOCUMENTATION.exists(), reason="there is no checkout around")
    def test_all_are_documented_and_no_others(self) -> None:
        rows = re.findall(r"(?m)^\| `(\S+)` \|(?: `(\w+)` \|)?", DOCUMENTATION.read_text())
        documented = {name for name, _ in rows if not name.startswith("…")}
        standard = {f"OTEL_EXPORTER_OTLP{name[1:]}" for name, _ in rows if name.startswith("…")}
        ours = {name for name in VARIABLES if name.startswith("OTELPROF_")}
        assert documented == ours
        assert {argument for name, argument in rows if name in documented} == {
            name for name in Config.__dataclass_fields__ if name != "otlp"
        }
        assert standard == {
            name for name in VARIABLES if "_OTLP_" in name and "PROFILES" not in name
        }

    def test_none_is_without_a_test(self) -> None:
        assert {variable for variable, *_ in READ} == set(VARIABLES)

    def test_none_is_read_that_these_tests_do_not_know(self) -> None:
        asked = Asked({"OTELPROF_OUTPUT": "out"})
        from_environment(asked)
        assert asked.names == {*VARIABLES, "OTELPROF_RUNNER_PID", "HOME", "XDG_STATE_HOME"}

    @pytest.mark.parametrize("enabled", ["", "true"])
    @pytest.mark.parametrize("disabled", ["true", "TRUE"])
    def test_a_disabled_sdk_disables_us_whatever_we_were_told(
        self, enabled: str, disabled: str
    ) -> None:
        environ = {"OTELPROF_ENABLED": enabled, "OTEL_SDK_DISABLED": disabled}
        assert not from_environment(environ).enabled

    def test_an_enabled_sdk_does_not_enable_us(self) -> None:
        environ = {"OTELPROF_ENABLED": "false", "OTEL_SDK_DISABLED": "false"}
        assert not from_environment(environ).enabled

    @pytest.mark.parametrize(
        ("name", "own", "general", "field", "value"),
        [
            ("PROTOCOL", "grpc", "http/protobuf", "protocol", "grpc"),
            ("ENDPOINT", "http://own:1", "http://general:1", "endpoint", "http://own:1"),
            ("HEADERS", "a=own", "a=general,b=general", "headers", (("a", "own"),)),
            ("TIMEOUT", "1", "2", "timeout_s", 1.0),
            ("COMPRESSION", "none", "gzip", "compression", "none"),
            ("INSECURE", "false", "true", "insecure", False),
            ("CERTIFICATE", "/own", "/general", "certificate", Path("/own")),
        ],
    )
    def test_the_signal_beats_the_general_one(
        self, name: str, own: str, general: str, field: str, value: object
    ) -> None:
        environ = {
            f"OTEL_EXPORTER_OTLP_PROFILES_{name}": own,
            f"OTEL_EXPORTER_OTLP_{name}": general,
        }
        assert getattr(from_environment(environ).otlp, field) == value
        environ[f"OTEL_EXPORTER_OTLP_PROFILES_{name}"] = " "
        assert getattr(from_environment(environ).otlp, field) != value


class TestEndpoint:
    @pytest.mark.parametrize(
        "environ", [{}, {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}], ids=["unset", "grpc"]
    )
    def test_of_grpc_is_as_given(self, environ: dict[str, str]) -> None:
        assert from_environment(environ).otlp.endpoint == "http://localhost:4317"
        environ = {**environ, "OTEL_EXPORTER_OTLP_ENDPOINT": "https://collector:4317"}
        assert from_environment(environ).otlp.endpoint == "https://collector:4317"

    def test_of_http_is_a_port_of_its_own(self) -> None:
        endpoint = from_environment(HTTP).otlp.endpoint
        assert endpoint == "http://localhost:4318/v1development/profiles"

    @pytest.mark.parametrize("base", ["http://collector:4318", "http://collector:4318/"])
    def test_of_http_is_the_general_one_and_the_path_of_the_signal(self, base: str) -> None:
        endpoint = from_environment({**HTTP, "OTEL_EXPORTER_OTLP_ENDPOINT": base}).otlp.endpoint
        assert endpoint == "http://collector:4318/v1development/profiles"

    def test_of_http_keeps_the_path_of_the_general_one(self) -> None:
        environ = {**HTTP, "OTEL_EXPORTER_OTLP_ENDPOINT": "https://host/otlp"}
        endpoint = from_environment(environ).otlp.endpoint
        assert endpoint == "https://host/otlp/v1development/profiles"

    @pytest.mark.parametrize("url", ["http://host:4318/", "http://host/push", "http://host"])
    def test_of_http_is_that_of_the_signal_as_it_is(self, url: str) -> None:
        environ = {
            **HTTP,
            "OTEL_EXPORTER_OTLP_PROFILES_ENDPOINT": url,
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://other:4318",
        }
        assert from_environment(environ).otlp.endpoint == url

    def test_follows_the_protocol_of_the_signal(self) -> None:
        environ = {
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
            "OTEL_EXPORTER_OTLP_PROFILES_PROTOCOL": "http/protobuf",
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318",
        }
        endpoint = from_environment(environ).otlp.endpoint
        assert endpoint == "http://collector:4318/v1development/profiles"


class TestPairs:
    def test_take_values_from_other_variables(self) -> None:
        environ = {"OTELPROF_ENRICH_LABELS": "pod=$POD_NAME,zone=$ZONE", "POD_NAME": "shop%207"}
        assert from_environment(environ).enrich_labels == (("pod", "shop%207"),)


class TestOutput:
    def test_belongs_to_the_process_that_was_started_for_it(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("os.getppid", lambda: 4711)
        environ = {"OTELPROF_OUTPUT": "runs/out.pb.gz", "OTELPROF_RUNNER_PID": "4711"}
        assert from_environment(environ).output == Path("runs/out.pb.gz")

    def test_of_another_process_has_its_pid_in_its_name(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("os.getppid", lambda: 4712)
        monkeypatch.setattr("os.getpid", lambda: 4713)
        environ = {"OTELPROF_OUTPUT": "runs/out.pb.gz", "OTELPROF_RUNNER_PID": "4711"}
        assert from_environment(environ).output == Path("runs/out-4713.pb.gz")

    @pytest.mark.parametrize(("name", "expected"), [("out", "out-5"), ("a.b.c", "a-5.b.c")])
    def test_takes_its_pid_before_the_suffixes(
        self, name: str, expected: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("os.getpid", lambda: 5)
        assert with_pid(Path(name)) == Path(expected)

    @pytest.mark.parametrize("folder", ["/", ".", ".."])
    def test_that_is_no_file_does_not_stop_the_application(self, folder: str) -> None:
        environ = {"OTELPROF_OUTPUT": folder, "OTELPROF_RUNNER_PID": "1 is not our parent"}
        assert isinstance(from_environment(environ), Config)


class TestPaths:
    def test_do_not_depend_on_the_directory_once_they_are_absolute(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        files: dict[str, Any] = {"certificate": Path("ca.pem"), "client_key": Path("/etc/key.pem")}
        monkeypatch.chdir(tmp_path)
        config = Config(
            otlp=OtlpSettings(**files),
            pyroscope=PyroscopeSettings(**files),
            http=HttpSettings(**files),
        ).with_absolute_paths()
        for settings in (config.otlp, config.pyroscope, config.http):
            assert settings.certificate == tmp_path / "ca.pem"
            assert settings.client_key == Path("/etc/key.pem")
            assert settings.client_certificate is None


class TestCredentials:
    def test_are_in_no_text_of_a_configuration(self) -> None:
        secret = "canary6d73"  # noqa: S105 - it is looked for
        config = from_environment(
            {
                "OTEL_EXPORTER_OTLP_HEADERS": f"key={secret}",
                "OTELPROF_PYROSCOPE_PASSWORD": secret,
                "OTELPROF_PYROSCOPE_TOKEN": secret,
                "OTELPROF_PYROSCOPE_HEADERS": f"key={secret}",
                "OTELPROF_HTTP_HEADERS": f"key={secret}",
            }
        )
        assert config.pyroscope.password == secret
        assert secret not in repr(config)

    @pytest.mark.parametrize(
        ("url", "shown"),
        [
            ("http://host:4318/v1", "http://host:4318/v1"),
            ("https://bob:secret@host/x", "https://…@host/x"),
            ("https://bob:sec@ret/x@host/y", "https://…@host/y"),
            ("bob:secret@host:4317", "…@host:4317"),
            ("http://host/x?key=secret#y", "http://host/x?…"),
            ("host:4317", "host:4317"),
            ("", ""),
        ],
    )
    def test_are_in_no_url_that_is_shown(self, url: str, shown: str) -> None:
        assert shown_url(url) == shown


class TestArguments:
    def test_beat_the_environment(self) -> None:
        config = from_environment({"OTELPROF_RATE": "33", "OTELPROF_FLUSH": "2s"})
        changed = config.with_arguments({"rate_hz": 50.0, "collect": ("wall",)})
        assert (changed.rate_hz, changed.collect, changed.flush_s) == (50.0, ("wall",), 2.0)
        assert config.rate_hz == 33.0

    def test_no_argument_changes_nothing(self) -> None:
        assert Config().with_arguments({}) == Config()

    def test_output_may_be_text(self) -> None:
        assert Config().with_arguments({"output": "out.pb.gz"}).output == Path("out.pb.gz")

    @pytest.mark.parametrize(
        ("name", "given", "value"),
        [
            ("processors", "redact, filter", ("redact", "filter")),
            ("processors", "none", ()),
            ("processors", ["filter"], ("filter",)),
            ("exporters", ("file", "none"), ("file",)),
            ("collect", "wall", ("wall",)),
            ("filter_exclude", "module=a;file=b", ("module=a", "file=b")),
            ("filter_exclude", ["file=a;b, c"], ("file=a;b, c",)),
            ("enrich_labels", {"zone": "$b"}, (("zone", "$b"),)),
            ("enrich_labels", [("zone", "b")], (("zone", "b"),)),
        ],
    )
    def test_lists_may_be_given_in_several_ways(
        self, name: str, given: object, value: object
    ) -> None:
        assert getattr(Config().with_arguments({name: given}), name) == value

    def test_an_unknown_one_is_named_beside_those_there_are(self) -> None:
        with pytest.raises(ConfigError, match=r"^rate: no such setting; there are .*\brate_hz\b"):
            Config().with_arguments({"rate": 50})

    @pytest.mark.parametrize(
        ("name", "value", "message"),
        [
            ("rate_hz", 0, "rate_hz: 0 is not in 1..1000"),
            ("rate_hz", 1000.5, "rate_hz: 1000.5 is not in 1..1000"),
            ("rate_hz", float("nan"), "rate_hz: nan is not in 1..1000"),
            ("rate_hz", "fast", "rate_hz.*fast"),
            ("rate_hz", None, "rate_hz.*None"),
            ("flush_s", 0, "flush_s: 0 is not above 0"),
            ("flush_s", -1.0, "flush_s: -1.0 is not above 0"),
            ("flush_s", float("nan"), "flush_s: nan is not above 0"),
            ("flush_s", "15s", "flush_s.*15s"),
            ("span_id", "both", "span_id: 'both' is neither 'own' nor 'root'"),
            ("span_id", [], r"span_id.*\[\]"),
            ("sampler", "c", "sampler: 'c' is not 'auto', 'core' or 'python'"),
            ("sampler", None, "sampler.*None"),
            ("collect", (), "collect: names no kind of profile"),
            ("collect", 5, "collect: 5 cannot be used"),
            ("processors", (5,), r"processors: \(5,\) is not a list of texts"),
            ("filter_include", None, "filter_include: None cannot be used"),
            ("enrich_labels", "zone", "enrich_labels: 'zone' cannot be used"),
            ("enrich_labels", {"zone": 5}, "enrich_labels: .*expected keys and values as text"),
            ("enrich_labels", {"": "x"}, "enrich_labels: .*expected keys and values as text"),
            ("enrich_resource", {"k" * 65: ""}, "'kkkk.*expected a key of at most 64 characters"),
            ("enrich_resource", {"k": "v" * 257}, "'k': .*with a value of at most 256"),
            ("enrich_labels", {str(n): "" for n in range(17)}, "expected at most 16 keys"),
        ],
    )
    def test_a_bad_one_is_the_callers_mistake(self, name: str, value: object, message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            Config().with_arguments({name: value})


class TestParsers:
    @pytest.mark.parametrize(
        ("text", "seconds"),
        [("1", 1.0), ("1.5s", 1.5), ("250 ms", 0.25), (" 2m ", 120.0), ("1h", 3600.0)],
    )
    def test_a_duration_is_seconds_unless_it_names_its_unit(
        self, text: str, seconds: float
    ) -> None:
        assert parse_duration_s(text) == seconds

    @pytest.mark.parametrize("text", ["TRUE", "true", " True "])
    def test_true_is_true_in_any_case(self, text: str) -> None:
        assert parse_bool(text) is True

    def test_false_is_false(self) -> None:
        assert parse_bool("False") is False

    @pytest.mark.parametrize(
        ("text", "headers"),
        [
            ("", ()),
            ("a=b", (("a", "b"),)),
            (" A = b , ,c=", (("a", "b"), ("c", ""))),
            ("a=b=c", (("a", "b=c"),)),
            ("authorization=Basic%20dTpw%3D", (("authorization", "Basic dTpw="),)),
        ],
    )
    def test_headers_are_split_and_url_decoded(
        self, text: str, headers: tuple[tuple[str, str], ...]
    ) -> None:
        assert parse_headers(text) == headers


class Asked(Mapping[str, str]):
    """An environment that remembers what it was asked for."""

    def __init__(self, answers: dict[str, str]) -> None:
        self.names: set[str] = set()
        self.answers = answers

    def __getitem__(self, name: str) -> str:
        self.names.add(name)
        return self.answers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.answers)

    def __len__(self) -> int:
        return len(self.answers)


def differences(one: Config, other: Config) -> set[str]:
    """Names of the fields in which two configurations differ."""
    groups = {
        name: value
        for name in Config.__dataclass_fields__
        if is_dataclass(value := getattr(one, name)) and not isinstance(value, Backoff)
    }
    names = [name for name in Config.__dataclass_fields__ if name not in groups]
    names += [f"{group}.{part.name}" for group, value in groups.items() for part in fields(value)]
    return {n for n in names if attrgetter(n)(one) != attrgetter(n)(other)}


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: OtlpSettings(protocol=cast("Any", "http/json")), "otlp.protocol: 'http/json'"),
        (lambda: OtlpSettings(compression=cast("Any", "zstd")), "otlp.compression: 'zstd'"),
        (lambda: OtlpSettings(timeout_s=-1.0), "otlp.timeout_s: -1.0"),
        (lambda: PyroscopeSettings(timeout_s=0.0), "pyroscope.timeout_s: 0.0"),
        (lambda: HttpSettings(timeout_s=float("nan")), "http.timeout_s: nan"),
    ],
)
def test_settings_of_exporters_say_what_cannot_be_used(
    make: Callable[[], object], said: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        make()
