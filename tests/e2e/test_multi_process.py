"""A gunicorn service whose workers are killed and replaced: each backend has all of each process, under its own name.

Profiles leave to files, which hold what was collected; by OTLP to a Collector, which writes them and hands them on to
Pyroscope and to Parca; and to Pyroscope by push. At first none of these receivers is there: what a worker had when it
was killed comes later, from another process.
"""

import os
import signal
from pathlib import Path

import pytest

from tests.e2e.backends.collector import Ports, collector
from tests.e2e.backends.jaeger import Jaeger
from tests.e2e.backends.parca import OTLP_CPU, OTLP_WALL, Parca
from tests.e2e.backends.pyroscope import CPU, WALL, Pyroscope
from tests.e2e.forwarding import pushed_once_to
from tests.e2e.received import Received
from tests.e2e.service import Collected, inherit, variables_of, wait_until_delivered
from tests.support.files import files_below
from tests.support.ports import free_ports
from tests.support.programs import INSTRUMENT, Left
from tests.support.servers import http_receiver
from tests.support.services import PATHS, PORT, Service, assert_worked, left_by, program, serving
from tests.support.waiting import wait_until

pytestmark = pytest.mark.backend

WORKERS = {
    "gthread": ["--threads", "4", "tests.targets.web:app"],
    "uvicorn": ["-k", "uvicorn_worker.UvicornWorker", "tests.targets.web:asgi"],
}
RATE_HZ = 200
PERIOD_NS = 1_000_000_000 // RATE_HZ
# How Pyroscope knows a process, by the way in which its profiles came: names have dots over OTLP.
LABELS = {"push": "service_instance_id", "otlp": "service.instance.id"}


class Instance(Collected):
    """What one process collected.

    Attributes:
        name: its `service.instance.id`.
    """

    def __init__(self, pid: int, left: list[Left]) -> None:
        super().__init__(profile for each in left for profile in each.profiles)
        self.pid = pid
        self.left = left
        (self.name,) = {
            str(dict(profile.resource)["service.instance.id"]) for profile in self.profiles
        }

    @property
    def cpu_ns(self) -> int:
        """CPU time where only counts travel."""
        return self.total("cpu", "samples") * PERIOD_NS

    def busiest_span(self) -> str:
        """The id of the span with the most CPU time."""
        ((span_id, _),) = self.by_span("cpu", "cpu").most_common(1)
        return span_id


class Fleet:
    """The service when it has ended.

    Attributes:
        instances: by process id; beside the workers and the arbiter those that delivered what others had left.
        killed: the process id of the worker that was.
        workers: the process ids of all workers, with what each answered.
        arbiter: the process id of the one that manages them.
        received: what the Collector has written.
    """

    def __init__(
        self, name: str, directory: Path, service: Service, killed: int, received: Received
    ) -> None:
        self.name = name
        self.killed = killed
        self.instances = {pid: Instance(pid, left) for pid, left in left_by(directory).items()}
        self.workers = {pid: service.answered[pid] for pid in service.workers()}
        self.arbiter = service.process.pid
        self.received = received

    def survivor(self) -> Instance:
        """A worker that nobody killed."""
        return next(self.instances[pid] for pid in self.workers if pid != self.killed)


def kill_with_a_backlog(service: Service, directory: Path) -> int:
    """Kill a worker for which batches wait, between two of its flushes; its process id.

    It stands still while that is found out, so that its files hold neither more nor less than its spool.
    """
    victim = min(service.workers())

    def is_between_flushes() -> bool:
        files = len(list((directory / "profiles").glob(f"*-{victim}-*.pb.gz")))
        return 0 < files == len(files_below(directory / "state", f"*-{victim}-*/*.batch"))

    def stands_still() -> bool:
        try:
            states = [path.read_text() for path in Path(f"/proc/{victim}/task").glob("*/stat")]
        except (FileNotFoundError, ProcessLookupError):
            return False  # a thread has ended before it stood still
        return all(text.rpartition(")")[2].split()[0] == "T" for text in states)

    def is_killed() -> bool:
        os.kill(victim, signal.SIGSTOP)
        wait_until(stands_still, what="all threads of the one to be killed stand still")
        is_right = is_between_flushes()
        os.kill(victim, signal.SIGKILL if is_right else signal.SIGCONT)
        return is_right

    wait_until(is_between_flushes, 60.0, what="a flush of the one to be killed")
    wait_until(is_killed, 60.0, what="a moment between two flushes")
    return victim


