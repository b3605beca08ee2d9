"""What the Collector's file exporter wrote, read by OTLP's rules for JSON and references."""

import json
from collections import Counter
from pathlib import Path
from typing import Any


class Received:
    """The profiles that arrived.

    Attributes:
        sums: values by sample type and period type.
        without_doubles: the same, of each profile as it came first.
        links: values of CPU by trace id and span id.
        spans: values by sample type and span id.
        instances: values by sample type and `service.instance.id`.
        spans_of: the ids of the spans, by `service.instance.id`.
        pids: `process.pid`, by `service.instance.id`.
        attributes: of the resources, those that are text.
        profile_ids: in the order in which they came; one that came twice is there twice.
        places: function, line and column of every frame.
    """

    def __init__(self, path: Path) -> None:
        self.sums: Counter[tuple[str, str]] = Counter()
        self.without_doubles: Counter[tuple[str, str]] = Counter()
        self.links: Counter[tuple[str, str]] = Counter()
        self.spans: Counter[tuple[str, str]] = Counter()
        self.instances: Counter[tuple[str, str]] = Counter()
        self.spans_of: dict[str, set[str]] = {}
        self.pids: dict[str, int] = {}
        self.profile_ids: list[str] = []
        self.period_ns: set[int] = set()
        self.attributes: dict[str, str] = {}
        self.functions: set[str] = set()
        self.places: set[tuple[str, int, int]] = set()
        for line in path.read_text().splitlines():
            self._read(json.loads(line))

    def _read(self, request: dict[str, Any]) -> None:
        dictionary: dict[str, Any] = request["dictionary"]
        strings: list[str] = dictionary["stringTable"]
        for resource_profiles in request["resourceProfiles"]:
            instance = self._read_resource(resource_profiles["resource"]["attributes"], strings)
            for scope_profiles in resource_profiles["scopeProfiles"]:
                assert scope_profiles["scope"]["name"] == "otelprof"
                for profile in scope_profiles["profiles"]:
                    self._read_profile(profile, dictionary, strings, instance)

    def _read_resource(self, attributes: list[dict[str, Any]], strings: list[str]) -> str:
        """Returns the `service.instance.id`."""
        texts: dict[str, str] = {}
        pid = 0
        for attribute in attributes:
            # The file exporter turns inline attributes into references to the string table.
            key = attribute.get("key") or strings[int(attribute["keyStrindex"])]
            value = attribute["value"]
            if "stringValueStrindex" in value:
                texts[key] = strings[int(value["stringValueStrindex"])]
            elif "stringValue" in value:
                texts[key] = value["stringValue"]
            elif key == "process.pid":
                pid = int(value["intValue"])
        self.attributes |= texts
        instance = texts.get("service.instance.id", "")
        assert self.pids.setdefault(instance, pid) == pid, "an instance has two processes"
        return instance

    def _read_profile(
        self,
        profile: dict[str, Any],
        dictionary: dict[str, Any],
        strings: list[str],
        instance: str,
    ) -> None:
        sample_type: str = strings[int(profile["sampleType"]["typeStrindex"])]
        period_type: str = strings[int(profile["periodType"]["typeStrindex"])]
        self.period_ns.add(int(profile["period"]))
        is_first = profile["profileId"] not in self.profile_ids
        self.profile_ids.append(profile["profileId"])
        for sample in profile.get(
            "samples", ()
        ):  # none where less than a period of CPU time was left
            (value,) = map(int, sample["values"])
            self.sums[sample_type, period_type] += value
            self.instances[sample_type, instance] += value
            self.without_doubles[sample_type, period_type] += value if is_first else 0
            for location in dictionary["stackTable"][sample["stackIndex"]]["locationIndices"]:
                for line in dictionary["locationTable"][location]["lines"]:
                    function = dictionary["functionTable"][line["functionIndex"]]
                    name = strings[int(function["nameStrindex"])]
                    self.functions.add(name)
                    self.places.add((name, int(line.get("line", 0)), int(line.get("column", 0))))
            if sample.get("linkIndex"):
                link = dictionary["linkTable"][sample["linkIndex"]]
                self.spans[sample_type, link["spanId"]] += value
                self.spans_of.setdefault(instance, set()).add(link["spanId"])
                if period_type == "cpu":
                    self.links[link["traceId"], link["spanId"]] += value
