"""Where batches wait: on the disk if they are for a network, in memory where that is not to be had.

Both are bounded. The oldest goes first when there is no room, and what has waited too long goes, too. A batch
is on the disk before any lane sees it. See docs/decisions/0012.
"""

import logging
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from importlib import import_module

from otelprof.clock import NS_PER_S, Clock
from otelprof.delivery.ledger import Reason
from otelprof.delivery.limits import Limits
from otelprof.delivery.parcel import Parcel
from otelprof.forks import kept_whole
from otelprof.model import Attributes, Batch
from otelprof.primitives import Lock
from otelprof.storage.adoption import Adopted, Adoption
from otelprof.storage.manifest import Manifest, service_of
from otelprof.storage.owned import space_of
from otelprof.storage.spool import Spool, Stored

_log = logging.getLogger("otelprof")

_FREE_FOR_THE_LIVING = 8  # one part in so many of the budget, at each look


class Depot:
    """The batches that wait.

    `load`, `finish` and `statistics` are called from any thread, all else from the worker.

    Args:
        give_up: is told of a batch that a lane will not get, and why.
    """

    def __init__(
        self, limits: Limits, clock: Clock, give_up: Callable[[str, Parcel, Reason], None]
    ) -> None:
        self._limits = limits
        self._clock = clock
        self._give_up = give_up
        self._spool = None if limits.directory is None else Spool(limits.directory / "spool")
        self._lock = Lock()
        self._parcels: OrderedDict[int, Parcel] = OrderedDict()  # by `id`, oldest first
        self._fresh: list[Parcel] = []
        self._destinations: dict[str, str] = {}
        self._service = ""
        self._memory_bytes = 0
        self._counts: Counter[str] = Counter()
        self._why_not = ""  # the disk is not written to
        self._has_said_too_large = False
        self._share_bytes = limits.disk_bytes

    def introduce(self, destinations: Mapping[str, str], resource: Attributes) -> None:
        """Say, before all else, which lanes there are, and whose batches these are.

        Args:
            destinations: by lane; empty for one whose batches need no disk.
            resource: of this process, as adopted ones must have it, too.
        """
        self._destinations = dict(destinations)
        if self._spool is not None and any(destinations.values()):
            with kept_whole():  # before the end, as a lane does with its exporter
                import_module("otelprof.storage.payload")
        self._service = service_of(resource)

    def take_in(self, batch: Batch) -> list[Parcel]:
        """Keep a batch until all lanes have had it. Returns it as parcels, to be handed to those lanes."""
        self.expire()
        for parcel in self._fresh:
            self._cool(parcel)
        self._fresh = []
        for_disk = {name for name, destination in self._destinations.items() if destination}
        for names in (for_disk, self._destinations.keys() - for_disk):
            if names:
                self._fresh.append(self._parcel_of(batch, names))
        for parcel in self._fresh:
            if parcel.waiting <= for_disk and self._spool is not None:
                payload = self._encoded(parcel)
                if payload is not None and self._stored(parcel, payload):
                    self._unload()
        self._bound_memory()
        return self._fresh

    def adopt(self) -> list[Parcel]:
        """Take over what dead processes of this service have left for destinations of lanes."""
        lanes = {key: name for name, key in self._destinations.items() if key}
        if self._spool is None or not lanes:
            return []
        oldest_unix_ns = self._clock.unix_ns() - round(self._limits.age_s * NS_PER_S)
        look = Adoption(
            self._spool.path, self._service, lanes.keys(), oldest_unix_ns=oldest_unix_ns
        )
        try:
            found = look.look()
        except FileNotFoundError:
            return []  # nobody has had to write yet
        except OSError as error:
            self._say_why_not(error)
            return []
        parcels = [self._adopted(each, lanes) for each in found.adopted]
        self._share_bytes = self._share_of(look)
        self._counts["corrupt_batches"] += found.corrupt_batches
        self._counts["expired_profiles"] += found.expired_profiles
        with self._lock:
            for parcel in reversed(parcels):  # they are older than what this process has collected
                self._parcels[id(parcel)] = parcel
                self._parcels.move_to_end(id(parcel), last=False)
        return parcels

    def _share_of(self, look: Adoption) -> int:
        """How much this process may have on the disk until the next look, in bytes.

        The budget is for all that share the directory. Of what is free each process that lives may take an equal part;
        where it is exceeded, those that have more than an equal part of it give away. What dead processes have left
        for others is the first to go, before it hinders anybody.
        """
        spool, found, budget_bytes = self._spool, look.found, self._limits.disk_bytes
        if spool is None:
            return budget_bytes
        processes = found.live_processes + 1
        free_bytes = budget_bytes - spool.own_bytes - found.live_bytes
        with suppress(OSError):
            look.clear(found.dead_bytes - max(0, free_bytes - budget_bytes // _FREE_FOR_THE_LIVING))
        growth_bytes = free_bytes // processes if free_bytes > 0 else free_bytes
        return max(budget_bytes // processes, spool.own_bytes + growth_bytes)

    def bound(self) -> None:
        """Drop what does not fit into the limits, after batches were adopted."""
        self.expire()
        self._make_room(0)

    def load(self, parcel: Parcel) -> Batch:
        """The batch.

        Raises:
            OSError: its file cannot be read.
            FormatError: it is not what was written.
        """
        # In this order: the worker may be bringing it from one shape into the next.
        batch, payload, stored = parcel.batch, parcel.payload, parcel.stored
        if batch is not None:
            return batch
        with kept_whole():
            from otelprof.storage.payload import decode_batch  # noqa: PLC0415 - as it says
        if payload is not None:
            return decode_batch(payload)
        if stored is None or self._spool is None:
            raise OSError("it is neither in memory nor on the disk")
        return decode_batch(self._spool.read(stored))

    def finish(self, parcel: Parcel, lane: str) -> None:
        """`lane` needs the batch no more."""
        with self._lock:
            stored = parcel.stored
            if lane not in parcel.waiting:  # it was dropped, or left, meanwhile
                if stored is not None and self._spool is not None:
                    self._spool.acknowledge(stored, self._destinations[lane])
                return
            parcel.waiting.remove(lane)
            is_last = not parcel.waiting
            if is_last:
                del self._parcels[id(parcel)]
        if stored is not None and self._spool is not None and (not is_last or parcel.is_shared):
            self._spool.acknowledge(stored, self._destinations[lane])
        if is_last:
            self._release(parcel, is_for_nobody=not parcel.is_shared)

    def expire(self) -> None:
        """Drop what has waited too long."""
        oldest_ns = self._clock.monotonic_ns() - round(self._limits.age_s * NS_PER_S)
        with self._lock:
            old = [parcel for parcel in self._parcels.values() if parcel.made_ns < oldest_ns]
        for parcel in old:
            self._drop(parcel, "age")

    def abandon(self) -> None:
        """At the end: drop what is in memory only, and leave what is on the disk to others."""
        with self._lock:
            parcels = list(self._parcels.values())
        for parcel in parcels:
            if parcel.stored is None:
                self._drop(parcel, "exit")
            else:
                self._leave(parcel)
        if self._spool is not None:
            self._spool.close()

    def forget(self) -> None:
        """In a forked child: let go of what is the parent's."""
        if self._spool is not None:
            self._spool.forget()

    def statistics(self) -> dict[str, int]:
        """Counters of encoding and writing, and what waits now, in bytes."""
        spool_bytes = 0 if self._spool is None else self._spool.own_bytes
        return dict(self._counts) | {"spool_bytes": spool_bytes, "memory_bytes": self._memory_bytes}

    def _parcel_of(self, batch: Batch, lanes: Iterable[str]) -> Parcel:
        parcel = Parcel(
            profiles=len(batch.profiles),
            samples=sum(map(len, batch.profiles)),
            made_ns=self._clock.monotonic_ns(),
            waiting=set(lanes),
            batch=batch,
        )
        with self._lock:
            self._parcels[id(parcel)] = parcel
        return parcel

    def _adopted(self, adopted: Adopted, lanes: Mapping[str, str]) -> Parcel:
        stored, manifest, destinations, is_shared = adopted
        if self._spool is not None:
            self._spool.take_over(stored)
        age_ns = max(0, self._clock.unix_ns() - manifest.made_unix_ns)
        return Parcel(
            profiles=manifest.profiles,
            samples=manifest.samples,
            made_ns=self._clock.monotonic_ns() - age_ns,
            waiting={lanes[destination] for destination in destinations},
            stored=stored,
            is_shared=is_shared,
        )

    def _manifest(self, parcel: Parcel) -> Manifest:
        age_ns = self._clock.monotonic_ns() - parcel.made_ns
        return Manifest(
            service=self._service,
            # Copied at once: lanes change it.
            destinations=tuple(sorted(self._destinations[name] for name in tuple(parcel.waiting))),
            profiles=parcel.profiles,
            samples=parcel.samples,
            made_unix_ns=max(0, self._clock.unix_ns() - age_ns),
        )

    def _encoded(self, parcel: Parcel) -> bytes | None:
        batch = parcel.batch  # a lane may be taking it away just now
        if batch is None:
            return None
        with kept_whole():
            from otelprof.storage.payload import encode_batch  # noqa: PLC0415 - as it says
        began_ns = self._clock.monotonic_ns()
        try:
            payload = encode_batch(batch)
        except Exception:  # noqa: BLE001 - a profile of somebody else's collector; it is sent, but cannot wait
            _log.exception("otelprof: a batch cannot be kept")
            return None
        self._counts["encode_ns"] += self._clock.monotonic_ns() - began_ns
        self._count("encoded", parcel, len(payload))
        return payload

    def _stored(self, parcel: Parcel, payload: bytes) -> bool:
        """Write it to the disk; False, and why is said once, if that cannot be."""
        if self._spool is None or self._is_too_large(payload):
            return False
        began_ns = self._clock.monotonic_ns()
        try:
            stored = self._written(self._spool, parcel, payload)
        except OSError as error:
            self._say_why_not(error)
            return False
        self._counts["spool_ns"] += self._clock.monotonic_ns() - began_ns
        self._count("spooled", parcel, len(payload))
        if self._why_not:
            self._why_not = ""
            _log.info("otelprof: the spool %s is used again", self._spool.path)
        with self._lock:
            if id(parcel) in self._parcels:
                parcel.stored = stored
                self._keep_payload(parcel, None)
                return True
        self._spool.let_go(stored, remove=True)  # the last lane has just had it
        return True

    def _written(self, spool: Spool, parcel: Parcel, payload: bytes) -> Stored:
        self._make_room(space_of(len(payload)))
        return spool.write(self._manifest(parcel), payload)

    def _is_too_large(self, payload: bytes) -> bool:
        """Whether a batch is more than the spool may ever hold. Said once."""
        if space_of(len(payload)) <= self._limits.disk_bytes:
            return False
        if not self._has_said_too_large:
            self._has_said_too_large = True
            _log.warning(
                "otelprof: a batch of %d bytes is more than OTELPROF_SPOOL_MAX and waits in memory",
                len(payload),
            )
        return True

    def _unload(self) -> None:
        """Bring to the disk what waits in memory because it could not be written before, as far as there is room."""
        with self._lock:
            held = [parcel for parcel in self._parcels.values() if parcel.payload is not None]
        for parcel in held:
            payload, waiting = parcel.payload, tuple(parcel.waiting)
            if payload is None or not waiting or not all(map(self._destinations.get, waiting)):
                continue
            # No batch is dropped for it: that would be the newest, which no lane has seen yet.
            if not self._has_room(space_of(len(payload))) or not self._stored(parcel, payload):
                return

    def _cool(self, parcel: Parcel) -> None:
        """Let go of the batch as it was collected."""
        if parcel.waiting and parcel.stored is None:
            payload = self._encoded(parcel)
            if payload is None:
                self._drop(parcel, "unreadable")
            elif len(payload) > self._limits.memory_bytes:
                self._drop(parcel, "memory")  # rather than all others
            with self._lock:
                if id(parcel) in self._parcels:
                    self._keep_payload(parcel, payload)
        parcel.batch = None

    def _keep_payload(self, parcel: Parcel, payload: bytes | None) -> None:
        """Have these bytes of it in memory, and no others. The lock is held."""
        self._memory_bytes += len(payload or b"") - len(parcel.payload or b"")
        parcel.payload = payload

    def _has_room(self, space_bytes: int) -> bool:
        return self._spool is None or self._spool.own_bytes + space_bytes <= self._share_bytes

    def _make_room(self, space_bytes: int) -> None:
        """Drop the oldest until so much more fits into this process's share, or nothing of it is left there."""
        while not self._has_room(space_bytes):
            oldest = self._oldest(lambda parcel: parcel.stored is not None)
            if oldest is None:
                return
            self._drop(oldest, "budget")

    def _bound_memory(self) -> None:
        while self._memory_bytes > self._limits.memory_bytes:
            oldest = self._oldest(lambda parcel: parcel.payload is not None)
            if oldest is None:
                return
            self._drop(oldest, "memory")

    def _oldest(self, fits: Callable[[Parcel], bool]) -> Parcel | None:
        with self._lock:
            return next(filter(fits, self._parcels.values()), None)

    def _drop(self, parcel: Parcel, reason: Reason) -> None:
        with self._lock:
            if self._parcels.pop(id(parcel), None) is None:
                return  # the last lane has just had it
            lanes: Sequence[str] = tuple(parcel.waiting)
            parcel.waiting.clear()
        if parcel.is_shared:
            self._counts["expired_profiles"] += parcel.profiles
        # First, so that a lane that has it in hand knows why it is not to be had.
        for name in lanes:
            self._give_up(name, parcel, reason)
        self._release(parcel, is_for_nobody=True)

    def _leave(self, parcel: Parcel) -> None:
        """Have no lane deliver it any more; its file stays."""
        with self._lock:
            if self._parcels.pop(id(parcel), None) is None:
                return  # the last lane has just had it
            lanes: Sequence[str] = tuple(parcel.waiting)
            parcel.waiting.clear()
        for name in lanes:
            self._give_up(name, parcel, "left")

    def _release(self, parcel: Parcel, *, is_for_nobody: bool) -> None:
        with self._lock:
            parcel.batch = None
            self._keep_payload(parcel, None)
            stored, parcel.stored = parcel.stored, None
        if stored is not None and self._spool is not None:
            self._spool.let_go(stored, remove=is_for_nobody)

    def _say_why_not(self, error: OSError) -> None:
        why_not = str(error)
        if not self._why_not and self._spool is not None:
            _log.warning(
                "otelprof: the spool %s is not used: %s; what cannot be delivered waits in memory, at most %d MiB",
                self._spool.path,
                why_not,
                self._limits.memory_bytes >> 20,
            )
        self._why_not = why_not

    def _count(self, what: str, parcel: Parcel, size_bytes: int) -> None:
        self._counts[f"{what}_profiles"] += parcel.profiles
        self._counts[f"{what}_samples"] += parcel.samples
        self._counts[f"{what}_bytes"] += size_bytes
