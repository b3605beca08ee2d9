"""Settings of what waits to be delivered, beyond what `test_config.py` says of all."""

from pathlib import Path

import pytest

from otelprof.backoff import Backoff
from otelprof.config import Config
from otelprof.environment import from_environment
from otelprof.errors import ConfigError
from otelprof.scalar_settings import parse_size_bytes


class TestStateDirectory:
    def test_is_the_users_by_default(self) -> None:
        read = from_environment({"HOME": "/home/ada"})
        assert read.state_dir == Path("/home/ada/.local/state/otelprof")

    def test_is_where_the_desktop_keeps_state(self) -> None:
        read = from_environment({"HOME": "/home/ada", "XDG_STATE_HOME": "/var/state"})
        assert read.state_dir == Path("/var/state/otelprof")

    def test_a_relative_one_of_the_desktop_does_not_count(self) -> None:
        read = from_environment({"HOME": "/home/ada", "XDG_STATE_HOME": "state"})
        assert read.state_dir == Path("/home/ada/.local/state/otelprof")

    def test_means_where_the_program_began(self) -> None:
        config = Config().with_arguments({"state_dir": "state"}).with_absolute_paths()
        assert config.state_dir == Path.cwd() / "state"


class TestArguments:
    def test_may_be_written_as_in_the_environment(self) -> None:
        given = {"spool_max_bytes": "64MiB", "spool_age_s": "2h", "retry_backoff": "linear:2s:1m"}
        config = Config().with_arguments(given)
        assert (config.spool_max_bytes, config.spool_age_s) == (64 << 20, 7200)
        assert config.retry_backoff == Backoff("linear", 2.0, 60.0)

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("spool_max_bytes", 0),
            ("spool_max_bytes", "none"),
            ("spool_age_s", -1),
            ("spool_age_s", 1e9),
            ("retry_backoff", "sometimes"),
            ("retry_backoff", 5),
            ("spool", "yes"),
        ],
    )
    def test_that_are_bad_are_the_callers_mistake(self, name: str, value: object) -> None:
        with pytest.raises(ConfigError, match=name):
            Config().with_arguments({name: value})


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [("1", 1), ("512B", 512), ("4KiB", 4096), ("64 MiB", 64 << 20), ("1Gi", 1 << 30)],
)
def test_sizes(text: str, size_bytes: int) -> None:
    assert parse_size_bytes(text) == size_bytes
