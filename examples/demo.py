"""The demo: the shop under load and under `opentelemetry-instrument`, then its report and its slowest spans.

    python -m examples.demo --seconds 20 --out demo-out

Settings in the environment (OTELPROF_EXPORTER, OTEL_EXPORTER_OTLP_ENDPOINT, …) reach the shop.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

_START_TIMEOUT_S = 60
_STOP_TIMEOUT_S = 30
_READY = "shop listening on "
_SLOWEST = "3"  # spans


def main() -> int:
    """Run the demo; 0 if all requests were answered and a profile came out of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--concurrency", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("demo-out"))
    options = parser.parse_args()
    shutil.rmtree(options.out, ignore_errors=True)

    environ = {
        "OTEL_TRACES_EXPORTER": "none",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
        "OTEL_PYTHON_FASTAPI_EXCLUDED_URLS": "healthz",
        "OTEL_SERVICE_NAME": "shop",
        "OTELPROF_EXPORTER": "file",
        **os.environ,
        "OTELPROF_FILE_DIR": str(options.out.absolute()),
    }
    _say("starting the shop under opentelemetry-instrument")
    shop = subprocess.Popen(
        [
            _beside_python("opentelemetry-instrument"),
            sys.executable,
            "-m",
            "examples.shop",
            "--port",
            "0",
        ],
        env=environ,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        url = _url_of(shop)
        _say(f"{url} is under load for {options.seconds:g} s")
        client = [sys.executable, "-m", "examples.shop.client", url]
        client += ["--seconds", str(options.seconds), "--concurrency", str(options.concurrency)]
        subprocess.run([*client, "--seed", str(options.seed)], check=True)
        shop.send_signal(signal.SIGTERM)
        code = shop.wait(_STOP_TIMEOUT_S)
    finally:
        if shop.poll() is None:
            shop.kill()
        shop.wait()
        if shop.stdout is not None:
            shop.stdout.close()
    if code != 0:
        _say(f"the shop ended with exit code {code}")
        return 1
    for profile in sorted(options.out.glob("*.pb.gz")):
        _say(f"profile {profile}")
    report = options.out / "report.html"
    if exported := _otelprof("export", str(options.out), "-o", str(report)):
        return exported
    _say(f"report {report}")
    return _otelprof("show", "--by", "span", "-n", _SLOWEST, str(options.out))


def _otelprof(*arguments: str) -> int:
    return subprocess.run([_beside_python("otelprof"), *arguments], check=False).returncode


def _url_of(shop: "subprocess.Popen[str]") -> str:
    """Wait for the line by which the shop says that it listens."""
    assert shop.stdout is not None  # noqa: S101 - it was asked for
    signal.alarm(_START_TIMEOUT_S)  # a shop that never says a word must not hold the demo for ever
    for line in shop.stdout:
        if line.startswith(_READY):
            signal.alarm(0)
            return line.removeprefix(_READY).strip()
    raise SystemExit("demo: the shop did not start")


def _beside_python(program: str) -> str:
    return str(Path(sys.executable).with_name(program))


def _say(text: str) -> None:
    print(f"demo: {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
