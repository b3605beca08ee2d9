"""What `otelprof run` says at the end: how long, how well sampled, what was slow, where to look on."""

import math
import signal
import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import click

from otelprof import summary
from otelprof.cli.describe import describe
from otelprof.cli.inputs import Loaded
from otelprof.cli.show_text import shown
from otelprof.clock import NS_PER_S
from otelprof.environment import from_environment, why_not_instrumented
from otelprof.model import Profile
from otelprof.storage.vitals import Vitals

_FEW_SAMPLES = 200  # with fewer, a share has an error of several points
_LEAST_SAMPLES = 30  # below, that error is no more than a word
_Z_95 = 1.96  # standard errors on each side of 95 % of a normal distribution
_NS_PER_MS = 1e6


class Ended(NamedTuple):
    """A program that has ended.

    Attributes:
        name: as the user called it.
        place: OUT, or the run's name.
        code: as `subprocess` has it.
        can_be_shown: whether `otelprof show` reads what is there.
    """

    name: str
    place: str
    code: int
    can_be_shown: bool


def print_summary(loaded: Loaded, vitals: Sequence[Vitals], ended: Ended) -> None:
    """Print it to stderr."""
    click.echo(click.style(f"otelprof: {ended.place}: {describe(loaded)}", bold=True), err=True)
    for name, text in _rows(loaded, vitals, ended):
        click.echo(f"  {click.style(f'{name:8}', dim=True)}  {text}", err=True)


def _rows(loaded: Loaded, vitals: Sequence[Vitals], ended: Ended) -> Iterator[tuple[str, str]]:
    if vitals:
        yield "sampled", sampling(vitals)
    roots = summary.by_local_root(loaded.spans)
    if roots:
        slowest = roots[0]
        times = f"p50 {_duration(slowest.p50_ns)}  p95 {_duration(slowest.p95_ns)}"
        yield "slowest", f"{shown(slowest.name)}  {times}  ({slowest.count} spans)"
    else:
        hint = "for those of installed libraries run: opentelemetry-bootstrap -a install"
        yield "no spans", hint
    hottest = _hottest(loaded.profiles)
    if hottest:
        yield "hottest", hottest
    if ended.code < 0 and -ended.code != signal.SIGINT:
        name = signal.Signals(-ended.code).name
        yield "missing", f"{name} ended it at once: what it did since its last flush is not in here"
    if ended.can_be_shown:
        yield "see", f"otelprof show {ended.place}"


def sampling(vitals: Sequence[Vitals]) -> str:
    """Which rate was reached, and what that took, of the one core in a hundred that it may."""
    elapsed_ns = sum(each.elapsed_ns for each in vitals) or 1
    reached_hz = sum(each.passes for each in vitals) * NS_PER_S / elapsed_ns
    asked_hz = NS_PER_S / max(1, min(each.asked_period_ns for each in vitals))
    spent_ns = sum(each.sampler_cpu_ns for each in vitals)
    spent = f"{spent_ns / _NS_PER_MS:,.0f} ms of CPU time, {spent_ns / elapsed_ns:.2%} of a core"
    return f"at {reached_hz:.0f} Hz of {asked_hz:g}; that took {spent}"


def _hottest(profiles: Sequence[Profile]) -> str:
    """The function with most CPU time of its own, its share, and how far chance may have moved that; empty if none."""
    functions = summary.by_function(profiles)
    total_ns = summary.total_ns(profiles).get("cpu", 0)
    if not functions or not total_ns:
        return ""
    samples = sum(sum(p.column("samples")) for p in profiles if p.kind == "cpu")
    share = functions[0].self_cpu_ns / total_ns
    said = f"{shown(functions[0].function)}  {share:.1%} of CPU"
    if samples >= _LEAST_SAMPLES:
        error = _Z_95 * math.sqrt(share * (1 - share) / samples)
        said += f" (±{100 * error:.1f})"
    return f"{said}, from {samples} samples only" if samples < _FEW_SAMPLES else said


def why_nothing(code: int) -> str:
    """Why a program that ended with `code` may have left no profile."""
    if not from_environment().enabled:
        return "otelprof is switched off (OTELPROF_ENABLED, OTEL_SDK_DISABLED)"
    disabled = why_not_instrumented()
    if disabled:
        return disabled
    if code < 0:
        return f"{signal.Signals(-code).name} ended it before its first flush"
    return f"it took no CPU time, left by os._exit, or is not a program of {sys.executable}"


def _duration(ns: float) -> str:
    return f"{ns / NS_PER_S:.2f} s" if ns >= NS_PER_S else f"{ns / _NS_PER_MS:.1f} ms"
