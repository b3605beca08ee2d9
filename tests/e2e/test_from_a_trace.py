"""From a span in Jaeger to its flame graph: what we ship for Jaeger's page and for Grafana leads there."""

import json
import re
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from tests.e2e.backends.flamegraphs import FlameGraph
from tests.e2e.backends.jaeger import UI_CONFIG, Jaeger, JaegerSpan
from tests.e2e.backends.pyroscope import CPU, WALL, Pyroscope
from tests.e2e.link_patterns import links_of
from tests.e2e.service import COMPUTING, Served, serve

pytestmark = pytest.mark.backend

GRAFANA = Path(__file__).parents[2] / "examples" / "grafana"
PYROSCOPE_PLUGIN = "grafana-pyroscope-datasource"
TEXTS = {CPU: "CPU flame graph of this span", WALL: "Wall time flame graph of this span"}
MS_OF = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


@pytest.fixture(scope="module")
def served(
    tmp_path_factory: pytest.TempPathFactory, jaeger: Jaeger, pyroscope: Pyroscope
) -> Served:
    # A name that must be encoded in a URL and in the JSON within it.
    name = "füll & ganz/trace"
    served = serve(name, tmp_path_factory.mktemp("trace"), jaeger, **pyroscope.push_variables)
    pyroscope.wait_for_total(name, CPU, served.total("cpu", "cpu"))
    pyroscope.wait_for_total(name, WALL, served.total("wall", "wall"))
    return served


@pytest.fixture(scope="module")
def spans(served: Served, jaeger: Jaeger) -> list[JaegerSpan]:
    return served.check_traces(jaeger)


def unix_ms(text: str) -> int:
    """A time as Grafana's ranges have it: `now`, `now-6h`."""
    match = re.fullmatch(r"now(?:-(\d+)([smhd]))?", text)
    assert match, text
    ago_ms = int(match[1]) * MS_OF[match[2]] if match[1] else 0
    return time.time_ns() // 1_000_000 - ago_ms


def asked_by(url: str, pyroscope: Pyroscope) -> FlameGraph:
    """What Grafana's Explore would show for a URL: the question in it, asked of Pyroscope."""
    parts = urlsplit(url)
    assert parts.path == "/explore"
    ((_, pane),) = json.loads(parse_qs(parts.query)["panes"][0]).items()
    ((question),) = pane["queries"]
    assert question["datasource"] == {"type": PYROSCOPE_PLUGIN, "uid": pane["datasource"]}
    assert question["queryType"] == "profile"
    answer = pyroscope.ask(
        "SelectMergeSpanProfile",
        profileTypeID=question["profileTypeId"],
        labelSelector=question["labelSelector"],
        spanSelector=question["spanSelector"],
        start=unix_ms(pane["range"]["from"]),
        end=unix_ms(pane["range"]["to"]) + 1_000,
    )
    return FlameGraph.of(answer)


def test_a_link_beside_a_span_is_exactly_this(spans: list[JaegerSpan]) -> None:
    span = next(each for each in spans if each.name == "price")
    pane = {
        "datasource": "pyroscope",
        "queries": [
            {
                "refId": "A",
                "datasource": {"type": PYROSCOPE_PLUGIN, "uid": "pyroscope"},
                "queryType": "profile",
                "profileTypeId": CPU,
                "labelSelector": "{}",  # the id of a span says enough
                "spanSelector": [span.span_id],
                "groupBy": [],
            }
        ],
        "range": {"from": "now-6h", "to": "now"},
    }
    url = links_of(span, UI_CONFIG)[TEXTS[CPU]]
    assert url.startswith("http://localhost:3000/explore?schemaVersion=1&orgId=1&panes=%7B")
    assert json.loads(parse_qs(urlsplit(url).query)["panes"][0]) == {"span": pane}


