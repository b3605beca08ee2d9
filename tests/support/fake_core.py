"""A stand-in for `otelprof._core`: a sampler that hands over what a test wrote, and the labels in plain Python."""

import sys
from array import array
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from opentelemetry.context.context import Context
from opentelemetry.trace import Span

from otelprof.formats import packing

if TYPE_CHECKING:
    from otelprof._core import Window

NO_LABEL, UNKNOWN_LABEL, FIRST_LABEL = 0, 1, 2
Code = tuple[str, str, int]
LabelRow = tuple[bytes, bytes, bytes, bool]


class Group(NamedTuple):
    """A row of a window: places leaf first, each a code, a line and maybe a column; a label's and a thread's row."""

    places: tuple[tuple[Code, int] | tuple[Code, int, int], ...]
    label: int = NO_LABEL
    thread: int = 0
    samples: int = 1
    wall_ns: int = 0
    cpu_ns: int = 0
    flags: int = 0


def window_of(
    *groups: Group,
    labels: Iterable[LabelRow] = (),
    threads: Iterable[tuple[int, int]] = ((1, 1),),
    losses: Mapping[str, int] | None = None,
    start_ns: int = 0,
    end_ns: int = 1_000_000_000,
) -> "Window":
    """A window as the core would hand it over; `labels` are those from row `FIRST_LABEL` on."""
    codes: dict[Code, int] = {}
    places: dict[tuple[int, ...], int] = {}
    stacks: dict[tuple[int, ...], int] = {}
    rows: list[int] = []
    for group in groups:
        stack = tuple(
            places.setdefault((codes.setdefault(code, len(codes)), line, *column), len(places))
            for code, line, *column in group.places
        )
        rows.append(stacks.setdefault(stack, len(stacks)))
    ends = [sum(map(len, list(stacks)[: n + 1])) for n in range(len(stacks))]
    return {
        "start_ns": start_ns,
        "end_ns": end_ns,
        "stack": array("I", rows).tobytes(),
        "label": array("I", (g.label for g in groups)).tobytes(),
        "thread": array("I", (g.thread for g in groups)).tobytes(),
        "flags": array("I", (g.flags for g in groups)).tobytes(),
        "samples": array("Q", (g.samples for g in groups)).tobytes(),
        "wall_ns": array("Q", (g.wall_ns for g in groups)).tobytes(),
        "cpu_ns": array("Q", (g.cpu_ns for g in groups)).tobytes(),
        "first_ns": array("Q", (start_ns for _ in groups)).tobytes(),
        "last_ns": array("Q", (end_ns for _ in groups)).tobytes(),
        "stack_ends": array("I", ends).tobytes(),
        "stack_places": array("I", (place for stack in stacks for place in stack)).tobytes(),
        "place_code": array("I", (place[0] for place in places)).tobytes(),
        "place_line": array("i", (place[1] for place in places)).tobytes(),
        "place_column": array("i", (sum(place[2:]) for place in places)).tobytes(),
        "codes": list(codes),
        "labels": [None, None, *labels],
        "threads": list(threads),
        "losses": dict(losses or {}),
    }


@dataclass(eq=False)
class Sampler:
    """Notes what it is asked for; `windows` are handed over one by one, then empty ones."""

    settings: dict[str, Any]
    windows: "list[Window]" = field(default_factory=list["Window"])
    calls: list[str] = field(default_factory=list[str])
    left_out: set[int] = field(default_factory=set[int])
    refuses: Exception | None = None  # what `start`, `drain` and `after_fork` raise

    def start(self) -> None:
        self._note("start")

    def stop(self) -> None:
        self.calls.append("stop")

    def pause(self) -> None:
        self.calls.append("pause")

    def resume(self) -> None:
        self.calls.append("resume")

    def set_period_ns(self, period_ns: int) -> None:
        self.settings["period_ns"] = period_ns

    def leave_out(self, native_id: int) -> None:
        self.left_out.add(native_id)

    def drain(self) -> "Window":
        self._note("drain")
        return self.windows.pop(0) if self.windows else window_of()

    def health(self) -> Mapping[str, int | str]:
        return {"samples": 7, "passes": 3, "backend": "memfd"}

    def resident_bytes(self) -> int:
        return 4096

    def after_fork(self) -> None:
        self._note("after_fork")

    def _note(self, call: str) -> None:
        self.calls.append(call)
        if self.refuses is not None:
            raise self.refuses


