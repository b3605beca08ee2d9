"""Ground truth: programs in which the function on the stack says which span must be on the sample."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from otelprof.model import Profile, SpanRecord


@dataclass
class Verdict:
    """CPU nanoseconds of functions that belong to a span, by what their label says."""

    right: Counter[str] = field(default_factory=Counter[str])
    wrong: Counter[str] = field(default_factory=Counter[str])
    unknown: Counter[str] = field(default_factory=Counter[str])
    unlabelled: Counter[str] = field(default_factory=Counter[str])

    def functions(self) -> set[str]:
        """All that were sampled."""
        return {*self.right, *self.wrong, *self.unknown, *self.unlabelled}

    def share_right(self, function: str) -> float:
        """The share of a function's CPU time that carries its own span."""
        counters = (self.right, self.wrong, self.unknown, self.unlabelled)
        return self.right[function] / sum(counter[function] for counter in counters)


def judge(
    profiles: Iterable[Profile],
    spans: Iterable[SpanRecord],
    *,
    prefix: str,
    kind: str = "cpu",
) -> Verdict:
    """Compare labels with leaf functions whose bare name starts with `prefix`: `burn_7` must be in span `burn_7`.

    The functions must be called inside of their span only.
    """
    names = {(span.trace_id, span.span_id): span.name for span in spans}
    verdict = Verdict()
    for profile in profiles:
        if profile.kind != kind:
            continue
        tables = profile.tables
        for row, weight in enumerate(profile.column(kind)):
            leaf = tables.stacks[profile.stack[row]][0]
            function = tables.function_name(leaf).rpartition(".")[2]
            if not function.startswith(prefix):
                continue
            link = tables.links[profile.link[row]]
            if tables.labels_of(profile.labels[row]).get("span") == "unknown":
                verdict.unknown[function] += weight
            elif not link.span_id:
                verdict.unlabelled[function] += weight
            elif names.get((link.trace_id, link.span_id)) == function:
                verdict.right[function] += weight
            else:
                verdict.wrong[function] += weight
    return verdict
