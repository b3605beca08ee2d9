"""A service under `opentelemetry-instrument` whose work is known: what ran, what was collected, what a backend has.

Its profiles leave twice: to files, which hold what was collected, and to the backend that a test is about.
"""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import sqrt
from pathlib import Path

from otelprof.model import Profile
from tests.e2e.backends.jaeger import Jaeger, JaegerSpan
from tests.support.pipelines import files_in
from tests.support.programs import INSTRUMENT, Finished, finish, read_all, started, target
from tests.support.waiting import wait_until

ROUNDS = 12
SPANS_OF_ROUND = 4
COMPUTING = {"price": "price_basket", "rank": "rank_customers"}
"""The function that computes, by the name of its span; it runs in no other."""
PERIOD_NS = 10_000_000

_PROFILES, _STATE = "profiles", "state"  # directories of a service
_STANDARD_DEVIATIONS = 5.0
_MOST_HEIRS = 5


@dataclass(frozen=True)
class Work:
    """A span that ran, and what it took by the clocks of the system."""

    name: str
    trace_id: str
    span_id: str
    cpu_ns: int
    wall_ns: int


class Collected:
    """What was collected.

    Attributes:
        profiles: from files.
    """

    def __init__(self, profiles: Iterable[Profile]) -> None:
        self.profiles = list(profiles)

    def of_kind(self, kind: str) -> list[Profile]:
        """The profiles of a kind, one a flush."""
        return [profile for profile in self.profiles if profile.kind == kind]

    def total(self, kind: str, column: str) -> int:
        """The sum of a column."""
        return sum(sum(profile.column(column)) for profile in self.of_kind(kind))

    def by_span(self, kind: str, column: str) -> Counter[str]:
        """The sum of a column by span id in hex; what has no span is not in it."""
        sums: Counter[str] = Counter()
        for profile in self.of_kind(kind):
            for row, value in zip(profile.link, profile.column(column), strict=True):
                if row:
                    sums[profile.tables.links[row].span_id.hex()] += value
        return +sums


class Served(Collected):
    """A service that has ended.

    Attributes:
        work: the spans that it ran, in all its processes.
        errors: what they wrote to stderr.
    """

    def __init__(self, name: str, directory: Path, *finished: Finished) -> None:
        for each in finished:
            assert each.code == 0, each.err
        left = read_all(directory / _PROFILES)
        super().__init__(profile for each in left for profile in each.profiles)
        self.name = name
        self.errors = "".join(each.err for each in finished)
        self.work = [Work(**span) for each in finished for span in each.facts["spans"]]
        assert self.profiles, self.errors

    def spans(self, name: str) -> list[Work]:
        """The spans of a name."""
        return [each for each in self.work if each.name == name]

    def check_against_the_clocks(self) -> None:
        """What was sampled in the spans that compute is what the system's clocks say, as exactly as samples can.

        Where a span begins or ends, between two samples, its share is off by up to what the thread used
        between them. These errors have no direction: they grow with the root of their number.
        """
        sampled = self.by_span("cpu", "cpu")
        samples = self.by_span("cpu", "samples")
        for name in COMPUTING:
            spans = self.spans(name)
            truth_ns = sum(each.cpu_ns for each in spans)
            found_ns = sum(sampled[each.span_id] for each in spans)
            count = sum(samples[each.span_id] for each in spans)
            assert count > len(spans), f"{name}: {count} samples in {len(spans)} spans"
            between_ns = max(PERIOD_NS, found_ns / count)
            error_ns = _STANDARD_DEVIATIONS * between_ns * sqrt(2 * len(spans))
            assert abs(found_ns - truth_ns) <= error_ns, f"{name}: {found_ns} of {truth_ns} ns"

    def check_traces(self, jaeger: Jaeger) -> list[JaegerSpan]:
        """Jaeger has the spans that ran, and each says under which id its profile is."""
        expected = {each.trace_id: set[str]() for each in self.work}
        for each in self.work:
            expected[each.trace_id].add(each.span_id)
        found: list[JaegerSpan] = []
        for trace_id, span_ids in expected.items():
            spans = jaeger.trace(trace_id, len(span_ids))
            assert {span.span_id for span in spans} == span_ids
            found += spans
        for span in found:
            assert span.attributes["pyroscope.profile.id"] == span.span_id
            assert span.resource["service.name"] == self.name
        return found


