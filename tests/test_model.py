import ast
import inspect
import re
from dataclasses import FrozenInstanceError, replace

import pytest

from otelprof import model
from otelprof.model import MAX_INT64, Frame, Function, Link, Profile, Tables, ValueType
from tests.support.profiles import (
    LEAF,
    MIDDLE,
    OTHER_SPAN,
    ROOT,
    SPAN,
    SPAN_ID,
    TRACE_ID,
    cpu_and_wall,
    profile_of,
    row,
)

VALID = profile_of(
    row(LEAF, MIDDLE, ROOT, values=(3, 30), link=SPAN, thread_name="main"),
    row(MIDDLE, ROOT, values=(1, 10), link=SPAN),
    row(ROOT, values=(2, 20)),
)
T = VALID.tables
ROWS = len(VALID)
SAMPLES, CPU = VALID.value_types
OUTSIDE = 99


def with_tables(tables: Tables) -> Profile:
    return replace(VALID, tables=tables)


def with_links(*links: Link) -> Profile:
    return with_tables(replace(T, links=(*T.links, *links)))


# Each plants one fault in a valid profile.
FAULTS = {
    # the profile itself
    "kind is empty": (replace(VALID, kind=""), "kind is empty"),
    "window starts before 1970": (
        replace(VALID, start_unix_ns=-1),
        f"start -1 ns and duration {VALID.duration_ns} ns may not be negative",
    ),
    "window has a negative length": (
        replace(VALID, duration_ns=-1),
        f"start {VALID.start_unix_ns} ns and duration -1 ns may not be negative",
    ),
    "period is zero": (replace(VALID, period=0), "period 0 is not positive"),
    "period is negative": (replace(VALID, period=-5), "period -5 is not positive"),
    "no value type": (replace(VALID, value_types=(), values=()), "value_types is empty"),
    "value type without a type": (
        replace(VALID, value_types=(SAMPLES, ValueType("", "nanoseconds"))),
        "value type ''/'nanoseconds' lacks a name",
    ),
    "value type without a unit": (
        replace(VALID, value_types=(SAMPLES, ValueType("cpu", ""))),
        "value type 'cpu'/'' lacks a name",
    ),
    "period type without a name": (
        replace(VALID, period_type=ValueType("", "")),
        "value type ''/'' lacks a name",
    ),
    "the same value type twice": (
        replace(VALID, value_types=(CPU, CPU)),
        "value_types has a double",
    ),
    "profile id is too short": (
        replace(VALID, profile_id=b"\x01" * 15),
        "profile_id has 15 bytes or is all zero, not 16 bytes",
    ),
    "profile id is all zero": (
        replace(VALID, profile_id=bytes(16)),
        "profile_id has 16 bytes or is all zero, not 16 bytes",
    ),
    "resource names a key twice": (
        replace(VALID, resource=(("host", "a"), ("host", "b"))),
        "resource has a key twice",
    ),
    "window ends after all time": (
        replace(VALID, duration_ns=MAX_INT64),
        f"end {VALID.start_unix_ns + MAX_INT64} ns does not fit into 64 bits",
    ),
    "period is too long": (
        replace(VALID, period=MAX_INT64 + 1),
        f"period {MAX_INT64 + 1} does not fit into 64 bits",
    ),
    "resource has a number that is too large": (
        replace(VALID, resource=(("pid", -MAX_INT64 - 2),)),
        "resource attribute 'pid' does not fit into 64 bits",
    ),
    "losses name a reason twice": (
        replace(VALID, losses=(("torn", 1), ("torn", 2))),
        "losses have a reason twice",
    ),
    "less than nothing is lost": (replace(VALID, losses=(("torn", -1),)), "loss 'torn' is -1"),
    "too much is lost": (
        replace(VALID, losses=(("torn", MAX_INT64 + 1),)),
        f"loss 'torn' is {MAX_INT64 + 1}",
    ),
    # row 0 of the tables
    "strings start with a text": (
        with_tables(replace(T, strings=("null", *T.strings[1:]))),
        "row 0 of strings is not the null value",
    ),
    "functions start with a function": (
        with_tables(replace(T, functions=(Function(1, 1, 1), *T.functions[1:]))),
        "row 0 of functions is not the null value",
    ),
    "frames start with a frame": (
        with_tables(replace(T, frames=(Frame(1, 1), *T.frames[1:]))),
        "row 0 of frames is not the null value",
    ),
    "stacks start with a stack": (
        with_tables(replace(T, stacks=((3, 2), *T.stacks[1:]))),
        "row 0 of stacks is not the null value",
    ),
    "links start with a link": (
        with_tables(replace(T, links=(OTHER_SPAN, *T.links[1:]))),
        "row 0 of links is not the null value",
    ),
    "label sets start with a label": (
        with_tables(replace(T, label_sets=(((1, 1),), *T.label_sets[1:]))),
        "row 0 of label_sets is not the null value",
    ),
    "a table has no row at all": (
        with_tables(replace(T, links=())),
        "row 0 of links is not the null value",
    ),
    # doubles in the tables
    "a string twice": (
        with_tables(replace(T, strings=(*T.strings, T.strings[1]))),
        "strings has a row twice",
    ),
    "a function twice": (
        with_tables(replace(T, functions=(*T.functions, T.functions[1]))),
        "functions has a row twice",
    ),
    "a frame twice": (
        with_tables(replace(T, frames=(*T.frames, T.frames[1]))),
        "frames has a row twice",
    ),
    "a stack twice": (
        with_tables(replace(T, stacks=(*T.stacks, T.stacks[1]))),
        "stacks has a row twice",
    ),
    "a link twice": (with_links(SPAN), "links has a row twice"),
    "a label set twice": (
        with_tables(replace(T, label_sets=(*T.label_sets, T.label_sets[1]))),
        "label_sets has a row twice",
    ),
    # functions, frames, stacks
    "function with a name outside strings": (
        with_tables(replace(T, functions=(*T.functions, Function(OUTSIDE, 1, 1)))),
        "function 4 points outside strings",
    ),
    "function with a negative filename": (
        with_tables(replace(T, functions=(*T.functions, Function(1, -1, 1)))),
        "function 4 points outside strings",
    ),
    "function that says nothing": (
        with_tables(replace(T, functions=(*T.functions, Function(0, 0, 1)))),
        "function 4 has neither name nor filename",
    ),
    "function that starts above its file": (
        with_tables(replace(T, functions=(*T.functions, Function(1, 1, -1)))),
        "function 4 starts at line -1",
    ),
    "function that starts below every file": (
        with_tables(replace(T, functions=(*T.functions, Function(1, 1, MAX_INT64 + 1)))),
        f"function 4 starts at line {MAX_INT64 + 1}",
    ),
    "frame of a function outside functions": (
        with_tables(replace(T, frames=(*T.frames, Frame(OUTSIDE, 1)))),
        "frame 4 points outside functions",
    ),
    "frame of the null function": (
        with_tables(replace(T, frames=(*T.frames, Frame(0, 1)))),
        "frame 4 points outside functions",
    ),
    "frame above its file": (
        with_tables(replace(T, frames=(*T.frames, Frame(1, -1)))),
        "frame 4 is at line -1",
    ),
    "frame left of its line": (
        with_tables(replace(T, frames=(*T.frames, Frame(1, 1, -1)))),
        "frame 4 is at column -1",
    ),
    "frame below every file": (
        with_tables(replace(T, frames=(*T.frames, Frame(1, MAX_INT64 + 1)))),
        f"frame 4 is at line {MAX_INT64 + 1}",
    ),
    "frame right of every line": (
        with_tables(replace(T, frames=(*T.frames, Frame(1, 1, MAX_INT64 + 1)))),
        f"frame 4 is at column {MAX_INT64 + 1}",
    ),
    "stack of a frame outside frames": (
        with_tables(replace(T, stacks=(*T.stacks, (1, OUTSIDE)))),
        "stack 4 points outside frames",
    ),
    "stack of the null frame": (
        with_tables(replace(T, stacks=(*T.stacks, (1, 0)))),
        "stack 4 points outside frames",
    ),
    # links
    "trace id is too short": (
        with_links(Link(TRACE_ID[:15], SPAN_ID)),
        "link 2 has ids of 15 and 8 bytes",
    ),
    "span id is too long": (
        with_links(Link(TRACE_ID, SPAN_ID * 2)),
        "link 2 has ids of 16 and 16 bytes",
    ),
    "local root is too short": (
        with_links(Link(TRACE_ID, SPAN_ID, b"\x01" * 7)),
        "link 2 has a local root of 7 bytes",
    ),
    "trace id of zeros": (with_links(Link(bytes(16), SPAN_ID)), "link 2 has an id of zeros"),
    "span id of zeros": (with_links(Link(TRACE_ID, bytes(8))), "link 2 has an id of zeros"),
    # labels
    "label with a key outside strings": (
        with_tables(replace(T, label_sets=(*T.label_sets, ((OUTSIDE, 1),)))),
        "label set 2 points outside strings",
    ),
    "label with an empty key": (
        with_tables(replace(T, label_sets=(*T.label_sets, ((0, 1),)))),
        "label set 2 points outside strings",
    ),
    "label with a value outside strings": (
        with_tables(replace(T, label_sets=(*T.label_sets, ((1, OUTSIDE),)))),
        "label set 2 points outside strings",
    ),
    "label set with a key twice": (
        with_tables(replace(T, label_sets=(*T.label_sets, ((1, 2), (1, 3))))),
        "label set 2 has a key twice",
    ),
    "label set in another order": (
        with_tables(
            replace(
                T,
                strings=(*T.strings, "a key", "z key"),
                label_sets=(
                    *T.label_sets,
                    ((len(T.strings) + 1, 1), (len(T.strings), 1)),
                ),
            )
        ),
        "label set 2 is not sorted by key",
    ),
    # columns
    "a column of values too many": (
        replace(VALID, values=(*VALID.values, VALID.values[0])),
        "3 columns of values for 2 value types",
    ),
    "column of links is too short": (
        replace(VALID, link=VALID.link[1:]),
        "columns differ in length",
    ),
    "column of labels is too long": (
        replace(VALID, labels=(*VALID.labels, 0)),
        "columns differ in length",
    ),
    "column of values is too short": (
        replace(VALID, values=(VALID.values[0], VALID.values[1][1:])),
        "columns differ in length",
    ),
    "row with a stack outside stacks": (
        replace(VALID, stack=(OUTSIDE, *VALID.stack[1:])),
        "a row points outside stacks or has no stack",
    ),
    "row without a stack": (
        replace(VALID, stack=(0, *VALID.stack[1:])),
        "a row points outside stacks or has no stack",
    ),
    "row with a link outside links": (
        replace(VALID, link=(OUTSIDE, *VALID.link[1:])),
        "a row points outside links",
    ),
    "row with a negative link": (
        replace(VALID, link=(-1, *VALID.link[1:])),
        "a row points outside links",
    ),
    "row with labels outside label sets": (
        replace(VALID, labels=(OUTSIDE, *VALID.labels[1:])),
        "a row points outside label_sets",
    ),
    "a negative value": (
        replace(VALID, values=((1, 2, -3), VALID.values[1])),
        "a value is negative",
    ),
    "a value that is too large": (
        replace(VALID, values=((1, 2, MAX_INT64 + 1), VALID.values[1])),
        "a value does not fit into 64 bits",
    ),
    "two rows that say the same": (
        replace(VALID, stack=(1,) * ROWS, link=(1,) * ROWS, labels=(0,) * ROWS),
        "two rows have the same stack, link and labels",
    ),
}


