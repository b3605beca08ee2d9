"""``python -m examples.shop --port 0``: serve the shop on 127.0.0.1 until SIGINT or SIGTERM."""

import argparse
import os
import signal
import socket
import sys

import uvicorn

from examples.shop import slowness
from examples.shop.service import create_app

HOST = "127.0.0.1"
SHUTDOWN_S = 2  # for requests that are under way


def main() -> None:
    """Parse the arguments and SHOP_SLOW (exit code 2 if they are wrong), then serve."""
    parser = argparse.ArgumentParser(prog="python -m examples.shop", description=__doc__)
    parser.add_argument("--port", type=int, default=8080, help="0 picks a free one (%(default)s)")
    port: int = parser.parse_args().port
    try:
        slowness.plant(os.environ.get("SHOP_SLOW", ""))
    except ValueError as error:
        parser.error(str(error))
    for number in (signal.SIGINT, signal.SIGTERM):
        # Once it has shut down, uvicorn raises the signal again, for whoever had it before.
        signal.signal(number, lambda *_: sys.exit(0))
    config = uvicorn.Config(
        create_app(),
        loop="asyncio",
        log_level="warning",
        timeout_graceful_shutdown=SHUTDOWN_S,
    )
    with socket.create_server((HOST, port)) as listening:
        # From here on connections wait until the application has started.
        print(f"shop listening on http://{HOST}:{listening.getsockname()[1]}", flush=True)
        uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main()
