"""Which part of what was read is shown: that of a span, a trace or an endpoint."""

import re
from collections.abc import Callable, Iterable
from itertools import chain

from otelprof.cli.inputs import Loaded
from otelprof.errors import OtelprofError
from otelprof.model import SPAN_ID_BYTES, TRACE_ID_BYTES, Link, Profile, SpanRecord
from otelprof.processors.tables import with_rows

_SHOWN_NAMES = 8
_MIN_TRACE_DIGITS = 4

_SpanKey = tuple[bytes, bytes]  # trace id, span id


def select(loaded: Loaded, *, span: str = "", trace: str = "", endpoint: str = "") -> Loaded:
    """The samples and spans that fit all that is asked for; empty for no matter.

    Args:
        loaded: of which.
        span: a span's name or its id in hex: what ran in such spans and in those below them.
        trace: a trace's id in hex, or its first digits.
        endpoint: the route or the name of the outermost span of a process: what ran in it and below it.

    Raises:
        OtelprofError: nothing is called so; the message lists what is there.
    """
    spans, profiles = loaded.spans, loaded.by_process
    for text, choose in ((trace, _by_trace), (endpoint, _by_endpoint), (span, _by_span)):
        if text:
            fits = choose(text, spans, profiles)
            profiles = [_with_links(profile, fits) for profile in profiles]
            spans = [s for s in spans if fits(Link(s.trace_id, s.span_id, s.local_root_span_id))]
    return Loaded(profiles, spans)


_Fits = Callable[[Link], bool]


def _by_trace(text: str, spans: list[SpanRecord], profiles: list[Profile]) -> _Fits:
    digits = text.lower()
    if not re.fullmatch(f"[0-9a-f]{{{_MIN_TRACE_DIGITS},{2 * TRACE_ID_BYTES}}}", digits):
        raise OtelprofError(
            f"--trace {text}: expected {2 * TRACE_ID_BYTES} hex digits, or the first {_MIN_TRACE_DIGITS} or more"
        )
    known = {span.trace_id for span in spans} | {link.trace_id for link in _links(profiles)}
    found = sorted(trace_id.hex() for trace_id in known if trace_id.hex().startswith(digits))
    if len(found) != 1:
        what = f"may be {_listed(found)}" if found else "is in none of these files"
        raise OtelprofError(f"--trace {text}: {what}")
    wanted = bytes.fromhex(found[0])
    return lambda link: link.trace_id == wanted


def _by_endpoint(text: str, spans: list[SpanRecord], _: list[Profile]) -> _Fits:
    roots = [span for span in spans if span.span_id == span.local_root_span_id]
    wanted = {
        (span.trace_id, span.span_id) for span in roots if text in {span.name, span.route or None}
    }
    if not wanted:
        names = sorted({span.name for span in roots})
        raise OtelprofError(
            f"--endpoint {text}: no outermost span has that route or name; there are {_listed(names)}"
        )
    below = _with_children(wanted, spans)

    def fits(link: Link) -> bool:
        root = (link.trace_id, link.local_root_span_id)
        return root in wanted or (link.trace_id, link.span_id) in below

    return fits


def _by_span(text: str, spans: list[SpanRecord], profiles: list[Profile]) -> _Fits:
    wanted = {(s.trace_id, s.span_id) for s in spans if s.name == text}
    if not wanted and re.fullmatch(f"[0-9a-fA-F]{{{2 * SPAN_ID_BYTES}}}", text):
        span_id = bytes.fromhex(text)
        keys = chain(
            ((s.trace_id, s.span_id) for s in spans),
            ((link.trace_id, link.span_id) for link in _links(profiles)),
        )
        wanted = {key for key in keys if key[1] == span_id}
    if not wanted:
        names = sorted({span.name for span in spans})
        raise OtelprofError(
            f"--span {text}: no span has that name or id; there are {_listed(names)}"
        )
    below = _with_children(wanted, spans)
    return lambda link: (link.trace_id, link.span_id) in below


def _with_children(keys: Iterable[_SpanKey], spans: Iterable[SpanRecord]) -> set[_SpanKey]:
    """`keys` and all spans below them, as far as they were recorded."""
    children: dict[_SpanKey, list[_SpanKey]] = {}
    for span in spans:
        above = (span.trace_id, span.parent_span_id)
        children.setdefault(above, []).append((span.trace_id, span.span_id))
    found = set(keys)
    open_keys = list(found)
    while open_keys:
        for child in children.get(open_keys.pop(), ()):
            if child not in found:
                found.add(child)
                open_keys.append(child)
    return found


def _links(profiles: Iterable[Profile]) -> Iterable[Link]:
    for profile in profiles:
        tables = profile.tables
        yield from (tables.links[row] for row in set(profile.link) if tables.links[row].span_id)


def _with_links(profile: Profile, fits: _Fits) -> Profile:
    fitting = [bool(link.span_id) and fits(link) for link in profile.tables.links]
    return with_rows(profile, [fitting[row] for row in profile.link])


def _listed(names: list[str]) -> str:
    more = f", and {len(names) - _SHOWN_NAMES} more" if len(names) > _SHOWN_NAMES else ""
    return (", ".join(names[:_SHOWN_NAMES]) + more) if names else "none"