@pytest.mark.parametrize(
    "profile",
    [
        pytest.param(VALID, id="a small one"),
        pytest.param(profile_of(), id="one without rows"),
        pytest.param(replace(profile_of(), tables=Tables()), id="one with the least of tables"),
        pytest.param(replace(VALID, profile_id=b""), id="one without an id"),
        pytest.param(replace(VALID, start_unix_ns=0, duration_ns=0, period=1), id="a short one"),
        *(
            pytest.param(profile, id=f"{profile.kind} with everything")
            for profile in cpu_and_wall()
        ),
    ],
)
def test_a_valid_profile_has_no_problem(profile: Profile) -> None:
    assert profile.problem() is None


@pytest.mark.parametrize(("profile", "message"), FAULTS.values(), ids=FAULTS.keys())
def test_a_fault_is_told_in_words(profile: Profile, message: str) -> None:
    assert profile.problem() == message


def test_no_rule_is_without_a_fault_above() -> None:
    messages = [message for _, message in FAULTS.values()]
    rules = rules_of_the_model()
    assert len(rules) > 20, "this test no longer finds the rules"
    assert [rule for rule in rules if not any(re.fullmatch(rule, m) for m in messages)] == []


def rules_of_the_model() -> list[str]:
    """The message of every `yield` in the functions named `…_problems`, as a regular expression."""
    rules: list[str] = []
    for function in ast.parse(inspect.getsource(model)).body:
        if isinstance(function, ast.FunctionDef) and function.name.endswith("_problems"):
            rules += [
                pattern_of(node.value) for node in ast.walk(function) if isinstance(node, ast.Yield)
            ]
    return rules


