"""A profiler in the test's own process, whose profiles and spans the test reads."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Tracer

from otelprof.collectors.stack import stack_collector
from otelprof.config import Config, SamplerChoice
from otelprof.labels import spans_by
from otelprof.model import Profile, SpanRecord
from otelprof.spans import SpanLog, SpanRecorder


class Session:
    """Collects stacks while it is open; `profiles` and `spans` are there when it is closed."""

    def __init__(self, sampler: str, rate_hz: float) -> None:
        self.log = SpanLog()
        config = Config(rate_hz=rate_hz, sampler=cast("SamplerChoice", sampler))
        spans = spans_by(self.log.local_root_of)
        self.collector = stack_collector(("cpu", "wall"), config, spans)
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SpanRecorder(self.log))
        self.tracer: Tracer = self.provider.get_tracer("tests")
        self.profiles: list[Profile] = []
        self.spans: tuple[SpanRecord, ...] = ()

    def profile(self, kind: str) -> Profile:
        """The profile of a kind."""
        return next(profile for profile in self.profiles if profile.kind == kind)


@contextmanager
def profiling(sampler: str, rate_hz: float = 200.0) -> Iterator[Session]:
    """Profile the body of a `with` statement."""
    session = Session(sampler, rate_hz)
    try:
        session.collector.start()
        yield session
    finally:
        session.collector.stop()
        session.provider.shutdown()
    session.profiles = session.collector.drain()
    session.spans = session.log.take()
