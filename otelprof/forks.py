"""What a thread of ours does and a fork must not see half done: it waits.

A child that is forked while another thread imports inherits modules that are half imported, and their locks,
held by a thread that it does not have: whoever imports them there waits for ever.
"""

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from otelprof.primitives import RLock, get_ident

_log = logging.getLogger("otelprof")

# Exporters are imported in 0.1 s, in 3 s on a machine with four times the work that it can do. Not for ever:
# the import may need one of the thread that forks.
MAX_WAIT_S = 5.0


class _Gate:
    """Closed to forks while a thread of ours is inside. Those do not wait for each other."""

    def __init__(self) -> None:
        self._changed = threading.Condition(RLock())  # reentrant: a signal's handler may fork
        self._inside: list[int] = []  # idents of threads; one may be inside twice
        self._was_in_vain = False

    @contextmanager
    def closed(self) -> Iterator[None]:
        me = get_ident()
        with self._changed:
            self._inside.append(me)
        try:
            yield
        finally:
            with self._changed:
                self._inside.remove(me)
                self._changed.notify_all()

    def before_fork(self) -> None:
        me = get_ident()  # what is imported may itself fork
        self._changed.acquire()
        self._was_in_vain = not self._changed.wait_for(
            lambda: all(ident == me for ident in self._inside), MAX_WAIT_S
        )

    def after_fork_in_parent(self) -> None:
        was_in_vain = self._was_in_vain
        self._changed.release()
        if was_in_vain:
            _log.warning(
                "otelprof: a child was forked while a thread of otelprof's was busy for %g s; if it hangs, that is why",
                MAX_WAIT_S,
            )

    def after_fork_in_child(self) -> None:
        me = get_ident()
        self._changed = threading.Condition(RLock())
        self._inside = [ident for ident in self._inside if ident == me]


_gate = _Gate()
kept_whole = _gate.closed
# Imports take the lock of `logging`, which a fork takes too: after ours, since the last registered is the first called.
os.register_at_fork(
    before=_gate.before_fork,
    after_in_parent=_gate.after_fork_in_parent,
    after_in_child=_gate.after_fork_in_child,
)
