"""Processes that a program starts itself, in each of Python's ways, under `opentelemetry-instrument`."""

import sys
from pathlib import Path

import pytest

from tests.support.programs import INSTRUMENT, run_together, target
from tests.support.services import VARIABLES, assert_labels_are_right, left_by

WAYS = {
    "fork": ["process", "fork"],
    "spawn": ["process", "spawn"],
    "forkserver": ["process", "forkserver"],
    "pool": ["pool", "fork"],
    "pool of a forkserver": ["pool", "forkserver"],
    "subprocess": ["subprocess"],
}


@pytest.mark.parametrize(
    "ways", [["fork", "spawn", "forkserver"], ["pool", "pool of a forkserver", "subprocess"]]
)
def test_each_has_its_own_profile_and_no_helper_has_one(ways: list[str], tmp_path: Path) -> None:
    command = [INSTRUMENT, sys.executable, target("processes.py")]
    finished = run_together(
        {way: [*command, *WAYS[way]] for way in ways}, tmp_path, dict.fromkeys(ways, VARIABLES)
    )
    for way, each in finished.items():
        assert each.code == 0, each.err
        assert each.said == [], way
        left = left_by(tmp_path / way)
        children = set(each.facts["children"])
        assert len(children) == 2, way
        assert left.keys() == {each.facts["pid"], *children}, way
        assert_labels_are_right(left[each.facts["pid"]], ["parent"])
        for pid in children:
            assert_labels_are_right(left[pid], ["child"])
            assert [span.name for one in left[pid] for span in one.spans] == ["child"], way
