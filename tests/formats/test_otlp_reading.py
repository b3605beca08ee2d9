"""Requests of other producers, and requests that were damaged."""

import pytest
from opentelemetry.proto.collector.profiles.v1development.profiles_service_pb2 import (
    ExportProfilesServiceRequest,
)

from otelprof.errors import FormatError
from otelprof.formats import otlp
from otelprof.model import UNKNOWN_PRODUCER, Producer, Profile, ValueType
from tests.support.damage import Trial, mutants, plant
from tests.support.profiles import ROOT_SPAN_ID, Place, cpu_and_wall, rows_of

CPU, WALL = cpu_and_wall()


def foreign() -> ExportProfilesServiceRequest:
    """A request as another producer writes it, with nothing of `otelprof.*` in it."""
    request = ExportProfilesServiceRequest()
    dictionary = request.dictionary
    dictionary.string_table.extend(["", "off_cpu", "nanoseconds", "run", "run.py", "loop", "pid"])
    dictionary.mapping_table.add()
    dictionary.link_table.add()
    dictionary.attribute_table.add()
    dictionary.attribute_table.add(key_strindex=6).value.int_value = 4711
    dictionary.function_table.add()
    dictionary.function_table.add(name_strindex=3, filename_strindex=4, start_line=11)
    dictionary.function_table.add(name_strindex=5, filename_strindex=4, start_line=21)
    dictionary.location_table.add()
    dictionary.location_table.add().lines.add(function_index=1, line=12)
    dictionary.stack_table.add()
    dictionary.stack_table.add(location_indices=[1])
    profile = request.resource_profiles.add().scope_profiles.add().profiles.add(period=1)
    profile.sample_type.type_strindex = profile.period_type.type_strindex = 1
    profile.sample_type.unit_strindex = profile.period_type.unit_strindex = 2
    profile.samples.add(stack_index=1, attribute_indices=[1], values=[30])
    return request


def decoded(request: ExportProfilesServiceRequest) -> Profile:
    (profile,) = otlp.decode(request.SerializeToString())
    return profile


class TestRequestsOfOthers:
    def test_are_named_after_their_sample_type(self) -> None:
        profile = decoded(foreign())
        assert profile.kind == "off_cpu"
        assert profile.value_types == (ValueType("off_cpu", "nanoseconds"),)
        assert profile.producer == UNKNOWN_PRODUCER
        assert profile.losses == ()
        assert profile.problem() is None

    def test_keep_their_rows(self) -> None:
        (only,) = rows_of(decoded(foreign()))
        assert only.places == (Place("run", "run.py", 11, 12),)
        assert only.values == (30,)

    def test_attributes_that_are_no_text_become_labels(self) -> None:
        (only,) = rows_of(decoded(foreign()))
        assert only.labels == (("pid", "4711"),)

    def test_an_attribute_without_a_value_is_an_empty_label(self) -> None:
        request = foreign()
        request.dictionary.attribute_table[1].ClearField("value")
        (only,) = rows_of(decoded(request))
        assert only.labels == (("pid", ""),)

    def test_inlined_calls_are_frames_innermost_first(self) -> None:
        request = foreign()
        request.dictionary.location_table[1].lines.add(function_index=2, line=22)
        (only,) = rows_of(decoded(request))
        assert [place.line for place in only.places] == [12, 22]

    def test_a_location_without_lines_is_named_by_its_address(self) -> None:
        request = foreign()
        del request.dictionary.location_table[1].lines[:]
        request.dictionary.location_table[1].address = 0x1000
        (only,) = rows_of(decoded(request))
        assert only.places == (Place("0x1000", "", 0, 0),)

    def test_a_function_without_name_and_file_is_a_question_mark(self) -> None:
        request = foreign()
        request.dictionary.function_table[1].Clear()
        (only,) = rows_of(decoded(request))
        assert only.places == (Place("?", "", 0, 12),)

    def test_a_sample_without_a_stack_has_one_that_says_so(self) -> None:
        request = foreign()
        request.resource_profiles[0].scope_profiles[0].profiles[0].samples[0].stack_index = 0
        (only,) = rows_of(decoded(request))
        assert only.places == (Place("(no stack)", "", 0, 0),)

    def test_no_period_is_one_of_the_sample_type(self) -> None:
        request = foreign()
        profile = request.resource_profiles[0].scope_profiles[0].profiles[0]
        profile.ClearField("period_type")
        profile.period = 0
        read = decoded(request)
        assert (read.period_type, read.period) == (ValueType("off_cpu", "nanoseconds"), 1)

    def test_an_attribute_without_a_key_is_no_label(self) -> None:
        request = foreign()
        request.dictionary.attribute_table[1].key_strindex = 0
        assert rows_of(decoded(request))[0].labels == ()

    def test_samples_that_say_the_same_are_added_up(self) -> None:
        request = foreign()
        samples = request.resource_profiles[0].scope_profiles[0].profiles[0].samples
        samples.append(samples[0])
        assert decoded(request).values == ((60,),)

    def test_two_profiles_without_id_and_kind_stay_apart(self) -> None:
        request = foreign()
        profiles = request.resource_profiles[0].scope_profiles[0].profiles
        profiles.append(profiles[0])
        assert [p.values for p in otlp.decode(request.SerializeToString())] == [((30,),)] * 2

    def test_half_a_producer_is_a_producer(self) -> None:
        request = with_profile_attribute("otelprof.producer.sampler", "core")
        assert decoded(request).producer == Producer("", "core")

    def test_a_loss_that_is_no_number_is_none(self) -> None:
        request = with_profile_attribute("otelprof.lost.overflow", "many")
        assert decoded(request).losses == ()


