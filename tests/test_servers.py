"""What is known of servers, without them: who forks workers, who is a helper, and how uvicorn's end is followed."""

import asyncio
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

import pytest

from otelprof import servers
from tests.support.programs import run

WAIT_S = 30.0


@pytest.fixture
def beginnings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(servers, "_beginnings", servers._Beginnings())
    yield
    servers._beginnings.starts.clear()


def frame_in(module: str, function: str) -> FrameType | None:
    scope: dict[str, Any] = {"__name__": module, "sys": sys}
    exec(f"def {function}():\n    return (lambda: sys._getframe())()", scope)
    frame: FrameType | None = scope[function]()
    return frame


def test_only_a_server_that_forks_leaves_the_work_to_others() -> None:
    assert servers.forks_workers(frame_in("gunicorn.arbiter", "spawn_worker"))
    assert servers.forks_workers(frame_in("celery.concurrency.prefork", "on_start"))
    assert not servers.forks_workers(frame_in("gunicorn.arbiter", "reexec"))
    assert not servers.forks_workers(frame_in("application", "spawn_worker"))
    assert not servers.forks_workers(None)


class TestHelpers:
    @pytest.mark.parametrize("helper", ["resource_tracker", "semaphore_tracker", "forkserver"])
    def test_what_serves_other_processes_does_not_begin(
        self, helper: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        code = f"from multiprocessing.{helper} import main;main(5)"
        monkeypatch.setattr(sys, "orig_argv", ["python", "-c", code])
        monkeypatch.setattr(servers, "_beginnings", servers._Beginnings())
        begun: list[bool] = []

        def begin() -> None:
            begun.append(True)

        assert servers.put_off(begin)
        assert begun == []
        servers.after_fork_in_child()
        assert begun == [True]
        assert not servers.put_off(begin)  # a child is none any more
        servers.after_fork_in_child()
        assert begun == [True]

    @pytest.mark.usefixtures("beginnings")
    def test_a_program_begins_at_once(self) -> None:
        assert not servers.put_off(lambda: None)

    def test_what_is_stopped_before_begins_nowhere(self, monkeypatch: pytest.MonkeyPatch) -> None:
        code = "from multiprocessing.forkserver import main; main(5, 6)"
        monkeypatch.setattr(sys, "orig_argv", ["python", "-c", code])
        monkeypatch.setattr(servers, "_beginnings", servers._Beginnings())
        begun: list[bool] = []

        def begin() -> None:
            begun.append(True)

        assert servers.put_off(begin)
        servers.forget(begin)
        servers.after_fork_in_child()
        assert begun == []


class TestUvicorn:
    @pytest.fixture
    def uvicorn(self, monkeypatch: pytest.MonkeyPatch) -> type:
        class Server:
            def __init__(self) -> None:
                self.calls: list[object] = []

            async def shutdown(self, sockets: object = None) -> None:
                self.calls.append(sockets)
                if sockets == "fail":
                    raise ValueError("the server's own")

        module = ModuleType("uvicorn.server")
        module.Server = Server  # type: ignore[attr-defined] # as uvicorn's
        monkeypatch.setitem(sys.modules, "uvicorn.server", module)
        return Server

    def test_what_is_left_is_delivered_after_its_shutdown_once(self, uvicorn: type) -> None:
        server = uvicorn()
        for _ in range(3):
            servers.before_uvicorn_ends(lambda: server.calls.append("delivered"), WAIT_S)
        asyncio.run(server.shutdown(sockets=["one"]))
        assert server.calls == [["one"], "delivered"]

    def test_also_after_one_that_fails_and_its_error_stays(self, uvicorn: type) -> None:
        server = uvicorn()
        servers.before_uvicorn_ends(lambda: server.calls.append("delivered"), WAIT_S)
        with pytest.raises(ValueError, match="the server's own"):
            asyncio.run(server.shutdown("fail"))
        assert server.calls == ["fail", "delivered"]

    def test_it_does_not_wait_for_the_pool_of_the_event_loop(self, uvicorn: type) -> None:
        server = uvicorn()
        servers.before_uvicorn_ends(lambda: server.calls.append("delivered"), WAIT_S)
        is_over = threading.Event()

        async def serve() -> None:
            loop = asyncio.get_running_loop()
            loop.set_default_executor(ThreadPoolExecutor(1))
            busy = loop.run_in_executor(None, is_over.wait, WAIT_S)
            await server.shutdown()
            assert not busy.done()
            is_over.set()
            await busy
            await loop.shutdown_default_executor()
            await server.shutdown()

        asyncio.run(serve())
        assert server.calls == [None, "delivered"] * 2

    def test_it_waits_for_so_long_at_most(self, uvicorn: type) -> None:
        server = uvicorn()
        is_over = threading.Event()
        servers.before_uvicorn_ends(lambda: is_over.wait(WAIT_S), 0.01)
        asyncio.run(server.shutdown())
        assert server.calls == [None]
        is_over.set()

    def test_it_is_met_as_soon_as_it_is_imported(self, tmp_path: Path) -> None:
        package = tmp_path / "uvicorn"
        package.mkdir()
        (package / "__init__.py").touch()
        (package / "server.py").write_text(
            "class Server:\n    async def shutdown(self): print('shut down')\n"
        )
        program = """
import asyncio, wrapt
from otelprof import servers

deliver = lambda: print("delivered")
for _ in range(2):
    servers.before_uvicorn_ends(deliver, 30.0)
import uvicorn.server
asyncio.run(uvicorn.server.Server().shutdown())
"""
        finished = run([sys.executable, "-c", program], tmp_path, {"PYTHONPATH": str(tmp_path)})
        assert finished.out.split("\n") == ["shut down", "delivered", ""], finished.err

    def test_without_it_nothing_happens(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delitem(sys.modules, "uvicorn.server", raising=False)
        servers.before_uvicorn_ends(lambda: None, WAIT_S)
        monkeypatch.delitem(sys.modules, "uvicorn.supervisors", raising=False)
        assert not servers.supervises()