@pytest.fixture(scope="module", params=WORKERS)
def fleet(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    jaeger: Jaeger,
    pyroscope: Pyroscope,
    parca: Parca,
) -> Fleet:
    name = f"fleet-{request.param}"
    directory = tmp_path_factory.mktemp(name)
    ports = Ports.free()
    (push_port,) = free_ports(1)
    variables = {
        "OTELPROF_EXPORTER": "otlp,pyroscope",
        "OTEL_EXPORTER_OTLP_PROFILES_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_PROFILES_ENDPOINT": f"http://127.0.0.1:{ports.http}/v1development/profiles",
        "OTELPROF_PYROSCOPE_ENDPOINT": f"http://127.0.0.1:{push_port}",
        "OTELPROF_PYROSCOPE_LABELS": "service.instance.id,process.pid",
        "OTELPROF_RETRY_BACKOFF": "fixed:1s",
        "OTELPROF_RATE": str(RATE_HZ),
    }
    listen = ["-w", "2", "-b", f"127.0.0.1:{PORT}", "--no-control-socket"]
    command = [INSTRUMENT, program("gunicorn"), *listen, *WORKERS[request.param]]
    there = variables_of(name, directory, jaeger, variables)
    with serving(command, directory, there) as service:
        service.load(workers=2)
        killed = kill_with_a_backlog(service, directory)
        service.load(workers=3)
        with (
            collector(
                directory,
                ports=ports,
                forwards_to=pyroscope.url,
                forwards_by_grpc_to=parca.url.removeprefix("http://"),
            ) as running,
            http_receiver(then=pushed_once_to(pyroscope.url), port=push_port),
        ):
            wait_until_delivered(directory)
            finished = service.stop()
            assert finished.code == 0, finished.err
            inherit(name, directory, jaeger, **variables)
            running.stop()
    return Fleet(name, directory, service, killed, Received(running.written))


def test_each_process_has_a_name_of_its_own(fleet: Fleet) -> None:
    assert len(fleet.workers) == 3
    assert fleet.workers.keys() | {fleet.arbiter} <= fleet.instances.keys()
    names = {instance.name: pid for pid, instance in fleet.instances.items()}
    assert len(names) == len(fleet.instances)
    assert fleet.received.pids == names


def test_workers_that_end_by_themselves_have_all_of_their_work(fleet: Fleet) -> None:
    for pid, counts in fleet.workers.items():
        if pid != fleet.killed:
            assert_worked(fleet.instances[pid].left, counts)
    # The one that was killed has what it had flushed.
    spans = [span.name for left in fleet.instances[fleet.killed].left for span in left.spans]
    assert set(spans) <= {*PATHS}


def test_the_collector_writes_what_each_collected(fleet: Fleet) -> None:
    expected: dict[tuple[str, str], int] = {}
    for instance in fleet.instances.values():
        expected["samples", instance.name] = instance.total("cpu", "samples")
        expected["wall", instance.name] = instance.total("wall", "wall")
    assert fleet.received.instances == expected
    assert fleet.received.sums == {
        ("samples", "cpu"): sum(n for (kind, _), n in expected.items() if kind == "samples"),
        ("wall", "wall"): sum(n for (kind, _), n in expected.items() if kind == "wall"),
    }
    assert len(fleet.received.profile_ids) == len(set(fleet.received.profile_ids))


def test_the_collector_has_each_span_under_the_process_that_ran_it(fleet: Fleet) -> None:
    for instance in fleet.instances.values():
        ran = instance.by_span("wall", "wall").keys() | instance.by_span("cpu", "samples").keys()
        assert fleet.received.spans_of.get(instance.name, set()) == ran


@pytest.mark.parametrize("way", LABELS)
def test_pyroscope_has_what_each_collected(way: str, fleet: Fleet, pyroscope: Pyroscope) -> None:
    for instance in fleet.instances.values():
        labels = {LABELS[way]: instance.name}
        cpu_ns = instance.total("cpu", "cpu") if way == "push" else instance.cpu_ns
        pyroscope.wait_for_total(fleet.name, CPU, cpu_ns, labels)
        pyroscope.wait_for_total(fleet.name, WALL, instance.total("wall", "wall"), labels)


@pytest.mark.parametrize("way", LABELS)
def test_pyroscope_has_a_span_under_its_process_and_no_other(
    way: str, fleet: Fleet, pyroscope: Pyroscope
) -> None:
    def total(of: Instance, span_id: str) -> int:
        labels = {LABELS[way]: of.name}
        return pyroscope.flamegraph(fleet.name, CPU, spans=[span_id], labels=labels).total

    survivor, killed = fleet.survivor(), fleet.instances[fleet.killed]
    for one, other in ((survivor, killed), (killed, survivor)):
        span_id = one.busiest_span()
        cpu_ns = one.by_span("cpu", "cpu")[span_id]
        counted_ns = one.by_span("cpu", "samples")[span_id] * PERIOD_NS
        assert total(one, span_id) == (cpu_ns if way == "push" else counted_ns)
        assert total(other, span_id) == 0


def test_parca_has_what_each_collected(fleet: Fleet, parca: Parca) -> None:
    for instance in fleet.instances.values():
        labels = {"service_name": fleet.name, "service_instance_id": instance.name}
        parca.wait_for_total(OTLP_CPU, instance.cpu_ns, **labels)
        parca.wait_for_total(OTLP_WALL, instance.total("wall", "wall"), **labels)
    everything = sum(instance.cpu_ns for instance in fleet.instances.values())
    assert parca.flamegraph(OTLP_CPU, service_name=fleet.name).total == everything


def test_jaeger_has_a_span_under_the_same_name_as_its_profile(fleet: Fleet, jaeger: Jaeger) -> None:
    survivor = fleet.survivor()
    span_id = survivor.busiest_span()
    (trace_id,) = {
        span.trace_id.hex()
        for left in survivor.left
        for span in left.spans
        if span.span_id.hex() == span_id
    }
    (span,) = jaeger.trace(trace_id, 1)
    assert span.attributes["pyroscope.profile.id"] == span_id
    assert span.resource["service.instance.id"] == survivor.name
