import gzip
from dataclasses import replace

import pytest

from otelprof.errors import FormatError
from otelprof.formats import pprof
from otelprof.model import UNKNOWN_PRODUCER, Producer, Profile, ValueType
from tests.support.golden import Golden
from tests.support.profiles import (
    DURATION_NS,
    LEAF,
    MIDDLE,
    OTHER_SPAN,
    PERIOD_NS,
    ROOT,
    ROOTLESS_SPAN,
    SPAN,
    START_UNIX_NS,
    Place,
    Row,
    cpu_and_wall,
    profile_of,
    row,
    rows_of,
)
from tests.support.wire import Message

CPU, WALL = cpu_and_wall()


def plain(blob: bytes) -> bytes:
    return gzip.decompress(blob)


def sorted_rows(profile: Profile) -> list[Row]:
    return sorted(rows_of(profile))


class TestBytes:
    def test_cpu_and_wall_in_one_file(self, golden: Golden) -> None:
        golden.check("cpu_and_wall.pprof", plain(pprof.encode([CPU, WALL])))

    def test_a_profile_without_rows(self, golden: Golden) -> None:
        golden.check("no_rows.pprof", plain(pprof.encode([profile_of()])))

    def test_are_equal_for_equal_input(self) -> None:
        assert pprof.encode([CPU, WALL]) == pprof.encode(cpu_and_wall())

    def test_are_gzip_without_a_time(self) -> None:
        header = pprof.encode([CPU])[:8]
        assert header == b"\x1f\x8b\x08\x00" + bytes(4)

    def test_no_profile_is_no_file(self) -> None:
        with pytest.raises(FormatError, match="no profile"):
            pprof.encode([])

    def test_a_filename_that_is_no_unicode_does_not_stop_the_flush(self) -> None:
        # os.fsdecode turns the byte 0xFF into this; code objects carry such names.
        odd = row(LEAF._replace(filename="/srv/\udcff/db.py"), ROOT, values=(1, 10))
        (decoded,) = pprof.decode(pprof.encode([profile_of(odd)]))
        assert decoded.values == ((1,), (10,))


