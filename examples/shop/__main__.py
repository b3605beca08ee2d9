"""``python -m examples.shop --port 0``: serve the shop on 127.0.0.1 until SIGINT or SIGTERM."""

import argparse
import asyncio
import os
import signal

from aiohttp import web

from examples.shop import slowness
from examples.shop.service import create_app

HOST = "127.0.0.1"
SHUTDOWN_S = 2.0  # for requests that are under way


def main() -> None:
    """Parse the arguments and SHOP_SLOW (exit code 2 if they are wrong), then serve."""
    parser = argparse.ArgumentParser(prog="python -m examples.shop", description=__doc__)
    parser.add_argument("--port", type=int, default=8080, help="0 picks a free one (%(default)s)")
    port: int = parser.parse_args().port
    try:
        slowness.plant(os.environ.get("SHOP_SLOW", ""))
    except ValueError as error:
        parser.error(str(error))
    asyncio.run(_serve(port))


async def _serve(port: int) -> None:
    is_stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, is_stopped.set)
    runner = web.AppRunner(create_app(), access_log=None, shutdown_timeout=SHUTDOWN_S)
    await runner.setup()
    try:
        await web.TCPSite(runner, HOST, port).start()
        print(f"shop listening on http://{HOST}:{runner.addresses[0][1]}", flush=True)
        await is_stopped.wait()
    finally:
        await runner.cleanup()


if __name__ == "__main__":
    main()
