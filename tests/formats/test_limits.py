"""Bytes that are small and become large: refused, with the limit named, before they cost anything."""

import gzip
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from opentelemetry.proto.collector.profiles.v1development.profiles_service_pb2 import (
    ExportProfilesServiceRequest,
)
from opentelemetry.proto.common.v1 import common_pb2

from otelprof.errors import FormatError
from otelprof.formats import limits, otlp, pprof
from otelprof.formats import pprof_pb2 as pb
from otelprof.formats.limits import FILE, RECEIVED, Limits
from otelprof.formats.wire_reader import count_fields, fields
from otelprof.model import Profile
from tests.support.generated import generated
from tests.support.profiles import cpu_and_wall

PPROF = pprof.message(cpu_and_wall())
OTLP = otlp.encode(cpu_and_wall(), full=True)
Decode = Callable[..., list[Profile]]
CPU_S = 5.0  # what a hostile input may take; without its limit each takes minutes


def small_pprof() -> pb.Profile:
    profile = pb.Profile(string_table=["", "cpu", "nanoseconds", "run"], period=1)
    profile.sample_type.add(type=1, unit=2)
    profile.function.add(id=1, name=3)
    profile.location.add(id=1).line.add(function_id=1, line=1)
    profile.sample.add(location_id=[1], value=[1])
    return profile


def small_otlp() -> ExportProfilesServiceRequest:
    return ExportProfilesServiceRequest.FromString(otlp.encode(cpu_and_wall()[:1]))


class TestInflation:
    def test_a_bomb_is_not_inflated(self) -> None:
        bomb = gzip.compress(bytes(100_000_000), compresslevel=9)
        assert len(bomb) < 100_000
        with pytest.raises(FormatError, match=r"\d+ bytes inflate to more than 194"):
            pprof.decode(bomb)

    def test_the_limit_is_the_last_size_that_is_read(self) -> None:
        blob = gzip.compress(PPROF)
        assert len(pprof.decode(blob, limits=replace(FILE, max_bytes=len(PPROF)))) == 2
        with pytest.raises(FormatError, match=f"inflate to more than {len(PPROF) - 1}"):
            pprof.decode(blob, limits=replace(FILE, max_bytes=len(PPROF) - 1))

    @pytest.mark.parametrize(
        ("decode", "blob"), [(pprof.decode, PPROF), (otlp.decode, OTLP)], ids=["pprof", "OTLP"]
    )
    def test_what_is_not_compressed_has_the_same_limit(self, decode: Decode, blob: bytes) -> None:
        assert decode(blob, limits=replace(FILE, max_bytes=len(blob)))
        with pytest.raises(FormatError, match=f"{len(blob)} bytes, more than {len(blob) - 1}"):
            decode(blob, limits=replace(FILE, max_bytes=len(blob) - 1))

    def test_small_files_may_be_as_repetitive_as_they_like(self) -> None:
        message = small_pprof()
        message.string_table.append("x" * 1_000_000)
        assert len(pprof.decode(gzip.compress(message.SerializeToString()))) == 1


class TestRows:
    """Each limit is the last number that is read."""

    @pytest.mark.parametrize(
        ("name", "most", "message"),
        [
            ("max_samples", 5, "5 samples, more than 4"),
            ("max_strings", len(pb.Profile.FromString(PPROF).string_table), "strings, more than"),
            ("max_depth", 3, "a stack is deeper than 2"),
        ],
    )
    def test_of_pprof(self, name: str, most: int, message: str) -> None:
        assert pprof.decode(PPROF, limits=replace(FILE, **{name: most}))
        with pytest.raises(FormatError, match=f"^pprof: .*{message}"):
            pprof.decode(PPROF, limits=replace(FILE, **{name: most - 1}))

    @pytest.mark.parametrize(
        ("name", "most", "message"),
        [
            ("max_samples", 12, "12 samples, more than 11"),
            ("max_strings", len(small_otlp().dictionary.string_table), "strings, more than"),
            ("max_profiles", 4, "4 profiles, more than 3"),
            ("max_attributes", 5, "5 resource attributes, more than 4"),
            ("max_depth", 3, "a stack is deeper than 2"),
        ],
    )
    def test_of_otlp(self, name: str, most: int, message: str) -> None:
        if name == "max_strings":
            most = len(ExportProfilesServiceRequest.FromString(OTLP).dictionary.string_table)
        assert otlp.decode(OTLP, limits=replace(FILE, **{name: most}))
        with pytest.raises(FormatError, match=f"^OTLP: .*{message}"):
            otlp.decode(OTLP, limits=replace(FILE, **{name: most - 1}))

    @pytest.mark.parametrize(
        ("decode", "blob"), [(pprof.decode, PPROF), (otlp.decode, OTLP)], ids=["pprof", "OTLP"]
    )
    def test_of_all_stacks_together(self, decode: Decode, blob: bytes) -> None:
        refused = 0
        for most in range(100):
            try:
                decode(blob, limits=replace(FILE, max_frames=most))
            except FormatError as error:
                assert f"frames of stacks, more than {most}" in str(error)  # noqa: PT017 - of each
                refused += 1
        assert 10 < refused < 40

    def test_what_is_received_is_held_to_less_than_files(self) -> None:
        for name in Limits.__slots__:
            assert getattr(RECEIVED, name) <= getattr(FILE, name)
        assert RECEIVED.max_bytes < FILE.max_bytes


