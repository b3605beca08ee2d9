"""What exporters do is not the application's: none of their time is in its profiles."""

from pathlib import Path
from typing import Any

import pytest

import otelprof
from otelprof.formats import pprof
from tests.support.exporters import NAMES, settings_of
from tests.support.servers import blackhole
from tests.support.waiting import wait_until

WAITED_S = 0.5
OURS = ("otelprof.exporters.", "otelprof.delivery.lane.Lane._", "otelprof.pipeline.Pipeline._run")


@pytest.mark.parametrize("sampler", ["core", "python"])
@pytest.mark.parametrize("name", NAMES)
def test_the_time_of_an_export_is_in_no_profile(name: str, sampler: str, tmp_path: Path) -> None:
    field = {"pyroscope": "pyroscope", "http": "http"}.get(name, "otlp")
    with blackhole() as address:
        settings: dict[str, Any] = {field: settings_of(name, f"http://{address}")}
        profiler = otelprof.Profiler(
            None,
            sampler=sampler,
            rate_hz=200,
            exporters=(field, "file"),
            file_dir=tmp_path / "profiles",
            state_dir=tmp_path,
            **settings,
        )
        with profiler:
            # Once there is something to send, nobody answers, and the exporter waits on.
            wait_until(
                lambda: (
                    not profiler.flush(WAITED_S)
                    and profiler.health().get(f"{field}.export_ns", 0) > WAITED_S / 2 * 1e9
                ),
                what="the exporter waits: it would be seen if it were sampled",
            )
            profiler.flush(WAITED_S)
    profiles = [
        profile
        for file in (tmp_path / "profiles").glob("*.pb.gz")
        for profile in pprof.decode(file.read_bytes())
    ]
    names = {
        profile.tables.strings[function.name]
        for profile in profiles
        for function in profile.tables.functions
    }
    assert "otelprof.profiler.Profiler.flush" in names, "the application's own wait is seen"
    assert not [name for name in names if name.startswith(OURS)]
