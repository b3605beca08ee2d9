"""The chain: processors in the order of the configuration, each with counters, and none that stops delivery."""

import logging
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any, cast

from otelprof.config import Config
from otelprof.errors import ConfigError, OtelprofError
from otelprof.extensions import PROCESSORS, load
from otelprof.interfaces import Processor, SpanRecordProcessor
from otelprof.model import Profile, SpanRecord
from otelprof.processors.tables import samples_of

_log = logging.getLogger("otelprof")


def build_chain(config: Config, from_caller: Collection[str] = ()) -> "ProcessorChain":
    """The chain of `config.processors`.

    A processor that cannot be built lets no profile through, as what it was to hold back would leave; one line
    says so (docs/decisions/0011).

    Args:
        config: with the settings of all processors.
        from_caller: settings that were given as arguments.

    Raises:
        ConfigError: a processor does not exist or cannot be built, because of a setting in `from_caller`.
    """
    chain: dict[str, Processor] = {}
    for name in config.processors:
        try:
            chain[name] = _built(name, config)
        except ConfigError as error:
            if error.setting in from_caller:
                raise
            _log.warning("otelprof: %s: no profiles leave: %s", name, error)
            chain[name] = _Missing(error)
    return ProcessorChain(chain)


class ProcessorChain:
    """What profiles and spans go through before they leave. `process` is called from one thread at a time.

    Args:
        processors: by name, in their order.
    """

    def __init__(self, processors: Mapping[str, Processor]) -> None:
        self._steps = [_Step(name, processor) for name, processor in processors.items()]

    def process(self, profiles: Sequence[Profile]) -> list[Profile]:
        """What leaves of `profiles`. Never raises: what could not be processed is counted."""
        left = list(profiles)
        for step in self._steps:
            left = step.process(left)
        return left

    def process_spans(self, spans: Sequence[SpanRecord]) -> tuple[SpanRecord, ...]:
        """What leaves of `spans`, by the processors that change spans. Never raises."""
        left = tuple(spans)
        for step in self._steps:
            left = step.process_spans(left)
        return left

    def statistics(self) -> dict[str, int]:
        """Counters of each processor, `processors.NAME.COUNTER` (docs/running.md)."""
        return {
            f"processors.{step.name}.{counter}": count
            for step in self._steps
            for counter, count in step.counters.items()
        }

    def after_fork(self) -> None:
        """Count anew in a forked child."""
        for step in self._steps:
            step.counters = _counters()


class _Step:
    """One processor with its counters."""

    def __init__(self, name: str, processor: Processor) -> None:
        self.name = name
        self.counters = _counters()
        self._processor = processor
        self._has_said = isinstance(processor, _Missing)

    def process(self, profiles: Sequence[Profile]) -> list[Profile]:
        began_ns = time.thread_time_ns()
        left: list[Profile] = []
        for profile in profiles:
            processed = self._process(profile)
            if processed is not None and len(processed):
                left.append(processed)
            if processed is None or processed.values is not profile.values:
                kept = 0 if processed is None else samples_of(processed)
                self.counters["dropped_samples"] += max(0, samples_of(profile) - kept)
        self.counters["in_profiles"] += len(profiles)
        self.counters["out_profiles"] += len(left)
        self.counters["cpu_ns"] += time.thread_time_ns() - began_ns
        return left

    def process_spans(self, spans: tuple[SpanRecord, ...]) -> tuple[SpanRecord, ...]:
        processor = self._processor
        if not isinstance(processor, SpanRecordProcessor):
            return spans
        began_ns = time.thread_time_ns()
        left: list[SpanRecord] = []
        for span in spans:
            try:
                left.append(processor.process_span(span))
            except Exception as error:  # noqa: BLE001 - other people's code
                self._failed(error, "spans")
                if not processor.is_required:
                    left.append(span)
        self.counters["dropped_spans"] += len(spans) - len(left)
        self.counters["cpu_ns"] += time.thread_time_ns() - began_ns
        return tuple(left)

    def _process(self, profile: Profile) -> Profile | None:
        """What leaves of `profile`; None if it may not as it is, and could not be processed."""
        try:
            processed = cast("object", self._processor.process(profile))
        except Exception as error:  # noqa: BLE001 - other people's code
            self._failed(error, "profiles")
        else:
            if isinstance(processed, Profile):
                return processed
            self._failed(TypeError(f"process returned {processed!r:.80}"), "profiles")
        return None if self._processor.is_required else profile

    def _failed(self, error: Exception, what: str) -> None:
        """Count and say it once. Not what the error says: it may be what must not leave."""
        self.counters["errors"] += 1
        if not self._has_said:
            self._has_said = True
            fate = "do not leave" if self._processor.is_required else "leave as they were"
            _log.warning(
                "otelprof: %s: %s that it cannot process %s: %s (more at level DEBUG)",
                self.name,
                what,
                fate,
                type(error).__name__,
            )
            _log.debug("otelprof: %s: it raised", self.name, exc_info=error)


class _Missing:
    """Stands where a processor could not be built."""

    is_required = True

    def __init__(self, error: ConfigError) -> None:
        self._error = error

    def process(self, profile: Profile) -> Profile:
        del profile  # whatever it is
        raise self._error


def _built(name: str, config: Config) -> Processor:
    """The processor of that name.

    Raises:
        ConfigError: there is none, or it cannot be built.
    """
    build = load(PROCESSORS, name, partial(ConfigError, setting="processors"))
    try:
        built: Any = build(config)
        is_one = isinstance(built.is_required, bool) and callable(built.process)
    except ConfigError:
        raise
    except Exception as error:  # other people's constructors
        reason = str(error) if isinstance(error, OtelprofError) else repr(error)
        raise ConfigError(f"{name}: cannot be built: {reason}", setting="processors") from error
    if not is_one:
        message = f"{name}: is no otelprof.interfaces.Processor: {built!r}"
        raise ConfigError(message, setting="processors")
    processor: Processor = built
    return processor


def _counters() -> Counter[str]:
    """All of them from the start, so that none is missing where nothing happened."""
    names = (
        "in_profiles",
        "out_profiles",
        "dropped_samples",
        "dropped_spans",
        "errors",
        "cpu_ns",
    )
    return Counter(dict.fromkeys(names, 0))