@pytest.mark.parametrize(("kind", "type_"), [("cpu", CPU), ("wall", WALL)])
def test_the_link_of_a_span_shows_its_flame_graph(
    kind: str, type_: str, served: Served, spans: list[JaegerSpan], pyroscope: Pyroscope
) -> None:
    expected = served.by_span(kind, kind)
    shown = 0
    for span in spans:
        graph = asked_by(links_of(span, UI_CONFIG)[TEXTS[type_]], pyroscope)
        assert graph.total == expected[span.span_id]
        others = set(COMPUTING.values()) - {COMPUTING.get(span.name, "")}
        assert not graph.bare().keys() & others, graph
        shown += bool(graph.total)
    assert shown >= len(served.spans("price"))


def test_the_question_by_hand_of_the_page_is_answered(
    served: Served, spans: list[JaegerSpan], pyroscope: Pyroscope
) -> None:
    span = next(each for each in spans if each.name == "price")
    page = (GRAFANA.parents[1] / "docs" / "correlation.md").read_text()
    path, body = re.findall(
        r"POST http://pyroscope:4040/(\S+)\n.*?\n(\{.*?\})\n```", page, re.DOTALL
    )[0]
    question = json.loads(body)
    assert path == "querier.v1.QuerierService/SelectMergeStacktraces"
    assert {"start", "end", "spanSelector"} <= question.keys()
    for name in ("start", "end"):
        del question[name]  # those of the test take their place
    question["labelSelector"] = question["labelSelector"].replace("shop", served.name)
    question["spanSelector"] = [span.attributes["pyroscope.profile.id"]]
    answer = pyroscope.ask("SelectMergeStacktraces", **question)
    assert FlameGraph.of(answer).total == served.by_span("cpu", "cpu")[span.span_id]


def provisioned(path: str) -> dict[str, Any]:
    """A file of Grafana's provisioning."""
    read: dict[str, Any] = yaml.safe_load((GRAFANA / "provisioning" / path).read_text())
    assert read["apiVersion"] == 1
    return read


def test_grafana_s_data_sources_lead_from_a_trace_to_a_type_that_is_there(
    served: Served, spans: list[JaegerSpan], pyroscope: Pyroscope
) -> None:
    sources = {
        each["uid"]: each for each in provisioned("datasources/otelprof.yaml")["datasources"]
    }
    assert {each["type"] for each in sources.values()} == {PYROSCOPE_PLUGIN, "tempo", "jaeger"}
    assert all(each["access"] == "proxy" and each["url"] for each in sources.values())
    way = sources["tempo"]["jsonData"]["tracesToProfiles"]
    assert sources[way["datasourceUid"]]["type"] == PYROSCOPE_PLUGIN
    assert way["profileTypeId"] in pyroscope.types()
    span = next(each for each in spans if each.name == "price")
    # As Grafana makes the selector: each tag of the span or its resource, as the label that it is mapped to.
    labels = {each["value"]: span.resource[each["key"]] for each in way["tags"]}
    selector = "{" + ",".join(f'{name}="{value}"' for name, value in labels.items()) + "}"
    answer = pyroscope.ask(
        "SelectMergeSpanProfile",
        profileTypeID=way["profileTypeId"],
        labelSelector=selector,
        spanSelector=[span.attributes["pyroscope.profile.id"]],
    )
    assert FlameGraph.of(answer).total == served.by_span("cpu", "cpu")[span.span_id]


def test_grafana_s_dashboard_asks_for_what_is_there(served: Served, pyroscope: Pyroscope) -> None:
    provider = provisioned("dashboards/otelprof.yaml")["providers"][0]
    assert provider["type"] == "file"
    dashboard = json.loads((GRAFANA / "dashboards" / "otelprof.json").read_text())
    uids = {each["uid"] for each in provisioned("datasources/otelprof.yaml")["datasources"]}
    (variable,) = dashboard["templating"]["list"]
    assert served.name in pyroscope.label_values(variable["query"]["labelName"])
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert {panel["type"] for panel in panels} == {"timeseries", "flamegraph"}
    for panel in panels:
        (target,) = panel["targets"]
        assert target["datasource"]["uid"] in uids
        selector = target["labelSelector"].replace(f"${variable['name']}", served.name)
        answer = pyroscope.ask(
            "SelectMergeStacktraces", profileTypeID=target["profileTypeId"], labelSelector=selector
        )
        assert FlameGraph.of(answer).total > 0
