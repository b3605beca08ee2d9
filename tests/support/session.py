"""A profiler in the test's own process, whose profiles and spans the test reads."""

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Tracer

from otelprof.collectors.stack import StackCollector
from otelprof.config import Config
from otelprof.context import SpanReader
from otelprof.model import Profile, SpanRecord
from otelprof.spans import SpanLog, SpanRecorder


class Session:
    """Collects stacks while it is open; `profiles` and `spans` are there when it is closed."""

    def __init__(self, rate_hz: float) -> None:
        self.log = SpanLog()
        self.reader = SpanReader(self.log.local_root_of)
        self.collector = StackCollector(("cpu", "wall"), Config(rate_hz=rate_hz), self.reader)
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SpanRecorder(self.log))
        self.tracer: Tracer = self.provider.get_tracer("tests")
        self.profiles: list[Profile] = []
        self.spans: tuple[SpanRecord, ...] = ()

    def profile(self, kind: str) -> Profile:
        """The profile of a kind."""
        return next(profile for profile in self.profiles if profile.kind == kind)


@contextmanager
def profiling(rate_hz: float = 200.0) -> Iterator[Session]:
    """Profile the body of a `with` statement."""
    session = Session(rate_hz)
    session.reader.install()
    try:
        session.collector.start()
        yield session
    finally:
        session.collector.stop()
        session.reader.uninstall()
        session.provider.shutdown()
    session.profiles = session.collector.drain()
    session.spans = session.log.take()
