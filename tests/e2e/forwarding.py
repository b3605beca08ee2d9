"""A way to a backend that a test can close and open: the backend itself stays as it is."""

import threading
from collections import defaultdict
from collections.abc import Callable

import requests

from tests.support.servers import Arrived, Reply
from tests.support.wire import Message

_OK = 200


def forwarded_to(url: str) -> Callable[[Arrived], Reply]:
    """An answer that is that of the server at `url`."""

    def forward(request: Arrived) -> Reply:
        headers = {"Content-Type": request.headers["content-type"]}
        answer = requests.post(url + request.path, request.body, headers=headers, timeout=30)
        return Reply(answer.status_code, answer.content)

    return forward


def pushed_once_to(url: str) -> Callable[[Arrived], Reply]:
    """The same for pushes to Pyroscope; what it has taken already is not forwarded again.

    Pyroscope does not look at ids: what comes twice counts twice. That happens where a process ends before the answer to
    its last push, which takes half a second in an idle Pyroscope.
    """
    forward = forwarded_to(url)
    guard = threading.Lock()
    locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
    taken: set[str] = set()

    def forward_once(request: Arrived) -> Reply:
        (series,) = Message(request.body).messages(1)
        (sample,) = series.messages(2)
        (profile_id,) = sample.texts(2)
        with guard:
            lock = locks[profile_id]
        with lock:
            if profile_id in taken:
                return Reply()
            reply = forward(request)
            if reply.status == _OK:
                taken.add(profile_id)
            return reply

    return forward_once
