"""Files of other producers, and files that were damaged."""

import gzip
import random
import zlib

import pytest

from otelprof.errors import FormatError
from otelprof.formats import pprof
from otelprof.formats import pprof_pb2 as pb
from otelprof.model import NO_LINK, Link, Profile, ValueType
from tests.support.damage import Trial, mutants, plant
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

    def test_columns_are_kept_and_negative_ones_unknown(self) -> None:
        message = foreign()
        message.location[0].line[0].column, message.location[1].line[0].column = 2**40, -1
        profile = decoded(message)
        assert [place.column for place in rows_of(profile)[0].places] == [2**40, 0]
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

    def test_a_value_type_without_a_name_is_of_unknown_kind(self) -> None:
        message = foreign()
        message.sample_type[0].type = 0
        assert decoded(message).kind == "unknown"

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

    def test_a_kind_that_value_types_tell_is_not_taken_from_a_comment(self) -> None:
        message = foreign()
        message.sample_type[0].type = string(message, "alloc")
        message.comment.append(string(message, "otelprof.kind=cpu"))
        assert decoded(message).kind == "alloc"

    def test_a_label_without_a_key_is_nothing(self) -> None:
        message = foreign()
        message.sample[0].label.add(str=8)
        assert rows_of(decoded(message))[0].labels == ()

    def test_a_label_of_an_empty_text_is_nothing(self) -> None:
        message = foreign()
        add_label(message, "mode", "")
        assert rows_of(decoded(message))[0].labels == ()

    def test_ids_of_zeros_are_no_link(self) -> None:
        message = foreign()
        add_label(message, "trace_id", "0" * 32)
        add_label(message, "span_id", "b0b1b2b3b4b5b6b7")
        assert rows_of(decoded(message))[0].link == NO_LINK

    def test_ids_with_blanks_in_them_are_no_hex(self) -> None:
        # bytes.fromhex skips them.
        message = foreign()
        add_label(message, "trace_id", "10 11 12 13 14 15 16 17 18 19 1a")
        add_label(message, "span_id", "b0b1b2b3b4b5b6b7")
        assert rows_of(decoded(message))[0].link == NO_LINK


OUTSIDE = 2**62

# Where the fault is planted in `foreign()`, which value (None: nothing), and how it is named.
DAMAGE = {
    "a value too many": ("sample.0.value", 1, "a sample has 2 values, not 1"),
    "no value": ("sample.0.value", None, "a sample has 0 values, not 1"),
    "no location": ("location", None, "location 77 does not exist"),
    "location 0": ("sample.0.location_id.0", 0, "location 0 does not exist"),
    "no function": ("function", None, "function 900 does not exist"),
    "no string": ("string_table", None, "string_table does not start with the empty string"),
    "no empty string": ("string_table.0", "x", "string_table does not start with the empty string"),
    "a negative name": ("function.0.name", -1, "string -1 does not exist"),
    "a name outside": ("function.0.name", OUTSIDE, "outside its table"),
    "a negative filename": ("function.0.filename", -2, "string -2 does not exist"),
    "a filename outside": ("function.0.filename", OUTSIDE, "outside its table"),
    "a negative value type": ("sample_type.0.type", -1, "string -1 does not exist"),
    "a value type outside": ("sample_type.0.type", OUTSIDE, "outside its table"),
    "a negative period unit": ("period_type.unit", -1, "string -1 does not exist"),
    "a period unit outside": ("period_type.unit", OUTSIDE, "outside its table"),
    "a negative label key": ("sample.0.label.0.key", -1, "string -1 does not exist"),
    "a label key outside": ("sample.0.label.0.key", OUTSIDE, "outside its table"),
    "a negative label value": ("sample.0.label.0.str", -1, "string -1 does not exist"),
    "a label value outside": ("sample.0.label.0.str", OUTSIDE, "outside its table"),
    "a negative comment": ("comment", -1, "string -1 does not exist"),
    "a comment outside": ("comment", OUTSIDE, "outside its table"),
}


class TestDamage:
    @pytest.mark.parametrize(("path", "value", "named"), DAMAGE.values(), ids=DAMAGE.keys())
    def test_inside_the_profile_is_named(
        self, path: str, value: int | str | None, named: str
    ) -> None:
        message = foreign()
        add_label(message, "mode", "user")
        assert decoded(message).problem() is None
        plant(message, path, value)
        with pytest.raises(FormatError, match=rf"^pprof: .*{named}"):
            pprof.decode(message.SerializeToString())

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

    def test_a_loss_with_thousands_of_digits_is_no_other_error(self) -> None:
        message = foreign()
        message.comment.append(string(message, "otelprof.lost.overflow=" + "9" * 5_000))
        assert Trial(pprof.decode, [message.SerializeToString()]).leaks == []

    def test_random_bytes_raise_format_error_and_nothing_else(self) -> None:
        rng = random.Random(20)
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
