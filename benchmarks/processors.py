"""What processors cost for a profile: CPU time of the worker, with the interpreter's lock held.

    python -m benchmarks.processors --rounds 21

The profile has 10,000 samples with a stack of 30 frames each, no two the same, in 3,000 functions of 300
files. The first flush meets every name for the first time; later ones mostly know them.
"""

import argparse
import os
import platform
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

from otelprof.builder import ProfileBuilder
from otelprof.config import Config
from otelprof.model import KINDS, NO_LINK, Link, Profile
from otelprof.processors.chain import ProcessorChain, build_chain

_SAMPLES, _DEPTH, _FUNCTIONS, _FILES = 10_000, 30, 3_000, 300

# (what, the settings, where the files are)
_CASES: tuple[tuple[str, Config, str], ...] = (
    ("default: nothing to redact", Config(), "/srv/app"),
    ("default: all files below a home", Config(), "/home/alice/app"),
    ("default: each function twice", Config(), "/home/{}/app"),
    ("redact only", Config(processors=("redact",)), "/srv/app"),
    ("filter: a third leaves", Config(filter_exclude=(r"function=~_00\d\d$",)), "/srv/app"),
    ("filter: all leaves", Config(filter_exclude=("file=*/nowhere/*",)), "/srv/app"),
    ("enrich: a label", Config(enrich_labels=(("region", "eu"),)), "/srv/app"),
)


def main() -> None:
    """Run all cases and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=21)
    rounds = parser.parse_args().rounds
    print(
        f"{platform.python_implementation()} {platform.python_version()}, {os.cpu_count()} CPUs, "
        f"load {os.getloadavg()[0]:.2f}, {rounds} rounds, {_SAMPLES} samples {_DEPTH} deep",
    )
    print(f"{'':34}{'building':>11}{'first':>11}{'later':>11}{'[min..max]':>18}{'samples':>9}")
    for what, config, root in _CASES:
        _measure(what, config, _profile(root), rounds)


def _measure(what: str, config: Config, profile: Profile, rounds: int) -> None:
    building, first, later = list[float](), list[float](), list[float]()
    left: list[Profile] = []
    for _ in range(rounds):
        chains: list[ProcessorChain] = []
        building.append(_cpu_ms(lambda chains=chains: chains.append(build_chain(config))))  # type: ignore[misc] # bound now
        (chain,) = chains
        first.append(_cpu_ms(lambda chain=chain: chain.process([profile])))  # type: ignore[misc] # bound now
        # Texts of the next flush are equal, but not the same objects.
        again = replace(profile, tables=replace(profile.tables, strings=_copied(profile)))
        later.append(_cpu_ms(lambda chain=chain, again=again: left.extend(chain.process([again]))))  # type: ignore[misc] # bound now
    spread = f"[{min(later):.1f}..{max(later):.1f}]"
    print(
        f"{what:34}{statistics.median(building):>8.2f} ms{statistics.median(first):>8.1f} ms"
        f"{statistics.median(later):>8.1f} ms{spread:>18}{len(left[-1]):>9}",
    )


def _cpu_ms(call: Callable[[], object]) -> float:
    began_ns = time.thread_time_ns()
    call()
    return (time.thread_time_ns() - began_ns) / 1e6


def _copied(profile: Profile) -> tuple[str, ...]:
    return tuple(text.encode().decode() for text in profile.tables.strings)


def _profile(root: str) -> Profile:
    chance = random.Random(1)  # noqa: S311 - the same each time
    builder = ProfileBuilder(KINDS["cpu"])
    frames: list[int] = []
    for number in range(_FUNCTIONS):
        name = number // 2 if "{}" in root else number
        frames.append(
            builder.frame(
                f"shop.module_{name % _FILES}.Class{name % 7}.method_{name:04d}",
                f"{root.format('ab'[number % 2])}/shop/module_{name % _FILES}.py",
                name,
                name + 3,
            )
        )
    for number in range(_SAMPLES):
        stack = builder.stack([*chance.choices(frames, k=_DEPTH - 1), frames[number % _FUNCTIONS]])
        link = (
            Link(bytes(15) + b"\1", (number % 50 + 1).to_bytes(8, "big")) if number % 3 else NO_LINK
        )
        labels = builder.label_set({"thread_name": f"worker-{number % 20}"})
        builder.add(stack, builder.link(link), labels, (1, 10_000_000))
    return builder.build(
        kind="cpu",
        start_unix_ns=1,
        duration_ns=15_000_000_000,
        period_type=KINDS["cpu"][1],
        period=10_000_000,
        resource=(("service.name", "shop"), ("process.pid", 4711)),
        profile_id=bytes(15) + b"\1",
    )


if __name__ == "__main__":
    main()
