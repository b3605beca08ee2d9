"""Runtime contexts of OpenTelemetry's that carry the C core's labels, or have what is attached noted.

`opentelemetry.context` loads this while it is itself being imported (entry point `opentelemetry_context`,
`OTEL_PYTHON_CONTEXT=otelprof`), so nothing here may import it, or anything that does.
"""

from contextlib import suppress
from contextvars import ContextVar, Token
from types import FunctionType
from typing import TYPE_CHECKING, Any, Protocol, TypeGuard, cast

from opentelemetry.context.context import Context, _RuntimeContext
from opentelemetry.context.contextvars_context import ContextVarsRuntimeContext

from otelprof.native import why_not

if TYPE_CHECKING:
    from otelprof import _core

Var = ContextVar[Any]

_METHODS = frozenset({"attach", "detach", "get_current"})


def runtime_context() -> _RuntimeContext:
    """What `OTEL_PYTHON_CONTEXT=otelprof` asks for; OpenTelemetry's own where there is no C core."""
    return ContextVarsRuntimeContext() if why_not() else cast("_RuntimeContext", labelling(None))


def labelling(var: Var | None) -> "_core.RuntimeContext":
    """The C core's runtime context over `var`, or over a variable of its own."""
    from otelprof import _core  # noqa: PLC0415 - only where there is one

    _RuntimeContext.register(_core.RuntimeContext)
    return _core.RuntimeContext(var)


def labelled_var(context: object) -> Var | None:
    """The variable of a runtime context that makes labels already; None of any other."""
    if isinstance(context, LabellingContext):
        return context.var
    if why_not():
        return None
    from otelprof import _core  # noqa: PLC0415 - only where there is one

    return context._current_context if type(context) is _core.RuntimeContext else None  # noqa: SLF001 - the name that OpenTelemetry's has


def is_stock(context: object) -> TypeGuard[ContextVarsRuntimeContext]:
    """Whether `context` is OpenTelemetry's own and nobody has put other methods into it."""
    return type(context) is ContextVarsRuntimeContext and _is_untouched(context)


def can_be_wrapped(context: object) -> TypeGuard[ContextVarsRuntimeContext]:
    """Whether `context` is another tool's whose Python code runs only inside `attach` and `detach`.

    It must keep contexts as OpenTelemetry does and say what is current as OpenTelemetry does: then the
    variable has the truth, and nothing of the tool's can meet a label in it, where it expects a context.
    """
    if not isinstance(context, ContextVarsRuntimeContext) or not _is_untouched(context):
        return False
    theirs = [c for c in type(context).__mro__ if c not in ContextVarsRuntimeContext.__mro__]
    code = {
        name
        for each in theirs
        for name, value in vars(each).items()
        if isinstance(value, FunctionType | property | staticmethod | classmethod)
    }
    return code <= {"__init__", "attach", "detach"}


def _is_untouched(context: ContextVarsRuntimeContext) -> bool:
    """Whether neither the object nor OpenTelemetry's class got other methods from somewhere."""
    functions = [vars(ContextVarsRuntimeContext).get(name) for name in _METHODS]
    return not _METHODS & vars(context).keys() and all(
        isinstance(function, FunctionType)
        and function.__module__ == ContextVarsRuntimeContext.__module__
        and not hasattr(function, "__wrapped__")
        for function in functions
    )


class LabellingContext(_RuntimeContext):
    """Another tool's runtime context with labels put in after it.

    While the tool's code runs the variable holds what the tool put there; else it holds a label.
    """

    def __init__(self, inner: ContextVarsRuntimeContext) -> None:
        self.inner = inner
        self.var: Var = inner._current_context  # noqa: SLF001 - see can_be_wrapped
        self._labels = labelling(self.var)

    @property
    def _current_context(self) -> Var:
        """The ContextVar, under the name that OpenTelemetry's own runtime context gives it."""
        return self.var

    def attach(self, context: Context) -> Token[Context]:
        """Let the tool attach, then label what it has attached. The token is the tool's."""
        self._unlabel()
        try:
            return self.inner.attach(context)
        finally:
            self._label()

    def get_current(self) -> Context:
        """What is attached: as `can_be_wrapped` has made sure, the tool would say the same."""
        return self._labels.get_current()

    def detach(self, token: Token[Context]) -> None:
        """Let the tool detach, then label what is current again."""
        self._unlabel()
        try:
            self.inner.detach(token)
        finally:
            self._label()

    def _unlabel(self) -> None:
        value = self.var.get(None)
        if value is not None and not isinstance(value, Context):
            self.var.set(self._labels.get_current())

    def _label(self) -> None:
        value = self.var.get(None)
        if isinstance(value, Context):
            with suppress(Exception):  # then it is unknown, but what the tool did has succeeded
                self._labels.attach(value)


class Watcher(Protocol):
    """Who notes what passes a `RecordingContext`: `context.SpanReader`."""

    def note_attach(self, token: Token[Any]) -> None:
        """Something was attached by this thread."""
        ...

    def note_detach(self, token: Token[Any]) -> None:
        """What was attached is about to be detached by this thread."""
        ...

    def give_up(self) -> None:
        """A note was missed: what is known may be wrong."""
        ...


class RecordingContext(_RuntimeContext):
    """A runtime context that has every attach and detach noted: for the sampler in Python."""

    def __init__(self, inner: _RuntimeContext, watcher: Watcher) -> None:
        self.inner = inner
        self.is_active = True
        self._watcher = watcher

    @property
    def _current_context(self) -> object:
        """The ContextVar, under the name that OpenTelemetry's own runtime context gives it."""
        return getattr(self.inner, "_current_context", None)

    def attach(self, context: Context) -> Token[Any]:
        """Attach, then note the Context."""
        token = self.inner.attach(context)
        if not self.is_active:
            return token
        try:
            self._watcher.note_attach(token)
        except Exception:  # noqa: BLE001 - whatever goes wrong with the label, the attach has succeeded
            self._watcher.give_up()
        return token

    def get_current(self) -> Context:
        """What is attached."""
        return self.inner.get_current()

    def detach(self, token: Token[Any]) -> None:
        """Note it, then detach."""
        if self.is_active:
            try:
                self._watcher.note_detach(token)
            except Exception:  # noqa: BLE001 - as above
                self._watcher.give_up()
        self.inner.detach(token)


def plain(value: object) -> Context | None:
    """The context in a value of the variable: itself, or what a label stands for."""
    context = value if isinstance(value, Context) else getattr(value, "context", None)
    return context if isinstance(context, Context) else None
