"""Settings that are one value: how they are written. `list_settings` has those that are several.

Each parser raises ValueError with what was expected; the caller names the setting.
"""

import os
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

MAX_DURATION_S = 86_400.0
MIN_FLUSH_S = 0.1
MIN_RATE_HZ, MAX_RATE_HZ = 1.0, 1000.0
MAX_SIZE_BYTES = 1 << 40
_SIZE_BYTES = {"": 1, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}
_DURATION_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def parse_bool(text: str) -> bool:
    """`true` in any case is true, `false` is false; nothing else, as the OpenTelemetry specification says."""
    lowered = text.strip().lower()
    if lowered not in {"true", "false"}:
        raise ValueError("expected true or false")
    return lowered == "true"


def parse_duration_s(text: str, *, most_s: float = MAX_DURATION_S) -> float:
    """Seconds in `250ms`, `15s`, `2m`, `1h`; a bare number is seconds. Above 0."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h)?", text.strip(), re.ASCII)
    seconds = float(match[1]) * _DURATION_S[match[2] or "s"] if match else 0.0
    if not 0 < seconds <= most_s:
        most = f"{most_s / 3600:g}h"
        raise ValueError(f"expected a duration above 0 such as 250ms, 15s or 2m, at most {most}")
    return seconds


def parse_size_bytes(text: str) -> int:
    """Bytes in `512KiB`, `64MiB`, `1GiB`; a bare number is bytes. Above 0."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG]i)?B?", text.strip(), re.ASCII | re.IGNORECASE)
    size_bytes = round(float(match[1]) * _SIZE_BYTES[(match[2] or "").capitalize()]) if match else 0
    if not 0 < size_bytes <= MAX_SIZE_BYTES:
        raise ValueError("expected a size above 0 such as 512KiB, 64MiB or 1GiB, at most 1024GiB")
    return size_bytes


def parse_flush_s(text: str) -> float:
    """A duration in which a flush can be done."""
    seconds = parse_duration_s(text)
    if seconds < MIN_FLUSH_S:
        raise ValueError(f"expected at least {MIN_FLUSH_S:g} s")
    return seconds


def parse_headers(text: str) -> tuple[tuple[str, str], ...]:
    """Headers in `name=value,name=value`, values URL-encoded, as the OTLP exporters read them."""
    headers: list[tuple[str, str]] = []
    for item in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = item.partition("=")
        header = (unquote(name).strip().lower(), unquote(value).strip())
        # Not shown: headers carry credentials.
        if not equals or not header[0] or not all(map(str.isprintable, header)):
            raise ValueError("expected name=value,name=value, URL-encoded")
        headers.append(header)
    return tuple(headers)


def parse_seconds(text: str) -> float:
    """A number of seconds, without a unit, above 0."""
    value = float(text)
    if not 0 < value <= MAX_DURATION_S:
        raise ValueError(f"expected a number of seconds above 0, at most {MAX_DURATION_S:g}")
    return value


def parse_rate_hz(text: str) -> float:
    """Samples per second: `100` or `100Hz`."""
    value = float(text.removesuffix("Hz").removesuffix("hz"))
    if not MIN_RATE_HZ <= value <= MAX_RATE_HZ:
        raise ValueError(f"expected {MIN_RATE_HZ:g} to {MAX_RATE_HZ:g} samples per second")
    return value


def parse_file(text: str) -> Path | None:
    """The path of a file, which need not exist. `~` is the home directory: not every variable comes from a shell."""
    path = Path(os.path.expanduser(text))  # noqa: PTH111 - `Path.expanduser` raises where there is none
    if not path.name:
        raise ValueError("expected the name of a file")
    return path


def one_of(*choices: str) -> Callable[[str], str]:
    """A parser of one of these words, in any case."""

    def parse(text: str) -> str:
        if text.lower() not in choices:
            raise ValueError(f"expected {' or '.join(choices)}")
        return text.lower()

    return parse
