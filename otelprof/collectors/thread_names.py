"""The names of threads, for samples that know a thread by the kernel's id.

Only `threading` knows names, and it forgets a thread that has ended. So they are noted once a second and at
each drain, which misses threads that live shorter than that: finding those out would take a hook into
`threading` that every start of a thread pays for.
"""

import os
import threading

from otelprof.threads import OwnThread, own_native_ids


class ThreadNames:
    """Names by the kernel's id, of all threads that were seen since `forget_ended` and of those that live.

    Not by `threading.get_ident()`: that is an address, which the next thread gets at once.
    """

    def __init__(self) -> None:
        self._names: dict[int, str] = {}
        self._alive: dict[int, str] = {}
        self._own: set[int] = set()
        self._main_id: int | None = None  # where `threading` may have it wrong

    def note(self) -> None:
        """Note the threads that there are now. About 0.3 µs each."""
        alive: dict[int, str] = {}
        main = threading.main_thread()
        for thread in threading.enumerate():
            native_id = thread.native_id
            if thread is main and self._main_id is not None:
                native_id = self._main_id
            if native_id is None:
                continue
            (self._own.add if isinstance(thread, OwnThread) else self._own.discard)(native_id)
            # Under gevent many threads of `threading` are one of the kernel's, whose name is the first's.
            alive.setdefault(native_id, thread.name)
        self._own |= own_native_ids()
        self._names.update(alive)
        self._alive = alive

    def after_fork(self) -> None:
        """Forget the parent's threads in a forked child, for whose only one `threading` may have the parent's id."""
        self._names, self._alive, self._own = {}, {}, set()
        self._main_id = os.getpid()

    def of(self, native_id: int) -> str | None:
        """The name to show; None for a thread of our own."""
        if not native_id:
            return "unknown"
        if native_id in self._own:
            return None
        return self._names.get(native_id, f"thread-{native_id}")

    def forget_ended(self) -> None:
        """Keep only what is known of the threads that lived when `note` was called last."""
        self._names = dict(self._alive)
        self._own &= self._alive.keys() | own_native_ids()
