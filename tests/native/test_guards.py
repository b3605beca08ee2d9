"""T4, T23: what the core proves its samples by is what keeps them right; without it, tests fail.

Built from the sources, with faults that are switched on one at a time.
"""

import json
from pathlib import Path

import pytest

from tests.native import mutants
from tests.native.installed import core
from tests.native.windows import say

assert core.COMPILED_FOR  # no core, no guards

# As long as a fault that shows once in a while may take to show.
SOAK_S = 40
FLUTTER = "test_labels_flutter.py::test_t1_a_label_that_changes_around_the_leaf_is_never_the_other"
TORN = "test_stacks.py::test_t3_torn_flutter_gives_stacks_that_were"
CHURN = "test_code_objects.py::test_t10_code_churn_names_only_functions_that_lived"
# The test that a fault must fail, and what it must say.
NOTICED = {
    "no bracket of label changes": (f"{FLUTTER}[attached_in_turn]", "wrong labels"),
    "no deaths of contexts": (f"{FLUTTER}[in_contexts_for_one_call]", "wrong labels"),
    "no look at the trie afterwards": (f"{FLUTTER}[attached_in_turn]", "wrong labels"),
    "labels of afterwards": (f"{FLUTTER}[set_in_turn]", "wrong labels"),
    "no verified prefix": (f"{TORN}[depth 3]", "impossible stacks"),
    "no burying of dead code": (CHURN, "was dead at"),
}


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mutants.built_once(tmp_path_factory)


@pytest.mark.parametrize("fault", NOTICED)
def test_t23_without_a_guard_a_test_fails(library: Path, fault: str) -> None:
    test, words = NOTICED[fault]
    done = mutants.run(
        library,
        fault,
        *("-m", "pytest", "-q", "-p", "tests.native.mutated", f"tests/native/{test}"),
        settings={"OTELPROF_SOAK_S": str(SOAK_S)},
    )
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    assert words in done.stdout, done.stdout + done.stderr


def facts_of(library: Path, mutation: str, passes: int, cpus: int) -> dict[str, int]:
    program = ("-m", "tests.native.mutated", "tests.native.proofs", str(passes), str(cpus))
    done = mutants.run(library, mutation, *program)
    assert done.returncode == 0, done.stdout + done.stderr
    facts: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    say(f"{mutation}, {cpus} processors: {facts}")
    return facts


def test_t4_what_the_clock_alone_proves_is_all_true(library: Path) -> None:
    # On one processor the sampler runs only while the thread does not.
    facts = facts_of(library, "clock alone", 600, 1)
    assert facts["impossible"] == facts["wrong"] == 0
    assert facts["torn"] < facts["samples"] / 10
    assert facts["labels"] > 100


def test_t4_what_two_copies_alone_prove_is_true(library: Path) -> None:
    facts = facts_of(library, "copies alone", 600, 2)
    assert facts["impossible"] <= facts["samples"] * 0.0005
    assert facts["wrong"] == 0
