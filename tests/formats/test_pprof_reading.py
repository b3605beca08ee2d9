"""Files of other producers, and files that were damaged."""

import gzip
import random
import zlib
from collections.abc import Callable

import pytest

from otelprof.errors import FormatError
from otelprof.formats import pprof
from otelprof.formats import pprof_pb2 as pb
from otelprof.model import NO_LINK, Link, Profile, ValueType
from tests.support.damage import Trial, mutants
from tests.support.profiles import SPAN, Place, cpu_and_wall, rows_of

VALID = pprof.encode(cpu_and_wall())
PLAIN = gzip.decompress(VALID)


def foreign() -> pb.Profile:
    """A profile as another producer writes it: cpu only, ids that are no row numbers."""
    strings = ["", "cpu", "nanoseconds", "run", "run.py", "loop", "loop.py", "pid", "mode", "user"]
    profile = pb.Profile(string_table=strings, period=10)
    profile.sample_type.add(type=1, unit=2)
    profile.period_type.type, profile.period_type.unit = 1, 2
    profile.function.add(id=900, name=3, filename=4, start_line=11)
    profile.function.add(id=800, name=5, filename=6, start_line=21)
    profile.location.add(id=77, address=0x1000).line.add(function_id=900, line=12)
    profile.location.add(id=5).line.add(function_id=800, line=22)
    profile.sample.add(location_id=[77, 5], value=[30])
    return profile


def string(message: pb.Profile, text: str) -> int:
    message.string_table.append(text)
    return len(message.string_table) - 1


def add_label(message: pb.Profile, key: str, value: str) -> None:
    message.sample[0].label.add(key=string(message, key), str=string(message, value))


def decoded(message: pb.Profile) -> Profile:
    (profile,) = pprof.decode(message.SerializeToString())
    return profile


class TestFilesOfOthers:
    def test_ids_need_not_be_row_numbers(self) -> None:
        profile = decoded(foreign())
        (only,) = rows_of(profile)
        assert only.places == (Place("run", "run.py", 11, 12), Place("loop", "loop.py", 21, 22))
        assert profile.problem() is None

    def test_bytes_may_come_without_gzip(self) -> None:
        blob = foreign().SerializeToString()
        assert pprof.decode(blob) == pprof.decode(gzip.compress(blob))

    def test_our_own_may_come_without_gzip(self) -> None:
        assert pprof.decode(PLAIN) == pprof.decode(VALID)

    def test_inlined_calls_are_frames_innermost_first(self) -> None:
        message = foreign()
        message.location[0].line.add(function_id=800, line=25)
        (only,) = rows_of(decoded(message))
        assert [place.line for place in only.places] == [12, 25, 22]

    def test_a_location_without_lines_is_named_by_its_address(self) -> None:
        message = foreign()
        del message.location[0].line[:]
        (only,) = rows_of(decoded(message))
        assert only.places[0] == Place("0x1000", "", 0, 0)

    def test_a_function_without_a_name_goes_by_its_file(self) -> None:
        message = foreign()
        message.function[0].name = 0
        (only,) = rows_of(decoded(message))
        assert only.places[0] == Place("run.py", "run.py", 11, 12)

    def test_a_function_without_name_and_file_is_a_question_mark(self) -> None:
        message = foreign()
        message.function[0].name = message.function[0].filename = 0
        profile = decoded(message)
        assert rows_of(profile)[0].places[0] == Place("?", "", 11, 12)
        assert profile.problem() is None

    def test_negative_lines_are_unknown_lines(self) -> None:
        message = foreign()
        message.function[0].start_line = message.location[0].line[0].line = -1
        profile = decoded(message)
        assert rows_of(profile)[0].places[0] == Place("run", "run.py", 0, 0)
        assert profile.problem() is None

    def test_numeric_labels_become_text(self) -> None:
        message = foreign()
        message.sample[0].label.add(key=7, num=4711)
        message.sample[0].label.add(key=8, str=9)
        (only,) = rows_of(decoded(message))
        assert only.labels == (("mode", "user"), ("pid", "4711"))

    def test_a_span_without_its_trace_stays_a_label(self) -> None:
        message = foreign()
        add_label(message, "span_id", "b0b1b2b3b4b5b6b7")
        (only,) = rows_of(decoded(message))
        assert only.link == NO_LINK
        assert only.labels == (("span_id", "b0b1b2b3b4b5b6b7"),)

    def test_ids_that_are_no_hex_stay_labels(self) -> None:
        message = foreign()
        add_label(message, "trace_id", "request 7")
        add_label(message, "span_id", "b0b1b2b3b4b5b6b7")
        (only,) = rows_of(decoded(message))
        assert only.link == NO_LINK
        assert dict(only.labels)["trace_id"] == "request 7"

    def test_ids_are_a_link_and_no_labels(self) -> None:
        message = foreign()
        add_label(message, "trace_id", SPAN.trace_id.hex())
        add_label(message, "span_id", SPAN.span_id.hex())
        (only,) = rows_of(decoded(message))
        assert only.link == Link(SPAN.trace_id, SPAN.span_id)
        assert only.labels == ()

    def test_samples_that_say_the_same_are_added_up(self) -> None:
        message = foreign()
        message.sample.append(message.sample[0])
        assert decoded(message).values == ((60,),)

    def test_samples_without_a_value_are_no_rows(self) -> None:
        message = foreign()
        message.sample.add(location_id=[5], value=[0])
        assert len(decoded(message)) == 1

    def test_a_weight_is_a_kind_without_its_count(self) -> None:
        profile = decoded(foreign())
        assert (profile.kind, profile.value_types) == ("cpu", (ValueType("cpu", "nanoseconds"),))

    def test_value_types_of_other_kinds_are_one_profile_beside_ours(self) -> None:
        message = foreign()
        message.sample_type.add(type=string(message, "alloc"), unit=string(message, "bytes"))
        message.sample_type.add(type=string(message, "inuse"), unit=string(message, "bytes"))
        message.sample[0].value.extend([64, 32])
        cpu, other = pprof.decode(message.SerializeToString())
        assert (cpu.kind, cpu.values) == ("cpu", ((30,),))
        assert (other.kind, other.values) == ("alloc", ((64,), (32,)))
        assert other.value_types == (ValueType("alloc", "bytes"), ValueType("inuse", "bytes"))

    def test_a_count_alone_is_no_cpu_profile(self) -> None:
        message = foreign()
        message.sample_type[0].type = string(message, "samples")
        message.sample_type[0].unit = string(message, "count")
        assert decoded(message).kind == "samples"

    def test_comments_without_an_equals_sign_are_nothing(self) -> None:
        message = foreign()
        message.comment.append(string(message, "recorded on a Monday"))
        assert decoded(message).resource == ()

    def test_a_comment_that_comes_twice_counts_once(self) -> None:
        message = foreign()
        message.comment.extend([string(message, "host=a"), string(message, "host=b")])
        profile = decoded(message)
        assert profile.resource == (("host", "b"),)
        assert profile.problem() is None

    @pytest.mark.parametrize("count", ["many", "-1", "", "1.5"])
    def test_a_loss_that_is_no_count_is_zero(self, count: str) -> None:
        message = foreign()
        message.comment.append(string(message, f"otelprof.lost.overflow={count}"))
        assert decoded(message).losses == (("overflow", 0),)


