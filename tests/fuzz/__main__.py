"""Fuzz the readers: python -m tests.fuzz [TARGET …] --seconds 60

With atheris inputs are led by coverage of the readers; without it they are seeds, damaged at random. An input that
makes a reader fail, or take longer than ten seconds, is written to build/fuzz/found and the exit status is 1; to
see it again: python -m tests.fuzz TARGET --again FILE. Bytes and single fields are changed in turns.
"""

import argparse
import faulthandler
import importlib
import importlib.util
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError, Message

from tests.fuzz.mutation import mutated
from tests.support.damage import mutants

FOUND = Path("build/fuzz/found")
CORPUS = Path("build/fuzz/corpus")
MAX_BYTES = 16_384
TIMEOUT_S = 10
MEMORY_MB = 2_048


def main() -> int:
    """Fuzz each target, or read one input again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", nargs="*")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--again", type=Path, help="read this file and nothing else")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        return fuzz(options.target[0], options.seconds)
    from tests.fuzz.targets import TARGETS  # noqa: PLC0415 - atheris instruments what it imports

    if options.again:
        TARGETS[options.target[0]].run(options.again.read_bytes())
        return 0
    failed = [name for name in options.target or TARGETS if not apart(name, options.seconds)]
    return 1 if failed else 0


def apart(name: str, seconds: int) -> bool:
    """Fuzz one target in a process of its own, which libFuzzer ends itself; whether nothing was found."""
    for folder in (FOUND, CORPUS / name):
        folder.mkdir(parents=True, exist_ok=True)
    before = set(FOUND.iterdir())
    command = [sys.executable, "-m", "tests.fuzz", name, "--seconds", str(seconds), "--inside"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    found = [path for path in set(FOUND.iterdir()) - before if path.name.startswith(name)]
    if done.returncode == 0 and not found:
        print(f"fuzz {name}: no finding in {_inputs(done.stderr + done.stdout)} inputs")
        return True
    print(done.stdout[-4000:], done.stderr[-4000:], sep="\n")
    print(f"fuzz {name}: FOUND something: {', '.join(map(str, found)) or done.returncode}")
    return False


def _inputs(output: str) -> str:
    lines = [line for line in output.splitlines() if "number_of_executed_units" in line]
    return lines[-1].split(":")[-1].strip() if lines else "no"


def fuzz(name: str, seconds: int) -> int:
    """Fuzz here, with atheris if it is installed."""
    if importlib.util.find_spec("atheris"):
        return _guided(name, seconds)
    return _at_random(name, seconds)


def _guided(name: str, seconds: int) -> int:
    atheris: Any = importlib.import_module("atheris")

    with atheris.instrument_imports(include=["otelprof"]):
        from tests.fuzz.targets import TARGETS  # noqa: PLC0415
    target = TARGETS[name]
    for number, seed in enumerate(target.seeds()):
        (CORPUS / name / f"seed-{number}").write_bytes(seed)
    arguments = [
        f"-max_total_time={seconds}",
        f"-max_len={MAX_BYTES}",
        f"-timeout={TIMEOUT_S}",
        f"-rss_limit_mb={MEMORY_MB}",
        f"-artifact_prefix={FOUND}/{name}-",
        "-print_final_stats=1",
    ]

    def mutate(blob: bytes, size: int, seed: int) -> bytes:
        rng = random.Random(seed)
        changed = _by_field(target.message, blob, rng) if rng.random() < 0.5 else None
        return bytes(atheris.Mutate(blob, size)) if changed is None else changed[:size]

    atheris.Setup([name, *arguments, str(CORPUS / name)], target.run, custom_mutator=mutate)
    atheris.Fuzz()
    return 0


def _at_random(name: str, seconds: int) -> int:
    from tests.fuzz.targets import TARGETS  # noqa: PLC0415

    target = TARGETS[name]
    seeds = [seed for seed in target.seeds() if len(seed) <= MAX_BYTES]
    begin_s = time.monotonic()
    count = 0
    while time.monotonic() < begin_s + seconds:
        rng = random.Random(count)
        blob = rng.choice(seeds)
        changed = _by_field(target.message, blob, rng) if rng.random() < 0.5 else None
        blob = next(mutants(blob, count=1, seed=count)) if changed is None else changed
        count += 1
        current = FOUND / f"{name}-{os.getpid()}"
        faulthandler.dump_traceback_later(TIMEOUT_S, exit=True)
        try:
            target.run(blob)
        except BaseException:
            current.write_bytes(blob)
            raise
        faulthandler.cancel_dump_traceback_later()
    print(f"number_of_executed_units: {count}")
    return 0


def _by_field(kind: type[Message] | None, blob: bytes, rng: random.Random) -> bytes | None:
    """`blob` with a field changed; None if it is no message."""
    if kind is None:
        return None
    message = kind()
    try:
        message.ParseFromString(blob)
        for _ in range(rng.choice([1, 1, 2, 5])):
            mutated(message, rng)
        return message.SerializeToString()
    except (DecodeError, ValueError):
        return None


if __name__ == "__main__":
    sys.exit(main())