@dataclass(frozen=True)
class Serving:
    """A service that runs until `end`."""

    directory: Path
    process: "subprocess.Popen[str]"
    end_file: Path

    def wait_for_flushes(self, count: int) -> None:
        """Wait until it has flushed so often from now on."""
        profiles = self.directory / _PROFILES
        before = len(list(profiles.glob("*.pb.gz")))
        wait_until(
            lambda: len(list(profiles.glob("*.pb.gz"))) >= before + count,
            60.0 + 5 * count,
            poll_s=0.1,
            what=f"{count} flushes",
        )

    def wait_until_delivered(self) -> None:
        """Wait until nothing is left to be sent, for a moment."""
        wait_until_delivered(self.directory)

    def end(self) -> Finished:
        """Let it end after its round."""
        self.end_file.touch()
        return finish(self.process, timeout_s=120)


def wait_until_delivered(directory: Path) -> None:
    """Wait until nothing of the service in `directory` is left to be sent, for a moment."""
    wait_until(lambda: not waiting(directory), 180.0, poll_s=0.01, what="all is delivered")


def waiting(directory: Path) -> int:
    """How many batches of the service in `directory` are on the disk, still to be sent."""
    return len(files_in(directory / _STATE))


@contextmanager
def serving(name: str, directory: Path, jaeger: Jaeger, **variables: str) -> Iterator[Serving]:
    """Run a service until the test lets it end; its profiles go where `variables` say, its traces to Jaeger."""
    end_file = directory / f"end-{len(list(directory.glob('end-*')))}"
    command = [INSTRUMENT, sys.executable, target("traced.py"), str(end_file)]
    with started(command, directory, variables_of(name, directory, jaeger, variables)) as process:
        yield Serving(directory, process, end_file)


def serve(name: str, directory: Path, jaeger: Jaeger, **variables: str) -> Served:
    """Run a service for so many rounds, and as many processes after it as it takes to deliver all."""
    command = [INSTRUMENT, sys.executable, target("traced.py"), str(ROUNDS)]
    with started(command, directory, variables_of(name, directory, jaeger, variables)) as process:
        finished = finish(process, timeout_s=120)
    return delivered(name, directory, jaeger, finished, **variables)


def delivered(
    name: str, directory: Path, jaeger: Jaeger, *finished: Finished, **variables: str
) -> Served:
    """What a service has done, once everything of it is delivered.

    A process waits a second and a half at its end and no longer; what is not sent by then is for the next of its
    service. On a busy machine that happens with a backend in good health.
    """
    heirs = inherit(name, directory, jaeger, **variables)
    return Served(name, directory, *finished, *heirs)


def inherit(name: str, directory: Path, jaeger: Jaeger, **variables: str) -> list[Finished]:
    """Run as many processes of a service as it takes to deliver what those before have left."""
    heirs: list[Finished] = []
    while waiting(directory):
        assert len(heirs) < _MOST_HEIRS, f"{waiting(directory)} batches stay"
        with serving(name, directory, jaeger, **variables) as heir:
            heir.wait_until_delivered()
            heirs.append(heir.end())
    return heirs


def variables_of(
    name: str, directory: Path, jaeger: Jaeger, more: Mapping[str, str]
) -> dict[str, str]:
    """The environment of a service that works in `directory`; its profiles go where `more` says."""
    return {
        "OTEL_SERVICE_NAME": name,
        "OTELPROF_FLUSH": "2s",
        "OTELPROF_FILE_DIR": str(directory / _PROFILES),
        "OTELPROF_STATE_DIR": str(directory / _STATE),
        **jaeger.variables(),
        **more,
        "OTELPROF_EXPORTER": f"file,{more['OTELPROF_EXPORTER']}",
    }
