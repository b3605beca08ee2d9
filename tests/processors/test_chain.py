"""The chain: order, counters, and what becomes of what a processor cannot process."""

import logging
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from otelprof import extensions
from otelprof.config import Config
from otelprof.environment import read_environment
from otelprof.errors import ConfigError
from otelprof.model import Profile, SpanRecord
from otelprof.processors.chain import ProcessorChain, build_chain
from otelprof.processors.enrich import Enricher
from otelprof.processors.filter import Filter
from otelprof.processors.redact import Redactor
from tests.support.profiles import LEAF, ROOT, SPAN_ID, TRACE_ID, cpu_and_wall, profile_of, row

DOCUMENTATION = Path(__file__).parents[2] / "docs"
RUNNING, PAGE = DOCUMENTATION / "running.md", DOCUMENTATION / "processors.md"
SPAN = SpanRecord(TRACE_ID, SPAN_ID, b"", SPAN_ID, "checkout", 1, "", 0, 1, 2, "token=hunter2")


class Marking:
    """Writes its mark into the kind, and raises for kinds in `refused`."""

    def __init__(self, mark: str, *refused: str, is_required: bool = False) -> None:
        self.is_required = is_required
        self.seen: list[str] = []
        self._mark = mark
        self._refused = refused

    def process(self, profile: Profile) -> Profile:
        self.seen.append(profile.kind)
        if profile.kind in self._refused:
            raise LookupError("hunter2")
        return replace(profile, kind=profile.kind + self._mark)


class MarkingSpans(Marking):
    def process_span(self, span: SpanRecord) -> SpanRecord:
        if span.name in self._refused:
            raise LookupError("hunter2")
        return span._replace(name=span.name + self._mark)


def counter(chain: ProcessorChain, name: str) -> int:
    return chain.statistics()[f"processors.{name}"]


class TestChain:
    def test_goes_through_its_processors_in_their_order(self) -> None:
        chain = ProcessorChain({"a": Marking("-a"), "b": Marking("-b")})
        assert [p.kind for p in chain.process(cpu_and_wall())] == ["cpu-a-b", "wall-a-b"]

    def test_without_processors_gives_what_it_was_given(self) -> None:
        profiles, chain = cpu_and_wall(), ProcessorChain({})
        assert chain.process(profiles) == profiles
        assert chain.process_spans([SPAN]) == (SPAN,)
        assert chain.statistics() == {}

    def test_counts_what_goes_in_and_out(self) -> None:
        profiles = cpu_and_wall()
        exclude = Filter(exclude=("label.thread_name=worker", "function=app.main"))
        chain = ProcessorChain(
            {"worker": Filter(exclude=("label.thread_name=worker",)), "all": exclude}
        )
        assert chain.process(profiles) == []
        assert counter(chain, "worker.in_profiles") == counter(chain, "worker.out_profiles") == 2
        assert counter(chain, "worker.dropped_samples") == 3
        assert counter(chain, "all.in_profiles") == 2
        assert counter(chain, "all.out_profiles") == 0
        assert counter(chain, "all.dropped_samples") == 4 + 13
        assert counter(chain, "all.errors") == 0
        assert counter(chain, "all.cpu_ns") > 0

    def test_lets_no_profile_without_rows_through(self) -> None:
        chain = ProcessorChain({"none": Filter(include=("function=nothing",))})
        assert chain.process([profile_of(row(LEAF, values=(1, 2)))]) == []

    def test_counts_no_sample_as_dropped_that_was_added_to_another(self) -> None:
        rows = [row(ROOT, values=(n, n), thread=str(n)) for n in range(1, 5)]
        chain = ProcessorChain({"enrich": Enricher(max_label_values=1)})
        (left,) = chain.process([profile_of(*rows)])
        assert len(left) == 2
        assert counter(chain, "enrich.dropped_samples") == 0

    def test_counts_anew_in_a_forked_child(self) -> None:
        chain = ProcessorChain({"a": Marking("")})
        before = chain.statistics()
        chain.process(cpu_and_wall())
        chain.after_fork()
        assert chain.statistics() == before

    @pytest.mark.skipif(not RUNNING.exists(), reason="there is no checkout around")
    def test_counters_are_documented(self) -> None:
        chain = ProcessorChain({"NAME": Marking("")})
        line = next(x for x in RUNNING.read_text().splitlines() if "`processors.NAME." in x)
        documented = {
            name.rpartition(".")[2] for name in re.findall(r"`(\S+)`", line.split("|")[1])
        }
        assert documented == {name.rpartition(".")[2] for name in chain.statistics()}


