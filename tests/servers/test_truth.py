"""Ground truth through the whole way: the CPU time of each span, as it has left, is what it was.

Services with many requests at a time, each in a span of its own with CPU time that is known by the kernel's clocks,
under `opentelemetry-instrument`; profiles leave as pprof files and as OTLP at the same time.
"""

import math
import sys
from collections import Counter
from pathlib import Path

import pytest

from otelprof.model import Profile
from tests.support.programs import INSTRUMENT, Left, read_all, run, target
from tests.support.servers import Arrived, grpc_receiver
from tests.support.truth import judge

RATE_HZ = 200
PERIOD_NS = 1_000_000_000 // RATE_HZ
SLICES = 10  # of each request, see tests/targets/requests_served.py
# Both ends of a slice are off by half a period at most, at random, where the sampler is not kept from looking: so much
# for all slices of a span together. Where processors are busy with other things passes come late: three times as much
# over all spans in the root mean square, and six times for the worst one. A thread is in one span for all of its
# slices, so that only the first and the last are off: half of that.
CHANCE_NS = math.sqrt(2 * SLICES) * PERIOD_NS / 2
MEAN_SQUARE_MOST, MOST = 3.0, 6.0
MOST_OF = {"threads": 0.5}
GEVENT = {"OTEL_PYTHON_AUTO_INSTRUMENTATION_EXPERIMENTAL_GEVENT_PATCH": "patch_all"}


def cpu_of_pprof(left: list[Left]) -> Counter[str]:
    """CPU nanoseconds by `trace:span`."""
    found: Counter[str] = Counter()
    for profile in (p for each in left for p in each.profiles if p.kind == "cpu"):
        for row, cpu_ns in enumerate(profile.column("cpu")):
            link = profile.tables.links[profile.link[row]]
            found[f"{link.trace_id.hex()}:{link.span_id.hex()}"] += cpu_ns
    return found


def cpu_of_otlp(arrived: list[Arrived]) -> Counter[str]:
    """The same of what was received: counts times the period."""
    found: Counter[str] = Counter()
    for each in arrived:
        dictionary = each.message.dictionary
        for profile in each.profiles():
            if dictionary.string_table[profile.period_type.type_strindex] != "cpu":
                continue
            for sample in profile.samples:
                link = dictionary.link_table[sample.link_index]
                span = f"{link.trace_id.hex()}:{link.span_id.hex()}"
                found[span] += sum(sample.values) * profile.period
    return found


def rows_of(profiles: list[Profile], span: str) -> int:
    return sum(
        f"{link.trace_id.hex()}:{link.span_id.hex()}" == span
        for profile in profiles
        for link in (profile.tables.links[row] for row in profile.link)
    )


@pytest.mark.parametrize("way", ["asyncio", "threads", "gevent"])
def test_each_span_has_the_cpu_time_that_it_used_and_no_other(way: str, tmp_path: Path) -> None:
    variables = {
        "OTELPROF_EXPORTER": "file,otlp",
        "OTELPROF_FILE_DIR": "profiles",
        "OTELPROF_FLUSH": "1h",
        "OTELPROF_RATE": str(RATE_HZ),
        **(GEVENT if way == "gevent" else {}),
    }
    with grpc_receiver() as receiver:
        variables["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://{receiver.address}"
        command = [INSTRUMENT, sys.executable, target("requests_served.py"), way]
        finished = run(command, tmp_path, variables)
        arrived = [*receiver.wait_for(1)]
    assert finished.code == 0, finished.err
    assert "otelprof" not in finished.err
    left = read_all(tmp_path / "profiles")
    cpu = [profile for each in left for profile in each.profiles if profile.kind == "cpu"]
    used_ns = finished.facts["used_ns"]
    verdict = judge(cpu, (span for each in left for span in each.spans), prefix="burn_")
    assert not verdict.wrong
    assert not verdict.unlabelled
    assert verdict.unknown.total() <= 0.01 * verdict.right.total()
    pprof, otlp = cpu_of_pprof(left), cpu_of_otlp(arrived)
    errors = [(pprof[span] - truth_ns) / CHANCE_NS for span, truth_ns in used_ns.items()]
    part = MOST_OF.get(way, 1.0)
    assert math.hypot(*errors) / math.sqrt(len(errors)) <= part * MEAN_SQUARE_MOST, errors
    assert max(abs(error) for error in errors) <= part * MOST, errors
    for span in used_ns:
        # Counts are whole periods, with the rest carried on to the next row.
        assert abs(otlp[span] - pprof[span]) <= PERIOD_NS * (1 + rows_of(cpu, span)), span
    total_ns = sum(used_ns.values())
    for exported in (pprof, otlp):
        assert sum(exported[span] for span in used_ns) == pytest.approx(total_ns, rel=0.05)
