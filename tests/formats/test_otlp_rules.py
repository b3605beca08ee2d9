"""What leaves follows the rules of OTLP; and the rules of tests/support/otlp_rules.py have teeth."""

import re
from dataclasses import replace

import pytest
from opentelemetry.proto.collector.profiles.v1development.profiles_service_pb2 import (
    ExportProfilesServiceRequest,
)

from otelprof.formats import otlp
from otelprof.model import Profile
from tests.support.damage import plant
from tests.support.otlp_rules import violations
from tests.support.profiles import (
    LEAF,
    OTHER_SPAN,
    ROOT,
    SPAN,
    Place,
    cpu_and_wall,
    profile_of,
    row,
)

CPU, WALL = cpu_and_wall()
BATCHES = {
    "cpu": [CPU],
    "cpu and wall": [CPU, WALL],
    "cpu and wall of two processes": [CPU, replace(WALL, resource=(("process.pid", 4712),))],
    "two windows of cpu": [CPU, replace(CPU, profile_id=b"\x07" * 16)],
    "rows that differ only in labels": [
        profile_of(
            row(LEAF, values=(1, 10), link=SPAN, thread_name="a"),
            row(LEAF, values=(1, 10), link=SPAN, thread_name="b"),
        ),
    ],
    "spans that differ only in their local root": [
        profile_of(
            row(LEAF, values=(1, 10), link=SPAN),
            row(LEAF, values=(1, 10), link=SPAN._replace(local_root_span_id=b"")),
        ),
    ],
    "frames without a file": [profile_of(row(Place("(frames elided)", "", 0, 0), values=(1, 10)))],
}


@pytest.mark.parametrize("batch", BATCHES.values(), ids=BATCHES.keys())
class TestWhatLeaves:
    def test_follows_every_rule(self, batch: list[Profile]) -> None:
        assert violations(otlp.encode(batch)) == []

    def test_follows_every_rule_with_root_links(self, batch: list[Profile]) -> None:
        assert violations(otlp.encode(batch, root_links=True)) == []

    def test_follows_every_rule_in_full(self, batch: list[Profile]) -> None:
        assert violations(otlp.encode(batch, full=True)) == []


def test_a_row_that_does_not_leave_leaves_nothing_behind() -> None:
    # A CPU row of less than a period counts 0 periods: the remainder goes to the next row.
    small = row(LEAF, ROOT, values=(0, 4_000_000), link=OTHER_SPAN)
    assert violations(otlp.encode([profile_of(small, row(ROOT, values=(1, 16_000_000)))])) == []


PROFILE = "resource_profiles.0.scope_profiles.0.profiles.0"
SAMPLE = f"{PROFILE}.samples.0"

# Each plants one fault in a request that follows the rules.
FAULTS = {
    "no mapping": ("dictionary.mapping_table", None, "mapping_table does not start with its zero"),
    "a first string": (
        "dictionary.string_table.0",
        "x",
        "string_table does not start with its zero",
    ),
    "a first stack": (
        "dictionary.stack_table.0.location_indices",
        1,
        "stack_table does not start with its zero value",
    ),
    "a string twice": ("dictionary.string_table", "cpu", "string_table has b'cpu' 2 times"),
    "a stack outside": (f"{SAMPLE}.stack_index", 99, "stack_table has no row 99"),
    "a negative link": (f"{SAMPLE}.link_index", -1, "link_table has no row -1"),
    "a sample attribute outside": (
        f"{SAMPLE}.attribute_indices",
        99,
        "attribute_table has no row 99",
    ),
    "a location outside": (
        "dictionary.stack_table.1.location_indices.0",
        99,
        "location_table has no row 99",
    ),
    "a string outside": (
        "dictionary.function_table.1.name_strindex",
        999,
        "string_table has no row 999",
    ),
    "a mapping outside": (
        "dictionary.location_table.1.mapping_index",
        1,
        "mapping_table has no row 1",
    ),
    "a short trace id": (
        "dictionary.link_table.1.trace_id",
        b"\x01",
        "a link has ids of 1 and 8 bytes",
    ),
    "a function that starts above its file": (
        "dictionary.function_table.1.start_line",
        -1,
        "a function starts at line -1",
    ),
    "a line above its file": (
        "dictionary.location_table.1.lines.0.line",
        -1,
        "a location has a negative line or column",
    ),
    "an attribute without a value": (
        "dictionary.attribute_table.1.value",
        None,
        "an attribute lacks its key or its value",
    ),
    "an attribute key twice": (
        f"{PROFILE}.attribute_indices",
        2,
        "a Profile has an attribute key twice",
    ),
    "no resource": ("resource_profiles", None, "there is no resource"),
    "a resource attribute without a key": (
        "resource_profiles.0.resource.attributes.0.key",
        None,
        "a resource attribute lacks its key or its value",
    ),
    "a resource attribute in the dictionary": (
        "resource_profiles.0.resource.attributes.0.value.string_value_strindex",
        1,
        "a resource attribute points into the dictionary",
    ),
    "no scope": ("resource_profiles.0.scope_profiles", None, "a resource has no scope"),
    "no profile": ("resource_profiles.0.scope_profiles.0.profiles", None, "a scope has no profile"),
    "no period type": (f"{PROFILE}.period_type", None, "a profile lacks its period_type"),
    "no period": (f"{PROFILE}.period", 0, "a profile has the period 0"),
    "a short id": (f"{PROFILE}.profile_id", b"\x01", "a profile has the id 01"),
    "two values": (f"{SAMPLE}.values", 1, "a sample is something else than one value"),
    "a time": (f"{SAMPLE}.timestamps_unix_nano", 1, "a sample is something else than one value"),
    "no stack": (f"{SAMPLE}.stack_index", 0, "a sample has no stack"),
    "a row that nothing names": (
        "dictionary.string_table",
        "unused",
        r"string_table has row \d+ that nothing names",
    ),
}


@pytest.mark.parametrize(("path", "value", "named"), FAULTS.values(), ids=FAULTS.keys())
def test_the_rules_notice(path: str, value: int | bytes | str | None, named: str) -> None:
    request = ExportProfilesServiceRequest.FromString(otlp.encode([CPU, WALL]))
    plant(request, path, value)
    found = violations(request.SerializeToString())
    assert any(re.match(named, violation) for violation in found), found


def test_the_rules_notice_the_same_sample_twice() -> None:
    request = ExportProfilesServiceRequest.FromString(otlp.encode([CPU]))
    samples = request.resource_profiles[0].scope_profiles[0].profiles[0].samples
    samples.append(samples[0])
    assert violations(request.SerializeToString()) == ["two samples have the same identity"]
