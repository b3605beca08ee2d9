"""What the tests of the span reader share."""

from collections.abc import Iterator

import pytest

from otelprof.context import SpanReader


@pytest.fixture
def reader() -> Iterator[SpanReader]:
    reader = SpanReader(lambda _: 0)
    reader.install()
    yield reader
    reader.uninstall()