class TestErrors:
    def test_of_one_that_is_not_required_let_the_profile_through_as_it_was(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        after = Marking("-b")
        chain = ProcessorChain({"a": Marking("-a", "cpu"), "b": after})
        assert [p.kind for p in chain.process(cpu_and_wall())] == ["cpu-b", "wall-a-b"]
        assert counter(chain, "a.errors") == 1
        assert counter(chain, "a.out_profiles") == 2
        assert counter(chain, "a.dropped_samples") == 0
        (said,) = warnings(caplog)
        assert said.startswith(
            "otelprof: a: profiles that it cannot process leave as they were: LookupError"
        )

    def test_of_a_required_one_drop_the_profile(self, caplog: pytest.LogCaptureFixture) -> None:
        after = Marking("-b")
        chain = ProcessorChain({"a": Marking("-a", "cpu", is_required=True), "b": after})
        assert [p.kind for p in chain.process(cpu_and_wall())] == ["wall-a-b"]
        assert after.seen == ["wall-a"]
        assert counter(chain, "a.errors") == 1
        assert (counter(chain, "a.in_profiles"), counter(chain, "a.out_profiles")) == (2, 1)
        assert counter(chain, "a.dropped_samples") == 7
        (said,) = warnings(caplog)
        assert said.startswith(
            "otelprof: a: profiles that it cannot process do not leave: LookupErr"
        )

    @pytest.mark.parametrize("processor", [Redactor(), Filter()])
    def test_of_ours_that_hold_back_drop_the_profile(
        self, processor: Redactor | Filter, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(processor, "process", raising)
        assert ProcessorChain({"ours": processor}).process(cpu_and_wall()) == []

    def test_of_enrich_do_not(self, monkeypatch: pytest.MonkeyPatch) -> None:
        enricher = Enricher()
        monkeypatch.setattr(enricher, "process", raising)
        assert ProcessorChain({"enrich": enricher}).process(cpu_and_wall()) == cpu_and_wall()

    def test_are_said_once_without_what_they_say(self, caplog: pytest.LogCaptureFixture) -> None:
        chain = ProcessorChain({"a": Marking("", "cpu", "wall", is_required=True)})
        for _ in range(3):
            assert chain.process(cpu_and_wall()) == []
        assert counter(chain, "a.errors") == 6
        (said,) = warnings(caplog)
        assert "hunter2" not in said

    def test_are_told_in_full_at_level_debug(self, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.DEBUG, "otelprof"):
            ProcessorChain({"a": Marking("", "cpu")}).process(cpu_and_wall())
        assert "LookupError: hunter2" in caplog.text

    @pytest.mark.parametrize("returned", [None, "profile", [cpu_and_wall()[0]]])
    def test_are_also_what_is_no_profile(
        self, returned: object, caplog: pytest.LogCaptureFixture
    ) -> None:
        processor = Marking("", is_required=True)
        processor.process = lambda profile: cast("Profile", returned)  # type: ignore[method-assign] # a wrong one
        chain = ProcessorChain({"a": processor})
        assert chain.process(cpu_and_wall()) == []
        assert counter(chain, "a.errors") == 2
        assert "TypeError" in warnings(caplog)[0]


class TestSpans:
    def test_go_through_those_that_change_spans(self) -> None:
        chain = ProcessorChain({"a": Marking("-a"), "b": MarkingSpans("-b"), "redact": Redactor()})
        (left,) = chain.process_spans([SPAN])
        assert (left.name, left.thread) == ("checkout-b", "token=[redacted]")

    @pytest.mark.parametrize(("is_required", "names"), [(True, ["y"]), (False, ["x", "y"])])
    def test_that_cannot_be_processed_leave_as_profiles_do(
        self, is_required: bool, names: list[str], caplog: pytest.LogCaptureFixture
    ) -> None:
        chain = ProcessorChain({"a": MarkingSpans("", "x", is_required=is_required)})
        spans = [SPAN._replace(name=name) for name in ("x", "y")]
        assert [span.name for span in chain.process_spans(spans)] == names
        assert counter(chain, "a.errors") == 1
        assert counter(chain, "a.dropped_spans") == 2 - len(names)
        assert "spans that it cannot process" in warnings(caplog)[0]


class TestBuilding:
    def test_is_in_the_order_of_the_configuration(self) -> None:
        chain = build_chain(Config(processors=("redact", "filter")))
        assert [name.split(".")[1] for name in chain.statistics()][::6] == ["redact", "filter"]

    def test_has_redact_at_the_end_unless_told_otherwise(self) -> None:
        config = Config(enrich_labels=(("dsn", "pg://bob:hunter2@db"),))
        (left,) = build_chain(config).process([profile_of(row(LEAF, values=(1, 2)))])
        assert left.tables.labels_of(left.labels[0]) == {"dsn": "pg://[redacted]@db"}

    @pytest.mark.parametrize(
        ("settings", "setting", "message"),
        [
            (
                {"processors": ("redact", "redcat")},
                "processors",
                "otelprof.processors: there is no 'redcat', only enrich, filter,",
            ),
            ({"filter_exclude": ("function",)}, "filter_exclude", "'function' is not FIELD=GLOB"),
            ({"redact_patterns": ("(",)}, "redact_patterns", "'(' is no regular expression"),
            ({"processors": ("theirs",)}, "processors", "theirs: cannot be built: LookupError"),
            (
                {"processors": ("nothing",)},
                "processors",
                "nothing: cannot be built: AttributeError",
            ),
            ({"processors": ("text",)}, "processors", "text: is no otelprof.interfaces.Processor"),
        ],
    )
    def test_of_what_cannot_be_built(
        self,
        settings: dict[str, tuple[str, ...]],
        setting: str,
        message: str,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        found: dict[str, Callable[[Any], object]] = {
            "theirs": raising,
            "nothing": lambda _: None,
            "text": lambda _: Textual(),
        }
        entry_points = as_entry_points(found)

        def find(group: str) -> dict[str, FakeEntryPoint]:
            return entry_points

        monkeypatch.setattr(extensions, "_entry_points", find)
        config = replace(Config(), **cast("dict[str, Any]", settings))
        with pytest.raises(ConfigError, match=re.escape(message)) as raised:
            build_chain(config, from_caller=settings)
        assert raised.value.setting == setting
        assert warnings(caplog) == []
        # From the environment: nothing leaves, as it could be what was to be held back.
        chain = build_chain(config)
        (said,) = warnings(caplog)
        assert "no profiles leave: " in said
        assert message in said
        assert chain.process(cpu_and_wall()) == []
        assert len(warnings(caplog)) == 1
        assert sum(n for name, n in chain.statistics().items() if "dropped_samples" in name) == 20


@pytest.mark.skipif(not PAGE.exists(), reason="there is no checkout around")
class TestDocumentation:
    def test_shows_settings_that_can_be_used(self, caplog: pytest.LogCaptureFixture) -> None:
        shown = dict(re.findall(r"\b(OTELPROF_\w+)='(.+)'", PAGE.read_text()))
        assert len(shown) == 5
        config, sources = read_environment({**shown, "POD_NAME": "shop-7", "REGION": "eu"})
        assert set(sources.values()) == set(shown)
        assert config.enrich_resource[-1] == ("k8s.pod.name", "shop-7")
        build_chain(config, from_caller=sources)
        assert caplog.records == []


class Textual:
    is_required = "yes"

    def process(self, profile: Profile) -> Profile:
        return profile


class FakeEntryPoint:
    def __init__(self, what: object) -> None:
        self.what = what

    def load(self) -> object:
        return self.what


def as_entry_points(found: dict[str, Callable[[Any], object]]) -> dict[str, FakeEntryPoint]:
    return {name: FakeEntryPoint(what) for name, what in found.items()}


def raising(_: object) -> Profile:
    raise LookupError("hunter2")


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
