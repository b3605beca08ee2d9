"""How long to wait after a failure before trying again."""

import random
import re
from dataclasses import dataclass
from typing import Literal, cast

from otelprof.scalar_settings import parse_duration_s

MAX_RETRY_AFTER_S = 300.0  # a receiver may ask for patience, not for silence

Growth = Literal["exponential", "linear", "fixed"]


@dataclass(frozen=True, slots=True)
class Backoff:
    """How the waits between attempts grow, as `OTELPROF_RETRY_BACKOFF` says.

    Attributes:
        growth: `exponential` doubles and is drawn from all of 0 to that ("full jitter"), so that the workers of a
            service do not come back at once; `linear` and `fixed` are exact.
        first_s, most_s: the first wait, and the longest.
    """

    growth: Growth = "exponential"
    first_s: float = 1.0
    most_s: float = 60.0

    def __str__(self) -> str:
        return f"{self.growth}:{self.first_s:g}s:{self.most_s:g}s"

    def wait_s(self, failures: int) -> float:
        """How long to wait after so many failures in a row, 1 or more."""
        if self.growth == "fixed":
            return self.first_s
        if self.growth == "linear":
            return min(self.most_s, self.first_s * failures)
        doublings = min(failures - 1, 64)  # else a float overflows after a day
        return random.uniform(0, min(self.most_s, self.first_s * 2.0**doublings))  # noqa: S311 - jitter


def parse_backoff(text: str) -> Backoff:
    """`exponential`, `linear:5s`, `fixed:30s`, `exponential:1s:60s`: growth, first wait, longest wait."""
    match = re.fullmatch(r"(exponential|linear|fixed)(?::([^:]+))?(?::([^:]+))?", text.strip())
    if match is None:
        raise ValueError("expected exponential, linear or fixed, and perhaps waits: linear:5s:2m")
    first_s = parse_duration_s(match[2]) if match[2] else Backoff().first_s
    most_s = parse_duration_s(match[3]) if match[3] else max(Backoff().most_s, first_s)
    if most_s < first_s:
        raise ValueError("the longest wait is shorter than the first")
    return Backoff(cast("Growth", match[1]), first_s, most_s)
