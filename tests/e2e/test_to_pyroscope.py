"""A service's profiles in Pyroscope, pushed and by OTLP: the flame graph of a span is what ran in it."""

import pytest

from tests.e2e.backends.flamegraphs import FlameGraph
from tests.e2e.backends.jaeger import Jaeger
from tests.e2e.backends.pyroscope import CPU, WALL, Pyroscope
from tests.e2e.service import COMPUTING, PERIOD_NS, Served, serve

pytestmark = pytest.mark.backend

SELECTORS = ["SelectMergeStacktraces", "SelectMergeSpanProfile"]
SLEEPING = {"wait": "ask_supplier"}
MAIN_SHARE = 0.8  # the rest is what OpenTelemetry does where a span begins and ends


@pytest.fixture(scope="module", params=["push", "otlp"])
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def served(
    way: str, tmp_path_factory: pytest.TempPathFactory, jaeger: Jaeger, pyroscope: Pyroscope
) -> Served:
    variables = {"push": pyroscope.push_variables, "otlp": pyroscope.otlp_variables}[way]
    directory = tmp_path_factory.mktemp(way)
    return serve(f"asked-{way}", directory, jaeger, **variables)


def cpu_of(way: str, served: Served) -> dict[str, int]:
    """What Pyroscope must have of CPU, by span: nanoseconds pushed as they are, by OTLP as counts."""
    if way == "push":
        return served.by_span("cpu", "cpu")
    return {span: n * PERIOD_NS for span, n in served.by_span("cpu", "samples").items()}


def check_functions(graph: FlameGraph, function: str, others: set[str]) -> None:
    """Nearly all is the function's own, and nothing is that of a function of other spans."""
    own = graph.bare()
    assert own[function] >= MAIN_SHARE * graph.total, graph
    assert not own.keys() & others, graph


def test_everything_that_was_collected_is_there(
    way: str, served: Served, pyroscope: Pyroscope
) -> None:
    cpu_ns = served.total("cpu", "cpu")
    if way == "otlp":
        cpu_ns = served.total("cpu", "samples") * PERIOD_NS
    pyroscope.wait_for_total(served.name, CPU, cpu_ns)
    pyroscope.wait_for_total(served.name, WALL, served.total("wall", "wall"))


@pytest.mark.parametrize("query", SELECTORS)
def test_the_flame_graph_of_a_span_is_what_ran_in_it(
    way: str, query: str, served: Served, pyroscope: Pyroscope
) -> None:
    expected = cpu_of(way, served)
    checked = 0
    for name, function in COMPUTING.items():
        others = {*COMPUTING.values(), *SLEEPING.values()} - {function}
        ids = [each.span_id for each in served.spans(name)]
        for span_id in ids:
            graph = pyroscope.flamegraph(served.name, CPU, query=query, spans=[span_id])
            assert graph.total == expected.get(span_id, 0)
            assert not graph.bare().keys() & others, graph
            checked += bool(graph.total)
        together = pyroscope.flamegraph(served.name, CPU, query=query, spans=ids)
        assert together.total == sum(expected.get(each, 0) for each in ids)
        check_functions(together, function, others)
    assert checked > len(served.spans("price"))


def test_the_wall_time_of_a_span_that_sleeps_is_there(served: Served, pyroscope: Pyroscope) -> None:
    expected = served.by_span("wall", "wall")
    ids = [each.span_id for each in served.spans("wait")]
    graph = pyroscope.flamegraph(served.name, WALL, spans=ids)
    assert graph.total == sum(expected[each] for each in ids)
    check_functions(graph, SLEEPING["wait"], set(COMPUTING.values()))


def test_a_whole_trace_is_found_by_its_id(way: str, served: Served, pyroscope: Pyroscope) -> None:
    expected = cpu_of(way, served)
    trace_id = served.work[0].trace_id
    of_trace = [each.span_id for each in served.work if each.trace_id == trace_id]
    graph = pyroscope.flamegraph(served.name, CPU, traces=[trace_id])
    assert graph.total == sum(expected.get(each, 0) for each in of_trace)


def test_types_and_labels_are_those_that_grafana_looks_for(
    served: Served, pyroscope: Pyroscope
) -> None:
    assert {CPU, WALL} <= pyroscope.types()
    assert served.name in pyroscope.label_values("service_name")
    assert not {"span_id", "trace_id", "thread_name"} & pyroscope.label_names()


def test_samples_say_what_the_clocks_say_and_jaeger_has_the_spans(
    served: Served, jaeger: Jaeger
) -> None:
    served.check_against_the_clocks()
    served.check_traces(jaeger)
