"""Profiles of several processes as one, with whose each sample is."""

from collections.abc import Sequence
from dataclasses import replace

from otelprof.builder import merged
from otelprof.model import Attributes, Profile
from otelprof.processors.tables import label_sets_of, with_texts

PID = "process.pid"


def added_up(profiles: Sequence[Profile]) -> list[Profile]:
    """One profile for each kind. Where they are of several processes, samples have their pid as a label.

    Attributes of the resource that are not the same everywhere are left out then. O(everything).
    """
    pids = {_pid(profile) for profile in profiles}
    if len(pids) < 2:  # noqa: PLR2004 - several
        return merged(profiles)
    common = set(profiles[0].resource).intersection(*(p.resource for p in profiles[1:]))
    return merged(
        replace(
            _with_pid(profile),
            resource=tuple(item for item in profile.resource if item in common),
        )
        for profile in profiles
    )


def by_process(profiles: Sequence[Profile]) -> list[Profile]:
    """One profile for each kind and resource, in the order of their processes."""
    groups: dict[Attributes, list[Profile]] = {}
    for profile in profiles:
        groups.setdefault(tuple(sorted(profile.resource)), []).append(profile)
    return [whole for group in groups.values() for whole in merged(group)]


def pids_of(profiles: Sequence[Profile]) -> set[str]:
    """The processes that samples are of: those that a resource or a label names."""
    pids = {pid for pid in map(_pid, profiles) if pid}
    for profile in profiles:
        tables = profile.tables
        labels = (tables.labels_of(row) for row in set(profile.labels))
        pids.update(found[PID] for found in labels if PID in found)
    return pids


def _pid(profile: Profile) -> str:
    """As text, since some formats have no other; empty if it is not known, or if samples say it."""
    return str(dict(profile.resource).get(PID, ""))


def _with_pid(profile: Profile) -> Profile:
    pid = _pid(profile)
    if not pid:
        return profile
    label_sets = [{PID: pid, **labels} for labels in label_sets_of(profile)]
    return with_texts(profile, lambda name, filename: (name, filename), label_sets)
