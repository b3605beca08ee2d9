"""Profiles in whatever format they are: told by what is in a file, not by its name.

A pprof file and an OTLP request are both protobuf, with or without gzip around it. OTLP has two fields at the top,
the second, its dictionary, once; pprof has a table of strings in field 6, and a field 2 for each sample.
"""

import re

from otelprof.errors import FormatError
from otelprof.formats import otlp, pprof
from otelprof.formats.limits import FILE, Limits, inflated
from otelprof.formats.wire_reader import LENGTH, fields
from otelprof.model import Profile

_DICTIONARY = 2
_OTLP_FIELDS = frozenset({1, _DICTIONARY})
_PPROF_FIELDS = range(1, 16)
# What formats that are written but not read begin with.
_OTHERS = (
    (rb'\{"resourceSpans"', "spans as OTLP/JSON: name the profile that they lie beside"),
    (rb'\{"\$schema":"https://www\.speedscope', "a file for speedscope"),
    (rb'\{"meta":', "a file for the Firefox Profiler"),
    (rb"\s*[\[{]", "JSON"),
    (rb"\s*<", "HTML or XML"),
    (rb"[^\x00-\x1f]+ \d+\n", "collapsed stacks"),
)


def decode(blob: bytes, *, limits: Limits = FILE) -> list[Profile]:
    """The profiles in a pprof file or an OTLP request.

    Raises:
        FormatError: it is neither, or one that breaks its format's rules or `limits`.
    """
    plain = inflated("profile", blob, limits)
    if not plain:
        raise FormatError("the file is empty")
    for pattern, what in _OTHERS:
        if re.match(pattern, plain):
            raise FormatError(f"this is {what}; pprof and OTLP profiles can be read")
    numbers, is_otlp = _top_level(plain)
    if not numbers:
        raise FormatError("this is neither pprof nor OTLP: it is no protobuf message")
    if is_otlp:
        return otlp.decode(plain, limits=limits)
    return pprof.decode(plain)


def _top_level(plain: bytes) -> tuple[set[int], bool]:
    """The numbers of the first fields, as many as it takes to tell; none if it is no such message. Whether it is OTLP."""
    numbers: set[int] = set()
    end = 0
    for field in fields(plain):
        if field.number not in _PPROF_FIELDS:
            return set(), False
        is_second_dictionary = field.number == _DICTIONARY and _DICTIONARY in numbers
        numbers.add(field.number)
        if is_second_dictionary or field.number not in _OTLP_FIELDS or field.wire_type != LENGTH:
            return numbers, False
        end = field.end
    return (numbers, True) if end == len(plain) else (set(), False)