@dataclass(frozen=True, eq=False)
class FakeLabel:
    """As the core's."""

    context: Context
    trace_id: bytes
    span_id: bytes
    local_root_span_id: bytes
    is_sampled: bool
    has_span: bool = True


class FakeCore(ModuleType):
    """The module. `fails` is what the next `Sampler` raises when it is made; `samplers` are those made."""

    COMPILED_FOR = sys.hexversion
    NO_LABEL = NO_LABEL
    UNKNOWN_LABEL = UNKNOWN_LABEL
    FLAG_HELD_GIL = 1
    FLAG_ON_CPU = 2
    Label = FakeLabel
    packed_rows = staticmethod(packing.packed_rows)
    message_rows = staticmethod(packing.message_rows)
    mark_rows = staticmethod(packing.mark_rows)
    ranked_rows = staticmethod(packing.ranked_rows)
    sample_rows = staticmethod(packing.sample_rows)

    def __init__(self) -> None:
        super().__init__("otelprof._core")
        self.fails: Exception | None = None
        self.samplers: list[Sampler] = []
        self.makes_labels = False
        self.span_key = ""
        self.local_root_of: Callable[[Span], int] | None = None
        core = self

        class RuntimeContext:
            """As the core's, bound to this module."""

            def __init__(self, var: ContextVar[Any] | None = None) -> None:
                if var is None:
                    var = ContextVar("current_context", default=Context())  # noqa: B039 - it is immutable
                self._current_context = var

            def attach(self, context: Context) -> Token[Any]:
                return self._current_context.set(core.labelled(context, self._current_context))

            def get_current(self) -> Context:
                value = self._current_context.get()
                return value.context if isinstance(value, FakeLabel) else value

            def detach(self, token: Token[Any]) -> None:
                self._current_context.reset(token)

        self.RuntimeContext = RuntimeContext

    def Sampler(self, **settings: Any) -> Sampler:  # noqa: N802 - a class in the core
        if self.fails is not None:
            raise self.fails
        self.samplers.append(Sampler(settings))
        return self.samplers[-1]

    def set_labels(
        self,
        *,
        enabled: bool,
        span_key: str = "",
        local_root_of: Callable[[Span], int] | None = None,
    ) -> None:
        self.makes_labels, self.span_key = enabled, span_key
        self.local_root_of = local_root_of

    def labelled(self, context: Context, var: ContextVar[Any]) -> Context | FakeLabel:
        """What is put into the variable for `context`."""
        span = context.get(self.span_key) if self.makes_labels else None
        if not isinstance(span, Span):
            return context
        ids = span.get_span_context()
        if not ids.is_valid or ids.is_remote:
            return context
        trace_id = ids.trace_id.to_bytes(16, "big")
        root = self._root_of(span, var.get(None)).to_bytes(8, "big")
        span_id = ids.span_id.to_bytes(8, "big")
        return FakeLabel(context, trace_id, span_id, root, ids.trace_flags.sampled)

    def _root_of(self, span: Span, above: object) -> int:
        parent = getattr(span, "parent", None)
        if parent is None or parent.is_remote:
            return span.get_span_context().span_id
        if isinstance(above, FakeLabel) and above.span_id == parent.span_id.to_bytes(8, "big"):
            return int.from_bytes(above.local_root_span_id, "big")
        return 0 if self.local_root_of is None else self.local_root_of(span)
