"""Every line that docs/troubleshooting.md quotes is one that the code can say."""

import ast
import re
from collections.abc import Iterator

import pytest

from tests.support.demo import ROOT

PAGE = ROOT / "docs" / "troubleshooting.md"
FOLDERS = ("otelprof", "exporters", "instrumentation")  # `rglob` does not follow links
# In a quoted line: what differs, numbers, names of gRPC's codes, reasons, a variable that it is about, and a colon or
# semicolon, behind which another message may begin.
BETWEEN = r"…|\d+(?:\.\d+)?|\b[A-Z]{6,}\b|\(\w+\)|^OTELPROF_\w+|[:;] |  "
NAMES = {"otelprof", "otlp"}

pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="there is no checkout around")


def quoted() -> list[str]:
    """The lines of the blocks that are in no language."""
    blocks = re.findall(r"\n```\n(.*?)\n```\n", PAGE.read_text(), re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


def pieces(line: str) -> list[str]:
    """What must stand in the code as it does here."""
    found = (piece.strip(" =();?") for piece in re.split(BETWEEN, line))
    return [piece for piece in found if piece not in NAMES and re.search(r"[a-z]{2}", piece)]


def texts() -> Iterator[str]:
    """Every text in the code, of those with values in them what is between those."""
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*.py"):
            nodes = list(ast.walk(ast.parse(path.read_text())))
            docstrings = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
            for node in nodes:
                if isinstance(node, ast.Constant) and id(node) not in docstrings:
                    yield str(node.value)


@pytest.fixture(scope="module")
def code() -> str:
    return "\0".join(texts())


def test_lines_are_quoted() -> None:
    assert len(quoted()) > 20
    assert pieces(quoted()[0]) == [
        "left no profile",
        "it took no CPU time, left by os._exit, or is not a program of",
    ]


@pytest.mark.parametrize("line", quoted() if PAGE.exists() else [])
def test_the_code_can_say_it(line: str, code: str) -> None:
    assert pieces(line), line
    for piece in pieces(line):
        assert piece in code, piece
