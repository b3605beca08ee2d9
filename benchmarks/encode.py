"""What it takes to write profiles as pprof and OTLP: CPU time by the number of samples.

    make bench BENCH=encode         or: python -m benchmarks.encode --rows 10000 --rounds 9

Every sample has a stack of its own, 30 deep, over 1,000 functions with three lines each; one of 20 has another
span, and there are eight threads. `core` is with the C core, `python` without it, `classes` is what the generated
protobuf classes take for the same message, `gzip` comes on top of the first. Medians; `!` stands beside what is
beyond the limit: 20 ms for 10,000 samples, 3 s for a million.
"""

import argparse
import gc
import gzip
import os
import platform
import random
import statistics
import time
from collections.abc import Callable

from otelprof import native
from otelprof.formats import otlp, packing, pprof, wire
from otelprof.formats import pprof_pb2 as pb
from otelprof.formats.pprof_reader import LINK_LABELS
from otelprof.model import KINDS, NO_LINK, Frame, Function, Link, Profile, Tables

DEPTH = 30
FUNCTIONS, LINES = 1_000, 3
THREADS = 8
ROWS_OF_A_SPAN = 20
PERIOD_NS = 10_000_000
LIMITS_MS = {10_000: 20.0, 1_000_000: 3_000.0}
_GZIP_LEVEL = 6
_NS_PER_MS = 1e6


def main() -> None:
    """Print a line for each format and number of rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--slow-rows", type=int, default=100_000, help="most rows for what is slow")
    options = parser.parse_args()
    print(
        f"{platform.python_implementation()} {platform.python_version()}, {os.cpu_count()} CPUs, "
        f"load {os.getloadavg()[0]:.2f}, median of {options.rounds}, ms of CPU"
    )
    why_not = native.why_not()
    if why_not:
        print(f"without the C core: {why_not}")
    print(f"{'format':8}{'rows':>10}{'core':>10}{'python':>10}{'classes':>10}{'gzip':>10}{'MB':>8}")
    for rows in options.rows:
        profile = made_up(rows)
        for name, encode, classes in (
            ("pprof", lambda p=profile: pprof.message([p]), lambda p=profile: _with_classes(p)),
            ("OTLP", lambda p=profile: otlp.encode([p]), None),
            ("spooled", lambda p=profile: otlp.encode([p], full=True), None),
        ):
            _measure(name, rows, encode, classes, options)


def _measure(
    name: str,
    rows: int,
    encode: Callable[[], bytes],
    classes: Callable[[], bytes] | None,
    options: argparse.Namespace,
) -> None:
    rounds = max(3, min(options.rounds, 10_000_000 // rows))
    is_slow = rows > options.slow_rows
    core_ms = "-" if native.why_not() else _text(_median_ms(encode, rounds), rows)
    wire_writer = wire._writer  # noqa: SLF001 - there is no setting for it
    wire._writer = packing  # noqa: SLF001
    python_ms = "-" if is_slow else _text(_median_ms(encode, rounds), rows)
    wire._writer = wire_writer  # noqa: SLF001
    classes_ms = "-" if is_slow or classes is None else _text(_median_ms(classes, 3), rows)
    blob = encode()
    gzip_ms = _median_ms(lambda: gzip.compress(blob, compresslevel=_GZIP_LEVEL, mtime=0), 3)
    print(
        f"{name:8}{rows:>10}{core_ms:>10}{python_ms:>10}{classes_ms:>10}{gzip_ms:>10.1f}{len(blob) / 1e6:>8.1f}",
        flush=True,
    )


def _median_ms(function: Callable[[], object], rounds: int) -> float:
    times: list[int] = []
    for _ in range(rounds):
        gc.collect()
        begin_ns = time.thread_time_ns()
        function()
        times.append(time.thread_time_ns() - begin_ns)
    return statistics.median(times) / _NS_PER_MS


def _text(milliseconds: float, rows: int) -> str:
    return f"{milliseconds:.1f}{'!' if milliseconds > LIMITS_MS.get(rows, milliseconds) else ' '}"


def made_up(rows: int) -> Profile:
    """A CPU profile of `rows` samples, each with a stack of its own."""
    rng = random.Random(rows)  # noqa: S311 - a benchmark
    strings = [""]
    functions = [Function(0, 0, 0)]
    frames = [Frame(0, 0)]
    for number in range(1, FUNCTIONS + 1):
        strings.append(f"package.module_{number // 10}.Class{number}.method_{number}")
        strings.append(f"/srv/app/package/module_{number // 10}/file_{number}.py")
        functions.append(Function(len(strings) - 2, len(strings) - 1, number))
        frames += [Frame(number, number + line, 4 * line + 1) for line in range(1, LINES + 1)]
    strings.append("thread_name")
    threads = [len(strings) + number for number in range(THREADS)]
    strings += [f"worker-{number}" for number in range(THREADS)]
    key = threads[0] - 1
    choice = list(range(1, len(frames)))  # one object for each number, as in a builder
    stacks = {tuple(rng.choices(choice, k=DEPTH)) for _ in range(rows)}
    links = [
        Link(rng.randbytes(16), rng.randbytes(8), rng.randbytes(8))
        for _ in range(rows // ROWS_OF_A_SPAN)
    ]
    count = len(stacks)
    return Profile(
        kind="cpu",
        start_unix_ns=1_700_000_000_000_000_000,
        duration_ns=15_000_000_000,
        period_type=KINDS["cpu"][1],
        period=PERIOD_NS,
        value_types=KINDS["cpu"],
        tables=Tables(
            strings=tuple(strings),
            functions=tuple(functions),
            frames=tuple(frames),
            stacks=((), *stacks),
            links=(NO_LINK, *links),
            label_sets=((), *(((key, thread),) for thread in threads)),
        ),
        stack=tuple(range(1, count + 1)),
        link=tuple(rng.randrange(len(links) + 1) for _ in range(count)),
        labels=tuple(rng.randrange(1, THREADS + 1) for _ in range(count)),
        values=(
            tuple(rng.randrange(1, 5) for _ in range(count)),
            tuple(rng.randrange(1, 5 * PERIOD_NS) for _ in range(count)),
        ),
        resource=(("service.name", "benchmark"),),
        profile_id=rng.randbytes(16),
    )


def _with_classes(profile: Profile) -> bytes:
    """The same samples, tables and strings by protobuf's classes, unsorted."""
    message = pb.Profile()
    tables = profile.tables
    strings = {text: row for row, text in enumerate(tables.strings)}

    def string(text: str) -> int:
        return strings.setdefault(text, len(strings))

    for value_type in profile.value_types:
        message.sample_type.add(type=string(value_type.type), unit=string(value_type.unit))
    for row, function in enumerate(tables.functions[1:], 1):
        message.function.add(
            id=row, name=function.name, filename=function.filename, start_line=function.start_line
        )
    for row, frame in enumerate(tables.frames[1:], 1):
        location = message.location.add(id=row, mapping_id=1)
        location.line.add(function_id=frame.function, line=frame.line, column=frame.column)
    links = [
        [
            (string(name), string(value.hex()))
            for name, value in zip(LINK_LABELS, link, strict=True)
            if value
        ]
        for link in tables.links
    ]
    for row, values in enumerate(zip(*profile.values, strict=True)):
        sample = message.sample.add(location_id=tables.stacks[profile.stack[row]], value=values)
        for key, value in (*links[profile.link[row]], *tables.label_sets[profile.labels[row]]):
            sample.label.add(key=key, str=value)
    message.string_table.extend(strings)
    return message.SerializeToString()


if __name__ == "__main__":
    main()
