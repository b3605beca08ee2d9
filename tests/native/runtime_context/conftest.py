"""What the tests of the runtime context in C share.

Imports of the core are in the fixtures: a conftest cannot be skipped where it is not built, its tests can.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from opentelemetry import context as otel_context
from opentelemetry.trace.propagation import _SPAN_KEY

if TYPE_CHECKING:
    from tests.native.installed import core
    from tests.native.runtime_context.spans import Roots


@pytest.fixture
def roots() -> "Iterator[Roots]":
    """Labels are on, with these local roots."""
    from tests.native.installed import core  # noqa: PLC0415 - see the module's docstring
    from tests.native.runtime_context.spans import Roots  # noqa: PLC0415 - as above

    roots = Roots()
    core.set_labels(enabled=True, span_key=_SPAN_KEY, local_root_of=roots)
    yield roots
    core.set_labels(enabled=False)


@pytest.fixture
def runtime(roots: "Roots") -> "core.RuntimeContext":
    from tests.native.installed import core  # noqa: PLC0415 - see the module's docstring

    del roots
    return core.RuntimeContext()


@pytest.fixture
def api(runtime: "core.RuntimeContext", monkeypatch: pytest.MonkeyPatch) -> "core.RuntimeContext":
    """OpenTelemetry's API runs on it."""
    monkeypatch.setattr(otel_context, "_RUNTIME_CONTEXT", runtime)
    return runtime
