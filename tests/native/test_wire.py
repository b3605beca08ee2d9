"""Columns in protobuf's wire format: the core and its twin in Python, against what protobuf itself writes."""

import random
from array import array
from typing import Any

import pytest

from otelprof.formats import packing
from otelprof.formats import pprof_pb2 as pb
from tests.support import core


class Index:
    def __index__(self) -> int:
        raise AssertionError("code of the caller's ran")


INT64 = (-(2**63), 2**63 - 1)
EDGES = [0, 1, 127, 128, 2**14 - 1, 2**14, 2**32, *INT64, -1]
TOO_LARGE = [2**63, -(2**63) - 1, 2**100]
VALUE = 2 << 3 | 2  # the tag of pprof's Sample.value
LABELS = [pb.Sample(label=[pb.Label(key=n)]).SerializeToString() for n in range(5)]
PLACES = [pb.Sample(location_id=[n]).SerializeToString() for n in (3, 128, 1, 300, 3)]
NUMBERS = array("Q", [0, 1, 127, 128, 300, 2**63, 2**64 - 1])


@pytest.fixture(params=["core", "python"])
def columns(request: pytest.FixtureRequest) -> Any:
    return core.required() if request.param == "core" else packing


class TestPackedRows:
    @pytest.mark.parametrize("number", EDGES)
    def test_writes_each_number_as_protobuf_does(self, columns: Any, number: int) -> None:
        assert columns.packed_rows(VALUE, [(number,)], None) == [
            pb.Sample(value=[number]).SerializeToString()
        ]

    @pytest.mark.parametrize("size", [0, 1, 126, 127, 128, 16_383, 16_384, 30_000])
    def test_writes_rows_of_any_length(self, columns: Any, size: int) -> None:
        rng = random.Random(size)
        row = tuple(rng.randrange(128) for _ in range(size))
        (packed,) = columns.packed_rows(VALUE, [row], None)
        # Only that protobuf leaves out an empty field.
        assert packed == (pb.Sample(value=row).SerializeToString() or bytes([VALUE, 0]))

    def test_a_short_row_behind_a_long_one_has_nothing_of_it(self, columns: Any) -> None:
        rows = [(1,) * 1_000, (2,), ()]
        assert columns.packed_rows(VALUE, rows, None)[1:] == [b"\x12\x01\x02", b"\x12\x00"]

    def test_writes_the_numbers_that_rows_stand_for(self, columns: Any) -> None:
        rows = [(6, 0, 3), (), (4,)]
        assert columns.packed_rows(VALUE, rows, NUMBERS) == [
            b"\x12\x0d" + b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01" + b"\x00" + b"\x80\x01",
            b"\x12\x00",
            b"\x12\x02\xac\x02",
        ]

    @pytest.mark.parametrize("index", [-1, 7, 2**63, -(2**70)])
    def test_an_index_outside_is_named(self, columns: Any, index: int) -> None:
        with pytest.raises(IndexError, match=f"{index} is not an index of 7"):
            columns.packed_rows(VALUE, [(1,), (2, index)], NUMBERS)

    def test_no_numbers_have_no_index(self, columns: Any) -> None:
        assert columns.packed_rows(VALUE, [()], array("Q")) == [b"\x12\x00"]
        with pytest.raises(IndexError):
            columns.packed_rows(VALUE, [(0,)], array("Q"))

    @pytest.mark.parametrize("number", TOO_LARGE)
    def test_what_has_more_than_64_bits_is_refused(self, columns: Any, number: int) -> None:
        with pytest.raises(OverflowError):
            columns.packed_rows(VALUE, [(1, number)], None)


class TestMessageRows:
    @pytest.mark.parametrize("number", EDGES)
    def test_writes_fields_as_protobuf_does_and_no_zeros(self, columns: Any, number: int) -> None:
        function = pb.Function(id=7, name=number, start_line=number)
        tags = bytes([1 << 3, 2 << 3, 5 << 3])
        assert columns.message_rows(tags, [(7, number, number)]) == [function.SerializeToString()]

    def test_rows_of_zeros_are_empty_messages(self, columns: Any) -> None:
        assert columns.message_rows(b"\x08\x10", [(0, 0), (0, 1)]) == [b"", b"\x10\x01"]

    def test_rows_have_as_many_fields_as_there_are_tags(self, columns: Any) -> None:
        with pytest.raises(ValueError, match="a row has 2 fields, not 1"):
            columns.message_rows(b"\x08", [(1,), (1, 2)])

    def test_what_has_more_than_64_bits_is_refused(self, columns: Any) -> None:
        with pytest.raises(OverflowError):
            columns.message_rows(b"\x08", [(2**63,)])


class TestMarkRows:
    def test_marks_what_rows_name(self, columns: Any) -> None:
        mask = bytearray(5)
        columns.mark_rows([(0, 3), (), (3, 3, 4)], mask)
        assert mask == bytearray([1, 0, 0, 1, 1])

    @pytest.mark.parametrize("index", [-1, 5, 2**63])
    def test_an_index_outside_is_named(self, columns: Any, index: int) -> None:
        with pytest.raises(IndexError, match=f"{index} is not an index of 5"):
            columns.mark_rows([(1, index)], bytearray(5))


class TestRankedRows:
    @pytest.mark.parametrize("seed", range(20))
    def test_sorts_bytes_as_python_does(self, columns: Any, seed: int) -> None:
        rng = random.Random(seed)
        # Many that are the beginning of others, and zeros, which a shorter one does not have.
        bodies = [bytes(rng.choices(b"\x00\x01\xff", k=rng.randrange(12))) for _ in range(300)]
        distinct, numbers = columns.ranked_rows(bodies)
        assert distinct == sorted(set(bodies))
        assert [distinct[number - 1] for number in numbers] == bodies

    def test_nothing_is_nothing(self, columns: Any) -> None:
        assert columns.ranked_rows([]) == ([], [])


