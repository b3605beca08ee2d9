"""Requests in the layout of OTLP 1.9, which are 1.10 with other meanings: never misread."""

import struct
from collections.abc import Callable

import pytest
from opentelemetry.proto.collector.profiles.v1development.profiles_service_pb2 import (
    ExportProfilesServiceRequest,
)
from opentelemetry.proto.profiles.v1development import profiles_pb2 as pb

from otelprof.errors import FormatError
from otelprof.formats import otlp, wire
from tests.support.generated import generated
from tests.support.profiles import cpu_and_wall, rows_of
from tests.support.wire import Message

FULL = ExportProfilesServiceRequest.FromString(otlp.encode(cpu_and_wall(), full=True))
OLD = "the layout of OTLP 1.9 or older"


def times_of(sample: pb.Sample) -> bytes:
    body = b"".join(struct.pack("<Q", time) for time in sample.timestamps_unix_nano)
    return wire.one(5, body) if body else b""


def as_of_old(sample: pb.Sample) -> bytes:
    """The sample as 1.9 has it: values are field 2, attribute_indices 3, link_index 4."""
    return (
        wire.integer(1, sample.stack_index)
        + wire.numbers(2, sample.values)
        + wire.numbers(3, sample.attribute_indices)
        + wire.integer(4, sample.link_index)
        + times_of(sample)
    )


def rewritten(request: ExportProfilesServiceRequest, sample: Callable[[pb.Sample], bytes]) -> bytes:
    """The request with every sample written by `sample`."""
    blob = b""
    for resource in request.resource_profiles:
        scopes = b""
        for scope in resource.scope_profiles:
            profiles = b""
            for profile in scope.profiles:
                rest = pb.Profile.FromString(profile.SerializeToString())
                rest.ClearField("samples")
                samples = b"".join(wire.one(2, sample(s)) for s in profile.samples)
                profiles += wire.one(2, rest.SerializeToString() + samples)
            scopes += wire.one(2, wire.one(1, scope.scope.SerializeToString()) + profiles)
        blob += wire.one(1, wire.one(1, resource.resource.SerializeToString()) + scopes)
    return blob + wire.one(2, request.dictionary.SerializeToString())


def with_samples(*samples: pb.Sample) -> ExportProfilesServiceRequest:
    request = ExportProfilesServiceRequest.FromString(otlp.encode(cpu_and_wall()[:1]))
    profile = request.resource_profiles[0].scope_profiles[0].profiles[0]
    del profile.samples[:]
    profile.samples.extend(samples)
    return request


class TestOldRequests:
    @pytest.mark.parametrize(
        "sample",
        [
            pytest.param(pb.Sample(stack_index=1, values=[7]), id="a value"),
            pytest.param(pb.Sample(stack_index=1, values=[0]), id="no value to speak of"),
            pytest.param(pb.Sample(stack_index=1, values=[1], link_index=1), id="a link"),
            pytest.param(
                pb.Sample(stack_index=1, values=[1], attribute_indices=[1]), id="attributes"
            ),
            pytest.param(
                pb.Sample(stack_index=1, values=[1], attribute_indices=[1, 2], link_index=2),
                id="attributes and a link",
            ),
            pytest.param(
                pb.Sample(stack_index=1, values=[1], link_index=1, timestamps_unix_nano=[9]),
                id="a link and a time",
            ),
        ],
    )
    def test_are_refused_whatever_a_sample_has(self, sample: pb.Sample) -> None:
        blob = rewritten(with_samples(sample), as_of_old)
        ExportProfilesServiceRequest.FromString(blob)  # protobuf itself sees nothing wrong
        with pytest.raises(FormatError, match=OLD):
            otlp.decode(blob)

    @pytest.mark.parametrize("seed", range(20))
    def test_of_any_kind_are_refused(self, seed: int) -> None:
        request = ExportProfilesServiceRequest.FromString(otlp.encode([generated(seed)]))
        if not request.resource_profiles[0].scope_profiles[0].profiles[0].samples:
            pytest.skip("no sample, so that both layouts are the same")
        with pytest.raises(FormatError, match=OLD):
            otlp.decode(rewritten(request, as_of_old))

    def test_ours_in_full_are_refused(self) -> None:
        with pytest.raises(FormatError, match=OLD):
            otlp.decode(rewritten(FULL, as_of_old))

    def test_one_old_sample_among_new_ones_is_enough(self) -> None:
        is_first = iter([True])

        def write(sample: pb.Sample) -> bytes:
            return as_of_old(sample) if next(is_first, False) else sample.SerializeToString()

        with pytest.raises(FormatError, match=OLD):
            otlp.decode(rewritten(FULL, write))

    def test_are_refused_where_nothing_tells(self) -> None:
        # Two values at two times of old; or two attributes, and two times that count one each.
        sample = pb.Sample(stack_index=1, values=[1, 1], timestamps_unix_nano=[8, 9])
        with pytest.raises(FormatError, match="nothing tells"):
            otlp.decode(rewritten(with_samples(sample), as_of_old))


class TestNewRequests:
    def test_are_read_however_they_are_written(self) -> None:
        def with_zeros(sample: pb.Sample) -> bytes:
            # As a writer does that writes zeros: longer than what protobuf would write.
            return b"\x08" + wire.varint(sample.stack_index) + sample.SerializeToString()

        blob = rewritten(FULL, with_zeros)
        assert len(blob) > FULL.ByteSize()
        assert list(map(rows_of, otlp.decode(blob))) == list(
            map(rows_of, otlp.decode(FULL.SerializeToString()))
        )

    @pytest.mark.parametrize(
        ("sample", "value"),
        [
            pytest.param(pb.Sample(stack_index=1, timestamps_unix_nano=[7, 8, 9]), 3, id="times"),
            pytest.param(
                pb.Sample(stack_index=1, timestamps_unix_nano=[7, 8], attribute_indices=[1]),
                2,
                id="times and an attribute",
            ),
            pytest.param(
                pb.Sample(
                    stack_index=1, timestamps_unix_nano=[7], attribute_indices=[1], link_index=1
                ),
                1,
                id="times, an attribute and a link",
            ),
            pytest.param(
                pb.Sample(stack_index=1, timestamps_unix_nano=[7, 8], values=[20, 22]),
                42,
                id="times and values",
            ),
        ],
    )
    def test_with_times_are_counted(self, sample: pb.Sample, value: int) -> None:
        (profile,) = otlp.decode(with_samples(sample).SerializeToString())
        assert profile.values == ((value,),)

    def test_with_nothing_but_a_stack_are_named(self) -> None:
        with pytest.raises(FormatError, match="a sample has 0 values, not 1"):
            otlp.decode(with_samples(pb.Sample(stack_index=1)).SerializeToString())

    def test_values_without_their_times_are_named(self) -> None:
        sample = pb.Sample(stack_index=1, timestamps_unix_nano=[7, 8], values=[20])
        with pytest.raises(FormatError, match="a sample has 1 values and 2 times"):
            otlp.decode(with_samples(sample).SerializeToString())


def test_the_two_layouts_differ_where_these_tests_say() -> None:
    sample = pb.Sample(stack_index=1, attribute_indices=[2], link_index=3, values=[4])
    old = Message(as_of_old(sample))
    assert [old.numbers(field) for field in (1, 2, 3, 4)] == [[1], [4], [2], [3]]
    new = Message(sample.SerializeToString())
    assert [new.numbers(field) for field in (1, 2, 3, 4)] == [[1], [2], [3], [4]]