class TestWire:
    """The numbers of google/pprof's profile.proto, read without protobuf."""

    MESSAGE = Message(plain(pprof.encode([CPU, WALL])))
    STRINGS = MESSAGE.texts(6)

    def strings(self, message: Message, *fields: int) -> list[str]:
        return [self.STRINGS[message.number(field)] for field in fields]

    def test_string_table_starts_with_the_empty_string_and_has_no_doubles(self) -> None:
        assert self.STRINGS[0] == ""
        assert len(set(self.STRINGS)) == len(self.STRINGS)

    def test_sample_types_are_one_count_and_two_times(self) -> None:
        types = [self.strings(message, 1, 2) for message in self.MESSAGE.messages(1)]
        assert types == [["samples", "count"], ["cpu", "nanoseconds"], ["wall", "nanoseconds"]]

    def test_cpu_is_what_a_viewer_shows_first(self) -> None:
        assert self.strings(self.MESSAGE, 14) == ["cpu"]

    def test_wall_is_what_a_viewer_shows_first_where_it_is_alone(self) -> None:
        message = Message(plain(pprof.encode([WALL])))
        assert message.texts(6)[message.number(14)] == "wall"

    def test_a_sample_has_locations_values_and_labels(self) -> None:
        (first,) = (m for m in self.MESSAGE.messages(2) if m.numbers(2)[0] == 3)
        assert first.numbers(2) == [3, 31_000_000, 40_000_000]
        assert [tuple(self.strings(label, 1, 2)) for label in first.messages(3)] == [
            ("trace_id", SPAN.trace_id.hex()),
            ("span_id", SPAN.span_id.hex()),
            ("local_root_span_id", SPAN.local_root_span_id.hex()),
            ("thread_name", "MainThread"),
        ]
        assert [self.place(number) for number in first.numbers(1)] == [LEAF, MIDDLE, ROOT]

    def place(self, location_id: int) -> Place:
        (location,) = (m for m in self.MESSAGE.messages(4) if m.number(1) == location_id)
        (line,) = location.messages(4)
        (function,) = (m for m in self.MESSAGE.messages(5) if m.number(1) == line.number(1))
        name, filename = self.strings(function, 2, 4)
        return Place(name, filename, function.number(5), *(line.number(n) for n in (2, 3)))

    def test_every_sample_has_one_value_a_type(self) -> None:
        assert sorted(m.numbers(2) for m in self.MESSAGE.messages(2)) == [
            [0, 0, 90_000_000],
            [1, 9_000_000, 0],
            [1, 10_000_000, 0],
            [2, 20_000_000, 0],
            [3, 31_000_000, 40_000_000],
        ]

    def test_ids_are_unique_and_never_zero(self) -> None:
        for field in (3, 4, 5):
            ids = [message.number(1) for message in self.MESSAGE.messages(field)]
            assert ids
            assert 0 not in ids
            assert len(set(ids)) == len(ids)

    def test_every_location_is_in_the_one_mapping_that_is_fully_symbolized(self) -> None:
        (mapping,) = self.MESSAGE.messages(3)
        assert [mapping.number(field) for field in (7, 8, 9)] == [1, 1, 1]
        assert {m.number(2) for m in self.MESSAGE.messages(4)} == {mapping.number(1)}

    def test_system_name_is_empty_so_that_names_in_angle_brackets_stay_whole(self) -> None:
        assert {f.number(3) for f in self.MESSAGE.messages(5)} == {0}

    def test_window_and_period_are_there(self) -> None:
        message = self.MESSAGE
        assert message.number(9) == START_UNIX_NS
        assert message.number(10) == DURATION_NS
        assert self.strings(message.message(11), 1, 2) == ["cpu", "nanoseconds"]
        assert message.number(12) == PERIOD_NS

    def test_what_pprof_has_no_field_for_is_a_comment(self) -> None:
        assert [self.STRINGS[number] for number in self.MESSAGE.numbers(13)] == [
            "process.command_args=('python', 'app.py')",
            "process.pid=4711",
            "service.name=shop",
            "shop.canary=True",
            "shop.ratio=0.25",
            "otelprof.producer.version=0.1.0",
            "otelprof.producer.sampler=python",
            "otelprof.producer.reason=a test",
            "otelprof.lost.overflow=2",
            "otelprof.lost.truncated=5",
        ]


