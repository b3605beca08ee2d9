"""A profile with every name, number and stack that a careless format breaks on."""

from dataclasses import replace

from otelprof.model import UNKNOWN_SPAN_LABEL, Producer, Profile
from tests.support.profiles import LEAF, MIDDLE, ROOT, SPAN, Place, profile_of, row, rows_of

HUGE = 2**63 - 1

ODD_NAMES = (
    "semi;colon",
    "new\nline",
    "carriage\rreturn",
    "tab\tname",
    "qu\"ot'es\\n",
    "nul\x00 escape\x1b[31m",
    "\x85next\u2028line",
    "surrogate\udcff",
    "größe.\u2603.\U0001d11e",
    " 12",
    "</script><!--",
    "__proto__",
)


def odd() -> Profile:
    """CPU samples: odd names, stacks that were elided or not read to their end, huge and zero values."""
    place = LEAF._replace(filename="/srv/ap;p\n/\udcff.py")
    rows = [
        row(*(place._replace(function=name) for name in ODD_NAMES), ROOT, values=(1, 10_000_000)),
        row(place._replace(function=""), ROOT, values=(1, 20_000_000)),  # a file and no name
        row(LEAF, Place("(frames elided)", "", 0, 0), ROOT, values=(1, 30_000_000), link=SPAN),
        row(LEAF, Place("(deeper frames not read)", "", 0, 0), values=(1, 40_000_000)),
        row(MIDDLE, ROOT, values=(HUGE, HUGE)),
        row(MIDDLE, values=(0, 0)),
        row(ROOT, values=(1, 1))._replace(
            labels=(UNKNOWN_SPAN_LABEL, ("thread_name", "odd;\n\udcff"))
        ),
        row(ROOT, values=(1, 2))._replace(labels=(("ke\ty", 'va"lue\udcff'),)),
    ]
    resource = (("service.name", "sh\nop\udcff"), ("ratio", float("nan")))
    return replace(
        profile_of(*rows),
        resource=resource,
        producer=Producer("0.1.0", "core", "odd\udcff"),
        losses=(("overflow", HUGE),),
    )


def shuffled(profile: Profile) -> Profile:
    """The same samples, their rows and tables the other way round and with table rows that nothing uses."""
    rows = rows_of(profile)
    unused = row(Place("unused", "/unused.py", 1, 1), values=(1,) * len(profile.value_types))
    types = profile.value_types
    mixed = profile_of(unused, *reversed(rows), kind=profile.kind, value_types=types)
    return replace(
        profile,
        tables=mixed.tables,
        stack=mixed.stack[1:],
        link=mixed.link[1:],
        labels=mixed.labels[1:],
        values=tuple(column[1:] for column in mixed.values),
        resource=profile.resource[::-1],
        losses=profile.losses[::-1],
    )
