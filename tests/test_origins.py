"""Whose code a function is."""

import pytest

from otelprof.origins import origin_of
from tests.support.origins import FILES


@pytest.mark.parametrize(("name", "filename", "origin"), FILES)
def test_is_known_by_its_file(name: str, filename: str, origin: str) -> None:
    assert origin_of(name, filename) == origin
