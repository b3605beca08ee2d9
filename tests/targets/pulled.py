"""A program that can be pulled from, and forks, closes and ends as its argument says; tells what came of it."""

import os
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

import otelprof
from tests.support.pulling import listening, windows_of
from tests.targets.burning import burn, tell

CHILDREN = 3


def is_listening(number: int) -> bool:
    """Whether the descriptor is one of a TCP socket that listens."""
    try:
        with socket.socket(fileno=os.dup(number)) as found:
            return bool(found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    except OSError:
        return False


def listening_sockets() -> set[int]:
    """The inodes of the sockets of this process that listen: a child's of its own is another one than its parent's."""
    found: set[int] = set()
    for path in Path("/proc/self/fd").iterdir():
        if is_listening(int(path.name)):
            with suppress(OSError):  # it is closed meanwhile
                found.add(os.fstat(int(path.name)).st_ino)
    return found


def listeners() -> int:
    """How many sockets of this process listen."""
    return len(listening_sockets())


def ended(pid: int) -> int:
    """The exit code of a child."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def child(pipe: int, done: int) -> None:
    """Say where it listens, be asked, and end."""
    found = listening(profiler)
    os.write(pipe, f"{found.port} {listeners()}\n".encode())
    os.read(done, 1)
    profiler.stop()
    os._exit(0)


def fork() -> dict[str, Any]:
    reader, pipe = os.pipe()
    done, finish = os.pipe()
    pids: list[int] = []
    for _ in range(CHILDREN):
        pid = os.fork()
        if not pid:
            child(pipe, done)
        pids.append(pid)
    with os.fdopen(reader) as lines:
        told = [[int(word) for word in lines.readline().split()] for _ in pids]
    ports = [port for port, _ in told]
    statuses = [type(pulled)(port=port).get("/debug/pprof/goroutine").status for port in ports]
    parent_status = pulled.get("/debug/pprof/goroutine").status
    os.write(finish, b"x" * CHILDREN)
    return {
        "parent": pulled.port,
        "children": ports,
        "sockets_in_children": [count for _, count in told],
        "statuses": statuses,
        "parent_status": parent_status,
        "exits": [ended(pid) for pid in pids],
    }


def fork_in_request() -> dict[str, Any]:
    statuses: list[int] = []
    asking = threading.Thread(
        target=lambda: statuses.append(pulled.get("/debug/pprof/wall?seconds=2").status)
    )
    asking.start()
    while not profiler.health()["pull.taking"]:
        time.sleep(0.001)
    reader, pipe = os.pipe()
    done, finish = os.pipe()
    parents = listening_sockets()
    pid = os.fork()
    if not pid:
        # The profiler may go on in this process by now, and listen by itself.
        os.write(pipe, bytes([len(parents & listening_sockets())]))
        os.read(done, 1)
        os._exit(0)
    inherited = os.read(reader, 1)[0]
    asking.join()  # the child has the connection's descriptor, and still the answer has an end
    profiler.stop()
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        is_free = again.connect_ex(("127.0.0.1", pulled.port)) != 0
    os.write(finish, b"x")
    return {
        "statuses": statuses,
        "sockets_in_children": [inherited],
        "port_is_free": is_free,
        "exits": [ended(pid)],
    }


def close_all() -> dict[str, Any]:
    os.closerange(3, 1024)
    own = [socket.create_server(("127.0.0.1", 0)) for _ in range(64)]  # whoever's numbers they were
    with suppress(OSError):
        pulled.get("/debug/pprof/")  # the kernel still holds what was listened at
    while not profiler.health()["pull.port"] or profiler.health()["pull.port"] == pulled.port:
        time.sleep(0.01)
    statuses = [listening(profiler).get("/debug/pprof/goroutine").status]
    profiler.stop()
    is_intact = all(each.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) for each in own)
    for each in own:
        with socket.create_connection(each.getsockname(), 10):
            each.accept()[0].close()
    return {"statuses": statuses, "own_is_intact": is_intact}


def wait() -> dict[str, Any]:
    tell(port=pulled.port)
    while not windows_of(profiler):
        time.sleep(0.001)
    tell(taking=1)
    while True:
        time.sleep(60)


def greenlets() -> dict[str, Any]:
    tell(port=pulled.port)
    while True:
        burn()


def leave(_number: int, _frame: FrameType | None) -> None:
    sys.exit(0)


if __name__ == "__main__":
    what = sys.argv[1]
    if what == "handled":
        signal.signal(signal.SIGTERM, leave)
    profiler = otelprof.start()
    pulled = listening(profiler)
    kinds = {
        "fork": fork,
        "fork-in-request": fork_in_request,
        "close-all": close_all,
        "wait": wait,
        "handled": wait,
        "greenlets": greenlets,
    }
    tell(**kinds[what]())
