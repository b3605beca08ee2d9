from dataclasses import replace

import pytest

from otelprof.comparison import means_same
from otelprof.formats import otlp, pprof
from otelprof.model import Attributes, Link, Profile, ValueType
from otelprof.version import __version__
from tests.support.golden import Golden
from tests.support.profiles import (
    DURATION_NS,
    LEAF,
    MIDDLE,
    OTHER_SPAN,
    PERIOD_NS,
    ROOT,
    ROOT_SPAN_ID,
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


def exported(*profiles: Profile, root_links: bool = False) -> list[Profile]:
    """What a receiver gets."""
    return otlp.decode(otlp.encode(profiles, root_links=root_links))


def in_full(*profiles: Profile) -> list[Profile]:
    """What our own files hold."""
    return otlp.decode(otlp.encode(profiles, full=True))


def assert_same(decoded: list[Profile], *profiles: Profile) -> None:
    assert len(decoded) == len(profiles)
    for one, other in zip(decoded, profiles, strict=True):
        assert means_same(one, other)


def sorted_rows(profile: Profile) -> list[Row]:
    return sorted(rows_of(profile))


class TestBytes:
    def test_what_leaves(self, golden: Golden) -> None:
        golden.check("cpu_and_wall.otlp", otlp.encode([CPU, WALL]))

    def test_in_full(self, golden: Golden) -> None:
        golden.check("cpu_and_wall_full.otlp", otlp.encode([CPU, WALL], full=True))

    def test_are_equal_for_equal_input(self) -> None:
        assert otlp.encode([CPU, WALL]) == otlp.encode(cpu_and_wall())
        assert otlp.encode([CPU, WALL], full=True) == otlp.encode(cpu_and_wall(), full=True)

    def test_no_profile_is_a_request_without_resources(self) -> None:
        assert otlp.decode(otlp.encode([])) == []

    def test_a_profile_whose_counts_are_all_0_is_for_our_own_files_only(self) -> None:
        """Its CPU time is less than half a period, and is counted in a later one."""
        idle = profile_of(row(LEAF, ROOT, values=(0, 400_000)), row(ROOT, values=(0, 0)))
        assert [profile.kind for profile in exported(idle, WALL)] == ["wall"]
        assert otlp.encode([idle]) == b""
        assert_same(in_full(idle), idle)

    def test_a_filename_that_is_no_unicode_does_not_stop_the_flush(self) -> None:
        # os.fsdecode turns the byte 0xFF into this; code objects carry such names.
        odd = row(LEAF._replace(filename="/srv/\udcff/db.py"), ROOT, values=(1, 10))
        assert [p.values for p in exported(profile_of(odd))] == [((1,),)]


class TestWire:
    """The numbers of OTLP 1.10's profiles.proto, read without protobuf."""

    REQUEST = Message(otlp.encode([CPU, WALL], full=True))
    DICTIONARY = REQUEST.message(2)
    STRINGS = DICTIONARY.texts(5)
    PROFILES = REQUEST.message(1).message(2).messages(2)

    def attributes(self, message: Message, field: int) -> dict[str, str]:
        """String attributes of a message whose `attribute_indices` are `field`."""
        table = self.DICTIONARY.messages(6)
        rows = [table[index] for index in message.numbers(field)]
        return {self.STRINGS[r.number(1)]: r.message(2).blob(1).decode() for r in rows}

    def test_a_sample_has_stack_1_attributes_2_link_3_values_4(self) -> None:
        (first,) = (s for s in self.PROFILES[1].messages(2) if s.numbers(4) == [31_000_000])
        assert set(first.fields) == {1, 2, 3, 4}
        assert self.attributes(first, 2) == {
            "thread_name": "MainThread",
            "otelprof.local_root_span_id": ROOT_SPAN_ID.hex(),
        }
        link = self.DICTIONARY.messages(4)[first.number(3)]
        assert (link.blob(1), link.blob(2)) == (SPAN.trace_id, SPAN.span_id)
        assert self.lines(first.number(1)) == [
            Place("app.db.query", "/srv/app/db.py", 5, 7, 12),
            Place("app.orders.Order.place", "/srv/app/orders.py", 10, 14),
            Place("app.main", "/srv/app/main.py", 1, 20),
        ]

    def lines(self, stack: int) -> list[Place]:
        found: list[Place] = []
        for index in self.DICTIONARY.messages(7)[stack].numbers(1):
            location = self.DICTIONARY.messages(2)[index]
            assert self.attributes(location, 4) == {"profile.frame.type": "cpython"}
            line = location.message(3)
            function = self.DICTIONARY.messages(3)[line.number(1)]
            name, filename = self.STRINGS[function.number(1)], self.STRINGS[function.number(3)]
            place = (function.number(4), *(line.number(n) for n in (2, 3)))
            found.append(Place(name, filename, *place))
        return found

    def test_every_table_starts_with_its_zero_value(self) -> None:
        for table in range(1, 8):
            assert self.DICTIONARY.blobs(table)[0] == b""

    def test_there_is_no_mapping_but_the_zero_one(self) -> None:
        assert self.DICTIONARY.blobs(1) == [b""]

    def test_a_profile_has_its_window_period_and_id(self) -> None:
        profile = self.PROFILES[0]
        assert profile.number(3) == START_UNIX_NS
        assert profile.number(4) == DURATION_NS
        assert profile.number(6) == PERIOD_NS
        assert profile.blob(7) == CPU.profile_id

    def test_each_value_type_is_a_profile(self) -> None:
        names = [
            [self.STRINGS[m.message(field).number(part)] for field in (1, 5) for part in (1, 2)]
            for m in self.PROFILES
        ]
        assert names == [
            ["samples", "count", "cpu", "nanoseconds"],
            ["cpu", "nanoseconds", "cpu", "nanoseconds"],
            ["samples", "count", "wall", "nanoseconds"],
            ["wall", "nanoseconds", "wall", "nanoseconds"],
        ]

    def test_resource_attributes_stand_inline(self) -> None:
        attributes = self.REQUEST.message(1).message(1).messages(1)
        values = {a.blob(1).decode(): a.message(2) for a in attributes}
        assert values["service.name"].texts(1) == ["shop"]
        assert values["shop.canary"].number(2) == 1
        assert values["process.pid"].number(3) == 4711
        assert list(values["shop.ratio"].fields) == [4]
        array = values["process.command_args"].message(5)
        assert [item.blob(1) for item in array.messages(1)] == [b"python", b"app.py"]

    def test_a_scope_that_nobody_claims_has_our_version(self) -> None:
        scope = Message(otlp.encode([profile_of()])).message(1).message(2).message(1)
        assert scope.texts(2) == [__version__]

    def test_the_scope_is_ours(self) -> None:
        scope = self.REQUEST.message(1).message(2).message(1)
        assert scope.texts(1) == ["otelprof"]
        assert scope.texts(2) == ["0.1.0"]


class TestInFull:
    def test_nothing_is_lost(self) -> None:
        assert_same(in_full(CPU, WALL), CPU, WALL)

    def test_rows_without_a_value_are_kept(self) -> None:
        profile = profile_of(row(LEAF, values=(0, 4_000_000)), row(ROOT, values=(0, 0)))
        assert_same(in_full(profile), profile)

    def test_a_profile_without_rows_is_kept(self) -> None:
        assert_same(in_full(profile_of()), profile_of())

    def test_a_profile_without_an_id_keeps_its_columns_together(self) -> None:
        profile = replace(CPU, profile_id=b"")
        assert_same(in_full(profile, WALL), profile, WALL)

    def test_two_profiles_without_an_id_stay_apart_even_if_they_are_equal(self) -> None:
        profile = replace(CPU, profile_id=b"")
        assert_same(in_full(profile, profile), profile, profile)

    @pytest.mark.parametrize(
        "resource",
        [
            pytest.param((), id="no attribute"),
            pytest.param((("a", ""), ("b", 0), ("c", 0.0), ("d", False), ("e", ())), id="zeros"),
            pytest.param((("a", -1), ("b", 2**63 - 1), ("c", -(2**63))), id="great numbers"),
            pytest.param((("a", float("inf")), ("b", 1e-300)), id="odd floats"),
            pytest.param((("a", ("",)), ("b", ("x", "y"))), id="lists"),
            pytest.param((("größe", "\U0001f525"), ("", "no key")), id="any unicode"),
        ],
    )
    def test_a_resource_keeps_the_types_of(self, resource: Attributes) -> None:
        profile = replace(CPU, resource=resource)
        (decoded,) = in_full(profile)
        # True == 1, so compare what they look like.
        assert repr(sorted(decoded.resource)) == repr(sorted(resource))

    def test_resources_that_differ_only_in_type_stay_apart(self) -> None:
        profiles = [replace(CPU, resource=(("a", True),)), replace(WALL, resource=(("a", 1),))]
        decoded = in_full(*profiles)
        assert repr([p.resource for p in decoded]) == repr([p.resource for p in profiles])

    def test_profiles_of_two_processes_keep_their_own_resource(self) -> None:
        other = replace(WALL, resource=(("process.pid", 4712),))
        assert_same(in_full(CPU, other), CPU, other)

    def test_versions_of_a_producer_are_scopes_of_their_own(self) -> None:
        other = replace(WALL, producer=WALL.producer._replace(version="0.2.0"))
        request = Message(otlp.encode([CPU, other]))
        assert [m.message(2).message(1).texts(2) for m in request.messages(1)] == [
            ["0.1.0"],
            ["0.2.0"],
        ]

    def test_spans_that_differ_only_in_their_local_root_stay_apart(self) -> None:
        profile = profile_of(
            row(LEAF, values=(1, 10), link=SPAN),
            row(LEAF, values=(2, 20), link=SPAN._replace(local_root_span_id=b"")),
        )
        assert_same(in_full(profile), profile)

    @pytest.mark.parametrize("key", ["thread_name", "thread.name", "otelprof.kind", "größe"])
    def test_a_label_keeps_its_key(self, key: str) -> None:
        profile = profile_of(row(LEAF, values=(1, 10))._replace(labels=((key, "x"),)))
        (decoded,) = in_full(profile)
        assert rows_of(decoded) == rows_of(profile)

    def test_two_windows_of_a_kind_stay_apart(self) -> None:
        later = replace(CPU, start_unix_ns=START_UNIX_NS + 1, profile_id=b"\x07" * 16)
        assert_same(in_full(CPU, later), CPU, later)


class TestWhatLeaves:
    def test_is_one_profile_a_kind(self) -> None:
        assert [p.kind for p in exported(CPU, WALL)] == ["cpu", "wall"]
        assert [p.problem() for p in exported(CPU, WALL)] == [None, None]

    def test_cpu_is_a_count_of_periods(self) -> None:
        (cpu,) = exported(CPU)
        assert cpu.value_types == (ValueType("samples", "count"),)
        assert (cpu.period_type, cpu.period) == (ValueType("cpu", "nanoseconds"), PERIOD_NS)
        assert sorted(cpu.values[0]) == sorted(CPU.column("samples"))

    def test_wall_is_its_weight(self) -> None:
        (wall,) = exported(WALL)
        assert wall.value_types == (ValueType("wall", "nanoseconds"),)
        assert (wall.period_type, wall.period) == (ValueType("wall", "nanoseconds"), PERIOD_NS)
        assert sorted(wall.values[0]) == sorted(WALL.column("wall"))

    def test_any_other_kind_is_its_last_value_type(self) -> None:
        types = (ValueType("alloc_objects", "count"), ValueType("alloc_space", "bytes"))
        alloc = profile_of(row(LEAF, values=(2, 64)), kind="alloc", value_types=types)
        (decoded,) = exported(alloc)
        assert (decoded.kind, decoded.value_types) == ("alloc", (types[1],))
        assert rows_of(decoded) == [row(LEAF, values=(64,))]

    def test_a_cpu_profile_without_counts_leaves_as_well(self) -> None:
        # Files of other producers have cpu/nanoseconds alone; `pprof.decode` makes this of them.
        alone = profile_of(row(LEAF, values=(10,)), value_types=(ValueType("cpu", "nanoseconds"),))
        (foreign,) = pprof.decode(pprof.encode([alone]))
        assert sum(map(sum, exported(foreign)[0].values)) > 0

    def test_samples_keep_their_span_and_lose_labels_and_local_root(self) -> None:
        (cpu,) = exported(CPU)
        assert sorted_rows(cpu) == sorted(
            Row(places, values[:1], Link(link.trace_id, link.span_id), ())
            for places, values, link, _ in rows_of(CPU)
        )

    def test_no_label_is_left_in_the_dictionary(self) -> None:
        blob = otlp.encode([CPU, WALL])
        for text in (b"MainThread", b"thread", b"unknown", ROOT_SPAN_ID.hex().encode()):
            assert text not in blob

    def test_rows_that_differ_only_in_labels_are_added_up(self) -> None:
        (cpu,) = exported(
            profile_of(
                row(LEAF, values=(1, 10), link=SPAN, thread_name="a"),
                row(LEAF, values=(2, 20), link=SPAN, thread_name="b"),
                row(LEAF, values=(4, 40), link=OTHER_SPAN, thread_name="b"),
            ),
        )
        assert sorted(cpu.values[0]) == [3, 4]

    def test_rows_of_two_columns_of_a_line_stay_two(self) -> None:
        profile = profile_of(
            row(LEAF, ROOT, values=(1, 10)), row(LEAF._replace(column=30), ROOT, values=(2, 20))
        )
        (cpu,) = exported(profile)
        assert sorted(r.places for r in rows_of(cpu)) == sorted(r.places for r in rows_of(profile))

    def test_rows_without_a_value_are_left_out(self) -> None:
        (cpu,) = exported(profile_of(row(LEAF, values=(0, 4_000_000)), row(ROOT, values=(1, 10))))
        assert [r.places for r in rows_of(cpu)] == [(ROOT,)]

    def test_id_window_producer_losses_and_resource_leave_too(self) -> None:
        (cpu,) = exported(CPU)
        assert sorted(cpu.resource) == sorted(CPU.resource)
        changed = {"value_types", "tables", "stack", "link", "labels", "values", "resource"}
        for name in set(Profile.__dataclass_fields__) - changed:
            assert getattr(cpu, name) == getattr(CPU, name), name

    def test_root_links_hang_samples_on_their_local_root(self) -> None:
        (wall,) = exported(
            profile_of(
                row(LEAF, values=(1, 10), link=SPAN),
                row(LEAF, values=(2, 20), link=OTHER_SPAN),
                row(MIDDLE, values=(4, 40), link=ROOTLESS_SPAN),
                kind="wall",
            ),
            root_links=True,
        )
        root = Link(SPAN.trace_id, ROOT_SPAN_ID)
        assert sorted_rows(wall) == [
            row(LEAF, values=(30,), link=root),
            row(MIDDLE, values=(40,), link=ROOTLESS_SPAN),
        ]