class TestFields:
    @pytest.mark.parametrize("seed", range(10))
    def test_are_counted_before_anything_is_made_of_them(self, seed: int) -> None:
        plain = pprof.message([generated(seed)])
        everything = 10**9
        count = count_fields(plain, {}, everything)
        assert count == sum(1 for _ in fields(plain))
        assert count_fields(plain, {6: {}}, count // 2) <= count // 2 + 1

    def test_too_many_are_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("otelprof.formats.pprof_reader.FREE_BYTES", 0)
        monkeypatch.setattr("otelprof.formats.otlp_reader.FREE_BYTES", 0)
        for decode, blob in ((pprof.decode, PPROF), (otlp.decode, OTLP)):
            assert decode(blob)
            with pytest.raises(FormatError, match="11 fields, more than 10"):
                decode(blob, limits=replace(FILE, max_fields=10))

    def test_of_nothing_but_empty_messages_are_refused_soon(self) -> None:
        # 2 bytes each on the wire, 50 and more when they are parsed.
        blob = b"\x12\x00" * 3_000_000
        assert len(blob) > limits.FREE_BYTES
        begin_s = time.process_time()
        with pytest.raises(FormatError, match="fields, more than 1000000"):
            pprof.decode(blob, limits=replace(FILE, max_fields=1_000_000))
        assert time.process_time() - begin_s < CPU_S

    @pytest.mark.parametrize("seed", range(20))
    def test_rubbish_is_left_to_the_parser(self, seed: int) -> None:
        blob = random.Random(seed).randbytes(200)
        assert count_fields(blob, {2: {3: {}}, 4: {4: {}}}, 10**9) <= len(blob)


class TestAmplification:
    """Rows that are large only when they are read, because many others name them."""

    @pytest.fixture(autouse=True)
    def _soon(self) -> Iterator[None]:
        begin_s = time.process_time()
        yield
        assert time.process_time() - begin_s < CPU_S

    def test_a_location_of_many_lines_in_a_deep_stack(self) -> None:
        message = small_pprof()
        for _ in range(10_000):
            message.location[0].line.add(function_id=1, line=1)
        message.sample[0].location_id.extend([1] * 10_000)
        with pytest.raises(FormatError, match="a stack is deeper than 4096"):
            pprof.decode(message.SerializeToString())

    def test_the_same_in_otlp(self) -> None:
        request = small_otlp()
        for _ in range(10_000):
            request.dictionary.location_table[1].lines.add(function_index=1, line=1)
        request.dictionary.stack_table[1].location_indices.extend([1] * 10_000)
        with pytest.raises(FormatError, match="a stack is deeper than 4096"):
            otlp.decode(request.SerializeToString())

    def test_a_deep_stack_of_many_samples_is_read_once(self) -> None:
        request = small_otlp()
        request.dictionary.stack_table[1].location_indices.extend([1] * 4_000)
        profile = request.resource_profiles[0].scope_profiles[0].profiles[0]
        for _ in range(100_000):
            profile.samples.add(stack_index=1, values=[1])
        assert otlp.decode(request.SerializeToString())

    def test_a_long_label_of_many_samples_is_not_looked_into(self) -> None:
        message = small_pprof()
        message.string_table.extend(["trace_id", "f" * 2_000_000])
        message.sample[0].label.add(key=4, str=5)
        for _ in range(20_000):
            message.sample.append(message.sample[0])
        assert pprof.decode(message.SerializeToString())

    def test_a_comment_that_comes_often_is_read_once(self) -> None:
        message = small_pprof()
        message.string_table.append("=" * 2_000_000)
        message.comment.extend([4] * 500_000)
        assert pprof.decode(message.SerializeToString())

    def test_a_list_that_many_samples_have_is_read_once(self) -> None:
        request = small_otlp()
        table = request.dictionary.attribute_table
        row = table.add(key_strindex=1)
        row.value.array_value.values.extend([common_pb2.AnyValue(int_value=1)] * 100_000)
        profile = request.resource_profiles[0].scope_profiles[0].profiles[0]
        for link in range(2):
            for _ in range(10_000):
                profile.samples.add(
                    stack_index=1, link_index=link, values=[1], attribute_indices=[len(table) - 1]
                )
        assert otlp.decode(request.SerializeToString())

    def test_lists_in_lists_do_not_double(self) -> None:
        value = common_pb2.AnyValue(string_value="'\"\\" * 10)
        for _ in range(20):
            outer = common_pb2.AnyValue()
            outer.array_value.values.add().CopyFrom(value)
            value = outer
        request = small_otlp()
        request.resource_profiles[0].resource.attributes.add(key="deep").value.CopyFrom(value)
        (profile,) = otlp.decode(request.SerializeToString())
        assert len(str(dict(profile.resource)["deep"])) < 1_000

    def test_lists_that_are_too_deep_are_refused(self) -> None:
        request = small_otlp()
        value = request.resource_profiles[0].resource.attributes.add(key="deep").value
        for _ in range(40):
            value = value.array_value.values.add()
        value.int_value = 1
        with pytest.raises(FormatError, match="lists are nested too deep"):
            otlp.decode(request.SerializeToString())