class TestDecodedAgain:
    def test_cpu_is_what_it_was_but_for_its_id_and_the_types_of_its_resource(self) -> None:
        cpu = pprof.decode(pprof.encode([CPU]))[0]
        assert sorted_rows(cpu) == sorted_rows(CPU)
        changed = {"profile_id", "resource", "tables", "stack", "link", "labels", "values"}
        for name in set(Profile.__dataclass_fields__) - changed:
            assert getattr(cpu, name) == getattr(CPU, name), name
        assert cpu.problem() is None

    def test_links_keep_their_local_root_and_lack_it_where_it_was_unknown(self) -> None:
        links = {r.link for r in rows_of(pprof.decode(pprof.encode([CPU]))[0])}
        assert {SPAN, ROOTLESS_SPAN} <= links

    def test_resource_comes_back_as_strings(self) -> None:
        assert pprof.decode(pprof.encode([CPU]))[0].resource == (
            ("process.command_args", "('python', 'app.py')"),
            ("process.pid", "4711"),
            ("service.name", "shop"),
            ("shop.canary", "True"),
            ("shop.ratio", "0.25"),
        )

    def test_values_of_the_resource_may_hold_an_equals_sign(self) -> None:
        profile = replace(CPU, resource=(("options", "a=b,c=d"),))
        assert pprof.decode(pprof.encode([profile]))[0].resource == (("options", "a=b,c=d"),)

    def test_producer_and_losses_come_back(self) -> None:
        cpu = pprof.decode(pprof.encode([CPU]))[0]
        assert cpu.producer == Producer("0.1.0", "python", "a test")
        assert cpu.losses == (("overflow", 2), ("truncated", 5))

    def test_a_profile_that_names_no_producer_stays_without(self) -> None:
        assert pprof.decode(pprof.encode([profile_of()]))[0].producer == UNKNOWN_PRODUCER

    def test_rows_without_a_line_or_start_line_keep_their_zeros(self) -> None:
        odd = row(Place("(frames elided)", "", 0, 0), ROOT, values=(1, 10))
        assert rows_of(pprof.decode(pprof.encode([profile_of(odd)]))[0]) == [odd]

    def test_a_profile_without_rows_is_still_a_profile(self) -> None:
        (profile,) = pprof.decode(pprof.encode([profile_of()]))
        assert rows_of(profile) == []
        assert profile.value_types == CPU.value_types

    def test_a_kind_that_value_types_do_not_tell_is_named(self) -> None:
        types = (ValueType("objects", "count"), ValueType("space", "bytes"))
        heap = profile_of(row(LEAF, values=(2, 64)), kind="heap", value_types=types)
        (profile,) = pprof.decode(pprof.encode([heap]))
        assert (profile.kind, profile.value_types) == ("heap", types)
        assert rows_of(profile) == rows_of(heap)

    def test_several_of_them_are_one_profile_named_after_the_first_value_type(self) -> None:
        heap = profile_of(
            row(LEAF, values=(2,)), kind="heap", value_types=(ValueType("space", "bytes"),)
        )
        lock = profile_of(
            row(LEAF, values=(3,)), kind="lock", value_types=(ValueType("delay", "nanoseconds"),)
        )
        (profile,) = pprof.decode(pprof.encode([heap, lock]))
        assert (profile.kind, rows_of(profile)) == ("space", [row(LEAF, values=(2, 3))])

    def test_a_label_without_a_value_is_left_out(self) -> None:
        # pprof has no empty label: the tool would show the number 0.
        labelled = profile_of(row(LEAF, values=(1, 10), mode="", thread_name="a"))
        (profile,) = pprof.decode(pprof.encode([labelled]))
        assert rows_of(profile) == [row(LEAF, values=(1, 10), thread_name="a")]


class TestCpuAndWall:
    def test_come_back_as_two_profiles(self) -> None:
        profiles = pprof.decode(pprof.encode([CPU, WALL]))
        assert [p.kind for p in profiles] == ["cpu", "wall"]
        assert [p.problem() for p in profiles] == [None, None]
        assert [p.period_type for p in profiles] == [CPU.period_type, WALL.period_type]

    def test_cpu_keeps_its_count_and_wall_its_weight(self) -> None:
        cpu, wall = pprof.decode(pprof.encode([CPU, WALL]))
        assert sorted_rows(cpu) == sorted_rows(CPU)
        assert wall.value_types == (ValueType("wall", "nanoseconds"),)
        assert sorted_rows(wall) == sorted(r._replace(values=r.values[1:]) for r in rows_of(WALL))

    def test_in_the_other_order_wall_samples_are_not_taken_for_cpu(self) -> None:
        cpu, *_ = pprof.decode(pprof.encode([WALL, CPU]))
        assert (cpu.kind, sum(cpu.column("cpu"))) == ("cpu", sum(CPU.column("cpu")))
        if any(value_type.type == "samples" for value_type in cpu.value_types):
            assert sum(cpu.column("samples")) == sum(CPU.column("samples"))

    def test_window_is_the_hull_of_both(self) -> None:
        later = replace(WALL, start_unix_ns=START_UNIX_NS + 1_000)
        cpu, wall = pprof.decode(pprof.encode([CPU, later]))
        assert cpu.start_unix_ns == wall.start_unix_ns == START_UNIX_NS
        assert cpu.duration_ns == wall.duration_ns == DURATION_NS + 1_000

    def test_losses_of_one_pass_are_not_counted_twice(self) -> None:
        cpu, wall = pprof.decode(pprof.encode([CPU, replace(WALL, losses=(("overflow", 3),))]))
        assert cpu.losses == wall.losses == (("overflow", 3), ("truncated", 5))

    def test_a_row_that_only_wall_saw_is_no_row_of_cpu(self) -> None:
        cpu, wall = pprof.decode(pprof.encode([CPU, WALL]))
        assert OTHER_SPAN not in [r.link for r in rows_of(cpu)]
        assert OTHER_SPAN in [r.link for r in rows_of(wall)]
