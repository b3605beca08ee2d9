"""`enrich`: attributes of the resource and labels from the configuration, and no label with too many values."""

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from otelprof.config import Config
from otelprof.interfaces import Processor
from otelprof.model import Profile
from otelprof.processors.tables import label_sets_of, samples_of, with_losses, with_texts

# A label's value makes a series where labels do (Pyroscope), and a thread's name may be new with each request.
MAX_LABEL_VALUES = 1_000
OTHER = "(other)"
CAPPED = "label_values"  # reason of the losses: samples that have `OTHER`


def from_config(config: Config) -> Processor:
    """What `enrich_resource` and `enrich_labels` name."""
    return Enricher(config.enrich_resource, config.enrich_labels)


class Enricher:
    """Adds what is not there yet: what the application says of itself stays.

    Args:
        resource: attributes of the resource, key and value.
        labels: labels of every sample, key and value.
        max_label_values: how many values a label may have in one profile, in the order of its table of label
            sets. Further ones become `(other)`; samples that have it are in the losses as `label_values`.
    """

    is_required = False

    def __init__(
        self,
        resource: Iterable[tuple[str, str]] = (),
        labels: Iterable[tuple[str, str]] = (),
        *,
        max_label_values: int = MAX_LABEL_VALUES,
    ) -> None:
        self._resource = tuple(resource)
        self._labels = dict(labels)
        self._max_label_values = max_label_values

    def process(self, profile: Profile) -> Profile:
        """`profile` with more attributes and labels, and fewer values."""
        present = {key for key, _ in profile.resource}
        added = tuple(item for item in self._resource if item[0] not in present)
        if added:
            profile = replace(profile, resource=(*profile.resource, *added))
        if self._labels or len(profile.tables.label_sets) > self._max_label_values:
            profile = self._with_labels(profile)
        return profile

    def _with_labels(self, profile: Profile) -> Profile:
        seen: dict[str, set[str]] = {}
        label_sets: list[dict[str, str]] = []
        has_other: list[bool] = []
        for old in label_sets_of(profile):
            labels = self._labels | old
            further = [
                key for key, value in labels.items() if not self._is_within(seen, key, value)
            ]
            label_sets.append(labels | dict.fromkeys(further, OTHER))
            has_other.append(bool(further))
        changed = with_texts(profile, lambda name, filename: (name, filename), label_sets)
        rows = list(map(has_other.__getitem__, profile.labels))
        return with_losses(changed, {CAPPED: samples_of(profile, rows)})

    def _is_within(self, seen: dict[str, set[str]], key: str, value: str) -> bool:
        """Whether `value` is one of the first values of `key`."""
        values = seen.setdefault(key, set())
        if len(values) < self._max_label_values:
            values.add(value)
        return value in values


if TYPE_CHECKING:
    _checked: type[Processor] = Enricher
