import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from jsonschema import Draft202012Validator

from otelprof.builder import ProfileBuilder
from otelprof.formats import json_profile
from otelprof.formats.canonical import canonical
from otelprof.model import Link, Producer, Profile, ValueType
from tests.support.golden import Golden
from tests.support.odd_profiles import odd, shuffled
from tests.support.profiles import cpu_and_wall, profile_of, rows_of

CPU, WALL = cpu_and_wall()
SCHEMA: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "docs" / "profiles.schema.json").read_text()
)
VALIDATOR: Any = Draft202012Validator(SCHEMA)
PROFILES: dict[str, list[Profile]] = {
    "cpu and wall": [CPU, WALL],
    "odd": [odd()],
    "no rows": [profile_of()],
    "none": [],
}

WRONG: list[tuple[str, Any]] = [
    ("kind", ""),
    ("profile_id", "00"),
    ("start_unix_ns", -1),
    ("period", {"type": "cpu", "unit": "nanoseconds", "value": 0}),
    ("value_types", []),
    ("losses", {"overflow": "2"}),
    ("stacks", [[]]),
    ("links", [{"trace_id": "12", "span_id": "34"}]),
    ("samples", [{"stack": -1, "values": [1]}]),
    ("samples", [{"stack": 0, "values": [-1]}]),
]


def read(blob: bytes) -> dict[str, Any]:
    file: dict[str, Any] = json.loads(blob)
    return file


def rebuilt(written: dict[str, Any]) -> Profile:
    """A profile of the file, as the schema describes it."""
    builder = ProfileBuilder(ValueType(**each) for each in written["value_types"])
    functions: list[Any] = written["functions"]
    frames: list[int] = [
        builder.frame(
            function["name"],
            function["filename"],
            function["start_line"],
            frame["line"],
            frame["column"],
        )
        for frame in written["frames"]
        for function in (functions[frame["function"]],)
    ]
    links = [
        builder.link(Link(*(bytes.fromhex(each.get(name, "")) for name in Link._fields)))
        for each in written["links"]
    ]
    for sample in written["samples"]:
        stack = builder.stack(frames[int(n)] for n in written["stacks"][sample["stack"]])
        link = links[int(sample["link"])] if "link" in sample else 0
        builder.add(stack, link, builder.label_set(sample.get("labels", {})), sample["values"])
    period = written["period"]
    return builder.build(
        kind=written["kind"],
        start_unix_ns=written["start_unix_ns"],
        duration_ns=written["duration_ns"],
        period_type=ValueType(period["type"], period["unit"]),
        period=period["value"],
        resource=tuple((key, _attribute(value)) for key, value in written["resource"].items()),
        profile_id=bytes.fromhex(written.get("profile_id", "")),
        producer=Producer(*(written["producer"].get(name, "") for name in Producer._fields)),
        losses=written["losses"].items(),
    )


def _attribute(value: Any) -> Any:
    return tuple(cast("list[str]", value)) if isinstance(value, list) else value


class TestBytes:
    def test_of_cpu_and_wall(self, golden: Golden) -> None:
        golden.check("cpu_and_wall.json", json_profile.encode([CPU, WALL]))

    def test_of_odd_names(self, golden: Golden) -> None:
        golden.check("odd.json", json_profile.encode([odd()]))

    @pytest.mark.parametrize("profile", [CPU, odd()], ids=["cpu", "odd"])
    def test_do_not_depend_on_the_order_of_rows(self, profile: Profile) -> None:
        assert json_profile.encode([shuffled(profile)]) == json_profile.encode([profile])

    def test_name_the_format_and_its_version_first(self) -> None:
        assert json_profile.encode([]).startswith(b'{"format":"otelprof.profiles","version":1,')


class TestSchema:
    def test_is_one(self) -> None:
        Draft202012Validator.check_schema(SCHEMA)

    @pytest.mark.parametrize("profiles", PROFILES.values(), ids=PROFILES)
    def test_is_kept(self, profiles: list[Profile]) -> None:
        VALIDATOR.validate(read(json_profile.encode(profiles)))

    def test_describes_every_member(self) -> None:
        """A copy of the schema that takes no other members takes what is written."""
        strict = json.loads(json.dumps(SCHEMA), object_hook=_closed)
        closed: Any = Draft202012Validator(strict)
        for profiles in PROFILES.values():
            closed.validate(read(json_profile.encode(profiles)))

    @pytest.mark.parametrize(("member", "value"), WRONG)
    def test_refuses_what_is_wrong(self, member: str, value: object) -> None:
        file = read(json_profile.encode([CPU]))
        file["profiles"][0][member] = value
        assert not VALIDATOR.is_valid(file)


class TestReadAgain:
    @pytest.mark.parametrize("profile", [CPU, WALL], ids=["cpu", "wall"])
    def test_is_the_same_profile(self, profile: Profile) -> None:
        (written,) = read(json_profile.encode([profile]))["profiles"]
        assert rebuilt(written) == canonical(profile)

    def test_odd_names_and_huge_values_are_the_same_but_for_what_utf_8_lacks(self) -> None:
        (written,) = read(json_profile.encode([odd()]))["profiles"]
        assert rows_of(rebuilt(written)) == rows_of(canonical(odd()))
        assert written["resource"] == {"ratio": "NaN", "service.name": "sh\nop\\udcff"}

    def test_infinities_are_text(self) -> None:
        endless = replace(CPU, resource=(("from", float("-inf")), ("to", float("inf"))))
        (written,) = read(json_profile.encode([endless]))["profiles"]
        assert written["resource"] == {"from": "-Infinity", "to": "Infinity"}

    def test_profiles_of_a_kind_stay_apart(self) -> None:
        kinds = [p["kind"] for p in read(json_profile.encode([CPU, WALL, CPU]))["profiles"]]
        assert kinds == ["cpu", "wall", "cpu"]


def _closed(schema: dict[str, Any]) -> dict[str, Any]:
    has_members = schema.get("type") == "object" and "properties" in schema
    return {**schema, "additionalProperties": False} if has_members else schema