def with_extra_value(message: pb.Profile) -> None:
    message.sample[0].value.append(1)


def without_values(message: pb.Profile) -> None:
    del message.sample[0].value[:]


def without_locations(message: pb.Profile) -> None:
    del message.location[:]


def without_functions(message: pb.Profile) -> None:
    del message.function[:]


def without_strings(message: pb.Profile) -> None:
    del message.string_table[:]


def with_a_first_string(message: pb.Profile) -> None:
    message.string_table[0] = "first"


def with_location_zero(message: pb.Profile) -> None:
    message.sample[0].location_id[0] = 0


def with_name(row: int) -> Callable[[pb.Profile], None]:
    def plant(message: pb.Profile) -> None:
        message.function[0].name = row

    return plant


def with_filename(row: int) -> Callable[[pb.Profile], None]:
    def plant(message: pb.Profile) -> None:
        message.function[0].filename = row

    return plant


def with_type(row: int) -> Callable[[pb.Profile], None]:
    def plant(message: pb.Profile) -> None:
        message.sample_type[0].type = row

    return plant


def with_period_unit(row: int) -> Callable[[pb.Profile], None]:
    def plant(message: pb.Profile) -> None:
        message.period_type.unit = row

    return plant


def with_label(key: int, value: int) -> Callable[[pb.Profile], None]:
    def plant(message: pb.Profile) -> None:
        message.sample[0].label.add(key=key, str=value)

    return plant


def with_comment(row: int) -> Callable[[pb.Profile], None]:
    def plant(message: pb.Profile) -> None:
        message.comment.append(row)

    return plant


HUGE = 2**62

