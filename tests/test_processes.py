"""Profiles of several processes as one, with whose each sample is."""

from dataclasses import replace

from otelprof import processes
from otelprof.formats import pprof
from otelprof.model import Attributes, Profile
from tests.support.profiles import LEAF, ROOT, profile_of, row


def of_process(pid: int | None, *weights: int, **resource: str) -> Profile:
    profile = profile_of(*(row(LEAF, ROOT, values=(1, w), thread_name=f"t{w}") for w in weights))
    own: Attributes = () if pid is None else (("process.pid", pid),)
    return replace(profile, resource=(("service.name", "shop"), *resource.items(), *own))


def weights(profile: Profile) -> dict[tuple[str | None, str | None], int]:
    """By pid and thread."""
    found: dict[tuple[str | None, str | None], int] = {}
    for at, weight in enumerate(profile.column("cpu")):
        labels = profile.tables.labels_of(profile.labels[at])
        key = (labels.get("process.pid"), labels.get("thread_name"))
        found[key] = found.get(key, 0) + weight
    return found


def test_one_process_needs_no_labels() -> None:
    (whole,) = processes.added_up([of_process(7, 10), of_process(7, 10, 20)])
    assert weights(whole) == {(None, "t10"): 20, (None, "t20"): 20}
    assert dict(whole.resource)["process.pid"] == 7


def test_samples_of_several_say_of_which_they_are() -> None:
    one, other = of_process(7, 10, zone="a"), of_process(8, 10, 20, zone="b")
    (whole,) = processes.added_up([one, other])
    assert whole.problem() is None
    assert weights(whole) == {("7", "t10"): 10, ("8", "t10"): 10, ("8", "t20"): 20}
    assert whole.resource == (("service.name", "shop"),)
    assert processes.pids_of([whole]) == processes.pids_of([one, other]) == {"7", "8"}


def test_pprof_keeps_them_and_they_are_not_said_twice() -> None:
    (whole,) = processes.added_up([of_process(7, 10), of_process(8, 20)])
    again = pprof.decode(pprof.encode([whole]))
    (more,) = processes.added_up([*again, of_process(9, 30)])
    assert weights(more) == {("7", "t10"): 10, ("8", "t20"): 20, ("9", "t30"): 30}


def test_one_that_is_not_known_has_no_label() -> None:
    (whole,) = processes.added_up([of_process(None, 10), of_process(8, 20)])
    assert weights(whole) == {(None, "t10"): 10, ("8", "t20"): 20}


def test_processes_stay_apart_where_there_is_room() -> None:
    profiles = [of_process(8, 1), of_process(7, 2), of_process(8, 4)]
    apart = processes.by_process(profiles)
    assert [dict(p.resource)["process.pid"] for p in apart] == [8, 7]
    assert [sum(p.column("cpu")) for p in apart] == [5, 2]
