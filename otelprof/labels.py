"""How the collectors of a profiler learn which span is current: by reading it, or by labels.

The sampler in Python reads contexts (`context.py`). The C core finds labels, which its runtime context
attaches in the place of OpenTelemetry's. Labels stay in contexts for ever, so that runtime context is
never taken away again: without a user it makes no more labels.
"""

import logging
from collections.abc import Callable
from typing import NamedTuple, cast

import opentelemetry.context as otel_context
from opentelemetry.context.context import _RuntimeContext
from opentelemetry.trace import Span
from opentelemetry.trace.propagation import _SPAN_KEY

from otelprof.runtime_context import (
    LabellingContext,
    RecordingContext,
    Var,
    can_be_wrapped,
    is_stock,
    labelled_var,
    labelling,
)

_log = logging.getLogger("otelprof")


class Labels:
    """One user of the labels that all of a process share."""

    def __init__(self, local_root_of: Callable[[Span], int]) -> None:
        self.local_root_of = local_root_of

    def variable(self) -> Var | None:
        """Where labels are, or would be after `install`; None if there can be none."""
        _, inner = _in_place()
        var = labelled_var(inner)
        if var is None and (is_stock(inner) or can_be_wrapped(inner)):
            return inner._current_context  # noqa: SLF001 - see can_be_wrapped
        return var

    def install(self) -> Var | None:
        """Have labels made, and return the variable that they are in. Idempotent.

        Where another tool's runtime context is in the way there are none, which one warning says.
        """
        holder, inner = _in_place()
        var = labelled_var(inner)
        if var is None:
            if is_stock(inner):
                ours = cast("_RuntimeContext", labelling(inner._current_context))  # noqa: SLF001 - it is OpenTelemetry's
            elif can_be_wrapped(inner):
                ours = LabellingContext(inner)
            else:
                kind = type(inner)
                _log.warning(
                    "spans are not seen: %s.%s, the runtime context in place, cannot be labelled",
                    kind.__module__,
                    kind.__qualname__,
                )
                return None
            _put(ours, holder)
            var = labelled_var(ours)
        if self not in _users:
            _users.append(self)
        _switch()
        return var

    def uninstall(self) -> None:
        """Need no more labels. Idempotent."""
        if self in _users:
            _users.remove(self)
            _switch()


class Spans(NamedTuple):
    """What a collector learns the current span with: labels, or a `context.SpanReader` that asks `local_root_of`.

    It installs the one that it uses, while it runs. `local_root_of` is 0 for a span whose local root is not known.
    """

    local_root_of: Callable[[Span], int]
    labels: Labels


def spans_by(local_root_of: Callable[[Span], int]) -> Spans:
    """The spans of a profiler that knows local roots so."""
    return Spans(local_root_of, Labels(local_root_of))


_users: list[Labels] = []  # changed in single steps under the GIL: a lock could be held in a fork


def _switch() -> None:
    from otelprof import _core  # noqa: PLC0415 - whoever installs labels has made sure of it

    _core.set_labels(enabled=bool(_users), span_key=_SPAN_KEY, local_root_of=_local_root_of)


def _local_root_of(span: Span) -> int:
    """Ask every user: each knows the spans that started while it ran. Called in the application's threads."""
    for user in tuple(_users):
        try:
            root = user.local_root_of(span)
        except Exception:  # noqa: BLE001 - a span is the application's object, and may do anything when asked
            return 0
        if root:
            return root
    return 0


def _in_place() -> tuple[RecordingContext | None, _RuntimeContext]:
    """The runtime context in use, and what of ours stands before it only to look at what passes."""
    holder: RecordingContext | None = None
    inner = otel_context._RUNTIME_CONTEXT  # noqa: SLF001 - looked up at each call by OpenTelemetry, so replacing it is complete; there is no public seam after import
    while isinstance(inner, RecordingContext):
        holder, inner = inner, inner.inner
    return holder, inner


def _put(context: _RuntimeContext, holder: RecordingContext | None) -> None:
    """Replace what `_in_place` has found."""
    if holder is None:
        otel_context._RUNTIME_CONTEXT = context  # noqa: SLF001 - as above
    else:
        holder.inner = context