def pattern_of(message: ast.expr | None) -> str:
    match message:
        case ast.Constant(value=str(text)):
            return re.escape(text)
        case ast.JoinedStr(values=parts):
            return "".join(pattern_of(part) for part in parts)
        case ast.FormattedValue():
            return ".*"
        case _:
            raise AssertionError(f"a rule yields something else than a text: {message}")


@pytest.mark.parametrize("value", [VALID, T], ids=["profile", "tables"])
def test_nothing_can_be_changed(value: Profile | Tables) -> None:
    with pytest.raises(FrozenInstanceError):
        setattr(value, next(iter(value.__slots__)), None)


def test_a_frame_needs_no_column() -> None:
    assert Frame(1, 7) == Frame(1, 7, 0)


def test_len_counts_rows() -> None:
    assert len(VALID) == 3


def test_a_column_is_found_by_the_type_of_its_values() -> None:
    assert VALID.column("cpu") == (30, 10, 20)
    assert VALID.column("samples") == (3, 1, 2)


def test_a_column_that_is_not_there_raises_key_error() -> None:
    with pytest.raises(KeyError, match="wall"):
        VALID.column("wall")


def test_tables_resolve_rows_to_strings() -> None:
    leaf = T.stacks[VALID.stack[0]][0]
    assert T.function_name(leaf) == "app.db.query"
    assert T.function_of(leaf).start_line == 5
    assert T.labels_of(VALID.labels[0]) == {"thread_name": "main"}
    assert T.labels_of(0) == {}