def with_profile_attribute(key: str, value: str) -> ExportProfilesServiceRequest:
    request = foreign()
    request.dictionary.string_table.append(key)
    attribute = request.dictionary.attribute_table.add()
    attribute.key_strindex = len(request.dictionary.string_table) - 1
    attribute.value.string_value = value
    profile = request.resource_profiles[0].scope_profiles[0].profiles[0]
    profile.attribute_indices.append(len(request.dictionary.attribute_table) - 1)
    return request


FULL = otlp.encode([CPU, WALL], full=True)
PROFILE = "resource_profiles.0.scope_profiles.0.profiles.0"
SAMPLE = f"{PROFILE}.samples.0"

# Where the fault is planted, which value (None: nothing), and how it is named.
DAMAGE = {
    "no dictionary": ("dictionary", None, "is not in its table of 0"),
    "no strings": ("dictionary.string_table", None, "string .* is not in its table of 0"),
    "no attributes": ("dictionary.attribute_table", None, "attribute .* is not in its table of 0"),
    "no stacks": ("dictionary.stack_table", None, "stack 1 is not in its table of 0"),
    "a stack outside": (f"{SAMPLE}.stack_index", 99, "stack 99 is not in its table"),
    "a negative stack": (f"{SAMPLE}.stack_index", -1, "stack -1 is not in its table"),
    "a link outside": (f"{SAMPLE}.link_index", 99, "link 99 is not in its table"),
    "a negative link": (f"{SAMPLE}.link_index", -1, "link -1 is not in its table"),
    "an attribute outside": (f"{SAMPLE}.attribute_indices", 99, "attribute 99 is not in its"),
    "a negative attribute": (f"{SAMPLE}.attribute_indices", -1, "attribute -1 is not in its"),
    "a profile's attribute outside": (f"{PROFILE}.attribute_indices", 99, "attribute 99 is not in"),
    "a location outside": ("dictionary.stack_table.1.location_indices", 99, "location 99 is not"),
    "a negative location": ("dictionary.stack_table.1.location_indices", -1, "location -1 is not"),
    "a function outside": (
        "dictionary.location_table.1.lines.0.function_index",
        99,
        "function 99 is not in its table",
    ),
    "a negative function": (
        "dictionary.location_table.1.lines.0.function_index",
        -1,
        "function -1 is not in its table",
    ),
    "a negative column": (
        "dictionary.location_table.1.lines.0.column",
        -1,
        r"frame \d is at column -1",
    ),
    "a name outside": ("dictionary.function_table.1.name_strindex", 99, "string 99 is not in its"),
    "a negative filename": (
        "dictionary.function_table.1.filename_strindex",
        -1,
        "string -1 is not in its table",
    ),
    "a key outside": ("dictionary.attribute_table.2.key_strindex", 99, "string 99 is not in its"),
    "a sample type outside": (
        f"{PROFILE}.sample_type.type_strindex",
        99,
        "string 99 is not in its",
    ),
    "a negative period unit": (f"{PROFILE}.period_type.unit_strindex", -1, "string -1 is not in"),
    "two values": (f"{SAMPLE}.values", 1, "a sample has 2 values, not 1"),
    "no value": (f"{SAMPLE}.values", None, "layout of OTLP 1.9 or older"),
}


class TestDamage:
    @pytest.mark.parametrize(("path", "value", "named"), DAMAGE.values(), ids=DAMAGE.keys())
    def test_is_named(self, path: str, value: int | None, named: str) -> None:
        request = ExportProfilesServiceRequest.FromString(FULL)
        plant(request, path, value)
        with pytest.raises(FormatError, match=rf"^OTLP: .*{named}"):
            otlp.decode(request.SerializeToString())

    @pytest.mark.parametrize(
        "blob",
        [
            pytest.param(FULL[:-1], id="without the last byte"),
            pytest.param(FULL[: len(FULL) // 2], id="half of it"),
            pytest.param(b"not a request", id="text"),
            pytest.param(FULL.replace(b"shop", b"sh\xffp"), id="a string that is no UTF-8"),
        ],
    )
    def test_of_the_bytes_raises_format_error(self, blob: bytes) -> None:
        with pytest.raises(FormatError, match=r"^OTLP: "):
            otlp.decode(blob)

    def test_a_local_root_that_is_no_hex_is_no_other_error(self) -> None:
        blob = FULL.replace(ROOT_SPAN_ID.hex().encode(), b"not 16 hex digit")
        assert blob != FULL
        assert Trial(otlp.decode, [blob]).leaks == []

    def test_damaged_requests_decode_or_raise_format_error_and_nothing_else(self) -> None:
        trial = Trial(otlp.decode, mutants(FULL, count=300, seed=31))
        assert trial.leaks == []
        assert trial.refused > 50, "the damage is too small to say anything"
        assert len(trial.decoded) > 10, "the damage is too great to reach the decoder"
