"""T11: names, lines and columns are those that the interpreter itself tells of a thread that stands still."""

import asyncio
import contextlib
import operator
import sys
import threading
import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.native.installed import core
from tests.native.windows import PERIOD_NS, Frame, Row, rows_of

NAME_BYTES = 512  # OP_NAME_BYTES in codes.h
WARM = 64  # calls after which the interpreter has specialised its instructions
MARK = "Gate.wait"


class Gate:
    """Where a thread comes to stand still, once it is closed."""

    def __init__(self) -> None:
        self.is_closed = False
        self.arrived = threading.Event()
        self._opened = threading.Event()

    def wait(self) -> bool:
        if self.is_closed:
            self.arrived.set()
            self._opened.wait()
        return True

    def open(self) -> None:
        self._opened.set()


def frames_by_cpython(frame: types.FrameType | None) -> list[Frame]:
    frames: list[Frame] = []
    while frame is not None:
        code = frame.f_code
        places = list(code.co_positions())
        line, _, column, _ = places[frame.f_lasti // 2] if frame.f_lasti >= 0 else (None,) * 4
        assert line == frame.f_lineno
        place = frame.f_lineno, 0 if column is None else column + 1
        frames.append(Frame(code.co_filename, cut(code.co_qualname), code.co_firstlineno, *place))
        frame = frame.f_back
    return frames


def cut(name: str) -> str:
    """At a character, below the most bytes that are kept."""
    return name.encode("utf-8", "replace")[:NAME_BYTES].decode("utf-8", "ignore")


def frozen(workload: Callable[[Gate], object]) -> tuple[list[Frame], Row]:
    """The frames of a thread that stands still in `workload`, as CPython has them, and a sample of it."""
    gate = Gate()
    thread = threading.Thread(target=workload, args=(gate,), daemon=True)
    sampler = core.Sampler(period_ns=PERIOD_NS, cpu_budget=1.0, max_depth=1_000)
    gate.is_closed = True
    thread.start()
    assert gate.arrived.wait(60)
    sampler.start()
    before: list[Frame] = []
    rows: list[Row] = []
    frames = frames_by_cpython(sys._current_frames()[thread.ident or 0])
    while before != frames:  # until it stood still all along
        before = frames
        sampler.drain()
        rows = samples_of(thread, sampler)
        frames = frames_by_cpython(sys._current_frames()[thread.ident or 0])
    sampler.stop()
    gate.open()
    thread.join()
    assert len({row.stack for row in rows}) == 1
    return frames, rows[0]


def samples_of(thread: threading.Thread, sampler: core.Sampler) -> list[Row]:
    rows: list[Row] = []
    while not rows:
        rows = [row for row in rows_of(sampler.drain()) if row.thread[0] == thread.ident]
    return rows


class Operand:
    """Waits in every operation that Python code can stand behind."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def __add__(self, other: object) -> bool:
        return self._gate.wait()

    def __getitem__(self, key: object) -> bool:
        return self._gate.wait()

    def __setitem__(self, key: object, value: object) -> None:
        self._gate.wait()

    def __contains__(self, key: object) -> bool:
        return self._gate.wait()

    def __lt__(self, other: object) -> bool:
        return self._gate.wait()

    def __bool__(self) -> bool:
        return self._gate.wait()

    def __call__(self, *args: object, **kwargs: object) -> bool:
        return self._gate.wait()

    def __iter__(self) -> Iterator[bool]:
        self._gate.wait()
        yield self._gate.wait()

    def __enter__(self) -> bool:
        return self._gate.wait()

    def __exit__(self, *error: object) -> None:
        self._gate.wait()

    def __getattr__(self, name: str) -> bool:
        return self._gate.wait()

    @property
    def attribute(self) -> bool:
        return self._gate.wait()

    @attribute.setter
    def attribute(self, value: bool) -> None:
        self._gate.wait()

    def method(self, *args: object) -> bool:
        return self._gate.wait()


def in_with(operand: Operand) -> None:
    with operand:
        pass


def in_for(operand: Operand) -> None:
    for _ in operand:
        pass


def in_comprehension(operand: Operand) -> None:
    [
        item
        for item in operand  # a frame of its own before 3.12
        if item
    ]


def in_generator(operand: Operand) -> None:
    def generator() -> Iterator[bool]:
        yield from operand

    for _ in generator():
        pass


def in_class_body(operand: Operand) -> None:
    class Body:
        value = operand.method()

    del Body


def in_coroutine(operand: Operand) -> None:
    async def inner() -> None:
        await asyncio.sleep(0)
        operand.method()

    async def outer() -> None:
        await asyncio.gather(inner())

    asyncio.run(outer())


def in_finally(operand: Operand) -> None:
    with contextlib.suppress(KeyError):
        try:
            raise KeyError
        finally:
            operand.method()


def in_sort_key(operand: Operand) -> None:
    sorted([3, 1, 2], key=operand)


def set_item(operand: Operand) -> None:
    operand["key"] = (
        1,
        2,
    )


def set_attribute(operand: Operand) -> None:
    operand.attribute = True


OPERATIONS: dict[str, Callable[[Operand], object]] = {
    "binary": lambda operand: (
        0,
        operand + 1,
    ),
    "subscript": lambda operand: [operand[0], operand["key"]],
    "contains": lambda operand: 1 in operand,
    "compare": lambda operand: operand < 2,
    "truth": lambda operand: 1 if operand else 2,
    "call": lambda operand: operand(1, *(2, 3), key=4),
    "attribute": lambda operand: operand.attribute,
    "missing attribute": lambda operand: operand.missing,
    "method": lambda operand: operand.method(1, operand.method),
    "unpack": lambda operand: [*operand],
    "operator": lambda operand: operator.add(operand, 1),
    "with": in_with,
    "for": in_for,
    "comprehension": in_comprehension,
    "generator": in_generator,
    "class body": in_class_body,
    "coroutine": in_coroutine,
    "finally": in_finally,
    "sort key": in_sort_key,
    "set item": set_item,
    "set attribute": set_attribute,
}


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("calls", [1, WARM])
def test_t11_lines_and_columns_are_the_interpreters_own(name: str, calls: int) -> None:
    operation = OPERATIONS[name]

    def workload(gate: Gate) -> None:
        gate.is_closed = False
        operand = Operand(gate)
        for _ in range(calls - 1):
            operation(operand)
        gate.is_closed = True
        operation(operand)

    frames, row = frozen(workload)
    assert list(row.stack.frames) == frames
    assert MARK in row.names


def named(name: str) -> Callable[[Gate], bool]:
    """A function of any name, that waits."""

    def wait(gate: Gate) -> bool:
        return gate.wait()

    code = wait.__code__.replace(co_name=name, co_qualname=name, co_filename=f"/src/{name}.py")
    return types.FunctionType(code, globals())


NAMES = {
    "ASCII": "plain",
    "Latin-1": "größe_ÿ",
    "two bytes a character": "функция_値",
    "four bytes a character": "\U0001d4d5_😀",
    "as long as is kept": "a" * NAME_BYTES,
    "longer": "b" * 1_500,
    "longer in two bytes": "ж" * 1_500,
    "longer in four bytes": "x" + "😀" * 1_500,
}


@pytest.mark.parametrize("kind", NAMES)
def test_t11_names_are_kept_up_to_their_limit(kind: str) -> None:
    name = NAMES[kind]
    _, row = frozen(named(name))
    found = next(frame for frame in row.stack.frames if frame.filename.startswith("/src/"))
    assert found.name == cut(name)
    assert found.filename == f"/src/{name}.py".encode()[:1_024].decode("utf-8", "ignore")


class Text(str):
    __slots__ = ()


def test_t11_a_name_of_a_subclass_of_str_costs_no_more_than_the_name() -> None:
    scope: dict[str, Any] = {}
    source = "def wait(gate):\n    return gate.wait()\n"
    exec(compile(source, Text("/src/text.py"), "exec"), scope)
    _, row = frozen(scope["wait"])
    frame = row.stack.frames[row.names.index(MARK) + 1]
    assert (frame.name, frame.filename, frame.line) == ("wait", "(name not read)", 2)


def test_t11_nested_names_are_qualified() -> None:
    class Outer:
        class Inner:
            @staticmethod
            def method(gate: Gate) -> bool:
                wait: Callable[[], bool] = lambda: gate.wait() and True  # noqa: E731  # it is about lambdas
                return wait()

    _, row = frozen(Outer.Inner.method)
    prefix = "test_t11_nested_names_are_qualified.<locals>.Outer.Inner.method"
    at = row.names.index(MARK)
    assert row.names[at + 1 : at + 3] == (f"{prefix}.<locals>.<lambda>", prefix)