DAMAGE = {
    "a value too many": (with_extra_value, "a sample has 2 values, not 1"),
    "no value": (without_values, "a sample has 0 values, not 1"),
    "no location": (without_locations, "location 77 does not exist"),
    "location 0": (with_location_zero, "location 0 does not exist"),
    "no function": (without_functions, "function 900 does not exist"),
    "no string": (without_strings, "string_table does not start with the empty string"),
    "no empty string": (with_a_first_string, "string_table does not start with the empty string"),
    "a negative name": (with_name(-1), "string -1 does not exist"),
    "a name outside": (with_name(HUGE), "outside its table"),
    "a negative filename": (with_filename(-2), "string -2 does not exist"),
    "a filename outside": (with_filename(HUGE), "outside its table"),
    "a negative value type": (with_type(-1), "string -1 does not exist"),
    "a value type outside": (with_type(HUGE), "outside its table"),
    "a negative period unit": (with_period_unit(-1), "string -1 does not exist"),
    "a period unit outside": (with_period_unit(HUGE), "outside its table"),
    "a negative label key": (with_label(-1, 1), "string -1 does not exist"),
    "a label key outside": (with_label(HUGE, 1), "outside its table"),
    "a negative label value": (with_label(1, -1), "string -1 does not exist"),
    "a label value outside": (with_label(1, HUGE), "outside its table"),
    "a negative comment": (with_comment(-1), "string -1 does not exist"),
    "a comment outside": (with_comment(HUGE), "outside its table"),
}


class TestDamage:
    @pytest.mark.parametrize(("plant", "message"), DAMAGE.values(), ids=DAMAGE.keys())
    def test_inside_the_profile_is_named(self, plant: Callable[[pb.Profile], None], message: str) -> None:
        profile = foreign()
        plant(profile)
        with pytest.raises(FormatError, match=rf"^pprof: .*{message}"):
            pprof.decode(profile.SerializeToString())

    @pytest.mark.parametrize(
        "blob",
        [
            pytest.param(b"", id="nothing"),
            pytest.param(b"not a profile", id="text"),
            pytest.param(b"\x1f\x8b", id="only the magic of gzip"),
            pytest.param(VALID[:-1], id="gzip without its last byte"),
            pytest.param(VALID[: len(VALID) // 2], id="half of the gzip"),
            pytest.param(VALID[:10], id="only the header of the gzip"),
            pytest.param(b"\x1f\x8b" + b"\xff" * 100, id="the magic of gzip and rubbish"),
            pytest.param(VALID[:-8] + bytes(8), id="gzip with a wrong checksum"),
            pytest.param(gzip.compress(PLAIN[:-1]), id="message without its last byte"),
            pytest.param(gzip.compress(b"rubbish" * 100), id="gzip of rubbish"),
            pytest.param(zlib.compress(PLAIN), id="zlib instead of gzip"),
            pytest.param(gzip.compress(VALID), id="gzip in gzip"),
            pytest.param(PLAIN.replace(b"shop", b"sh\xffp"), id="a string that is no UTF-8"),
        ],
    )
    def test_of_the_file_raises_format_error(self, blob: bytes) -> None:
        with pytest.raises(FormatError, match=r"^pprof: "):
            pprof.decode(blob)

    def test_a_bomb_is_not_inflated(self) -> None:
        bomb = gzip.compress(bytes(50_000_000), compresslevel=9)
        assert len(bomb) < 100_000
        with pytest.raises(FormatError, match="inflates to more than 1000000 bytes"):
            pprof.decode(bomb, max_bytes=1_000_000)

    def test_the_limit_is_the_last_size_that_is_read(self) -> None:
        assert len(pprof.decode(VALID, max_bytes=len(PLAIN))) == 2
        with pytest.raises(FormatError, match="inflates to more than"):
            pprof.decode(VALID, max_bytes=len(PLAIN) - 1)

    def test_a_loss_with_thousands_of_digits_is_no_other_error(self) -> None:
        message = foreign()
        message.comment.append(string(message, "otelprof.lost.overflow=" + "9" * 5_000))
        assert Trial(pprof.decode, [message.SerializeToString()]).leaks == []

    def test_random_bytes_raise_format_error_and_nothing_else(self) -> None:
        rng = random.Random(20)  # noqa: S311 - repeatable, not secret
        trial = Trial(pprof.decode, [rng.randbytes(rng.randint(1, 400)) for _ in range(300)])
        assert trial.leaks == []
        assert trial.refused > 290

    def test_damaged_gzip_raises_format_error_and_nothing_else(self) -> None:
        trial = Trial(pprof.decode, mutants(VALID, count=300, seed=21))
        assert trial.leaks == []
        assert trial.refused > 250

    def test_damaged_messages_decode_or_raise_format_error_and_nothing_else(self) -> None:
        trial = Trial(pprof.decode, mutants(PLAIN, count=300, seed=22))
        assert trial.leaks == []
        assert trial.refused > 50, "the damage is too small to say anything"
        assert len(trial.decoded) > 10, "the damage is too great to reach the decoder"