class TestSampleRows:
    def test_writes_sorted_messages_as_protobuf_does(self, columns: Any) -> None:
        values = ((1, 2**40, 0, 7, 9), (-1, 5, 6, 128, 2))
        samples = [
            pb.Sample(location_id=place.location_id, value=row, label=label.label)
            for place, label, *row in zip(
                map(pb.Sample.FromString, PLACES),
                map(pb.Sample.FromString, LABELS),
                *values,
                strict=True,
            )
        ]
        samples.sort(
            key=lambda s: pb.Sample(location_id=s.location_id, label=s.label).SerializeToString()
        )
        message = pb.Profile(sample=samples).SerializeToString()
        assert columns.sample_rows(VALUE, (PLACES,), VALUE, values, (LABELS,)) == message

    def test_adds_up_rows_that_have_the_same_around_their_values(self, columns: Any) -> None:
        values = ((1, 2, 4, 8, 16), (0, 0, 1, 0, 3))
        message = columns.sample_rows(VALUE, (PLACES,), VALUE, values, ())
        found = {
            tuple(s.location_id): tuple(s.value) for s in pb.Profile.FromString(message).sample
        }
        assert found == {(3,): (17, 3), (128,): (2, 0), (1,): (4, 1), (300,): (8, 0)}

    def test_several_columns_stand_one_behind_the_other(self, columns: Any) -> None:
        message = columns.sample_rows(
            VALUE, (PLACES[:1], PLACES[1:2]), VALUE, ((5,),), (LABELS[1:2], LABELS[2:3])
        )
        (sample,) = pb.Profile.FromString(message).sample
        assert (list(sample.location_id), list(sample.value)) == ([3, 128], [5])
        assert [label.key for label in sample.label] == [1, 2]

    def test_no_rows_are_no_bytes(self, columns: Any) -> None:
        assert columns.sample_rows(VALUE, ([],), VALUE, ((),), ()) == b""

    def test_columns_have_the_same_length(self, columns: Any) -> None:
        for before, values, after in (
            ((PLACES,), ((1,),), ()),
            ((PLACES,), ((1,) * 5,), (LABELS[:1],)),
            ((PLACES,), ((1,) * 5, (1,) * 4), ()),
        ):
            with pytest.raises(ValueError):  # noqa: PT011 - two implementations, two wordings
                columns.sample_rows(VALUE, before, VALUE, values, after)

    @pytest.mark.parametrize("number", TOO_LARGE)
    def test_what_has_more_than_64_bits_is_refused(self, columns: Any, number: int) -> None:
        with pytest.raises(OverflowError):
            columns.sample_rows(VALUE, (PLACES[:1],), VALUE, ((number,),), ())

    @pytest.mark.parametrize("number", INT64)
    def test_a_sum_that_has_more_than_64_bits_is_refused(self, columns: Any, number: int) -> None:
        with pytest.raises(OverflowError):
            columns.sample_rows(VALUE, (PLACES[:1] * 2,), VALUE, ((number, number),), ())


class TestTypes:
    """Nothing but tuples of int: an object's own code could change the rows while they are read."""

    @pytest.mark.parametrize("row", [[1], None, 1, "1"])
    def test_a_row_is_a_tuple(self, row: object) -> None:
        native = core.required()
        for call in calls(native, [row]):
            with pytest.raises(TypeError, match="row 0 is no tuple"):
                call()

    @pytest.mark.parametrize("item", [1.0, "1", None, Index()])
    def test_an_item_is_an_int(self, item: object) -> None:
        native = core.required()
        for call in calls(native, [(item,)]):
            with pytest.raises(TypeError, match="a number is no int"):
                call()

    @pytest.mark.parametrize("numbers", [array("I", [1]), array("q", [1]), array("d", [1])])
    def test_numbers_are_an_array_of_q(self, numbers: object) -> None:
        with pytest.raises(TypeError, match="numbers is no array of Q"):
            core.required().packed_rows(VALUE, [(0,)], numbers)

    @pytest.mark.parametrize("rows", [(), None, ((1,),)])
    def test_rows_are_a_list(self, rows: object) -> None:
        native = core.required()
        for call in calls(native, rows):
            with pytest.raises(TypeError):
                call()
        with pytest.raises(TypeError):
            native.ranked_rows(rows)

    @pytest.mark.parametrize("body", [None, 1, "1", bytearray(1)])
    def test_bodies_are_bytes(self, body: object) -> None:
        native = core.required()
        wrong: list[Any] = [
            lambda: native.ranked_rows([b"", body]),
            lambda: native.sample_rows(VALUE, ([body],), VALUE, ((1,),), ()),
            lambda: native.sample_rows(VALUE, (), VALUE, ((1,),), ([body],)),
            lambda: native.sample_rows(VALUE, (body,), VALUE, ((1,),), ()),
        ]
        for call in wrong:
            with pytest.raises(TypeError):
                call()

    @pytest.mark.parametrize("values", [[1], None, 1, (1.0,), (Index(),)])
    def test_values_are_tuples_of_int(self, values: object) -> None:
        with pytest.raises(TypeError):
            core.required().sample_rows(VALUE, (), VALUE, (values,), ())


def calls(native: Any, rows: object) -> list[Any]:
    return [
        lambda: native.packed_rows(VALUE, rows, None),
        lambda: native.packed_rows(VALUE, rows, NUMBERS),
        lambda: native.message_rows(b"\x08", rows),
        lambda: native.mark_rows(rows, bytearray(7)),
    ]
