"""speedscope's own schema takes what we write, and its own page shows it."""

import json
import threading
from collections.abc import Callable, Iterator
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from jsonschema.validators import validator_for

from otelprof.formats import collapsed, speedscope
from otelprof.formats.text import encodable
from otelprof.model import Profile
from tests.e2e import browser
from tests.support.odd_profiles import ODD_NAMES, odd
from tests.support.profiles import LEAF, MIDDLE, ROOT, cpu_and_wall, profile_of, row

CPU, WALL = cpu_and_wall()
MS = 1_000_000


class Page(HTMLParser):
    """What a page of speedscope shows.

    Attributes:
        title: of the page.
        text: all of it.
        rows: the cells of each row of its tables.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.title = ""
        self.text = ""
        self.rows: list[list[str]] = []
        self._open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag == "td":
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass  # elements without an end tag

    def handle_data(self, data: str) -> None:
        if "title" in self._open:
            self.title += data
        elif not {"style", "script"} & set(self._open):
            self.text += data
            if "td" in self._open:
                self.rows[-1][-1] += data

    @property
    def profiles(self) -> dict[str, str]:
        """The total of each profile of the file, in the list to choose from."""
        return {row[1]: row[2] for row in self.rows if len(row) == 3 and row[0].isdigit()}

    @property
    def functions(self) -> dict[str, tuple[str, str]]:
        """Total and self of each function."""
        return {row[2]: (row[0], row[1]) for row in self.rows if len(row) == 3 and "%" in row[0]}


class _Handler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
        """Say nothing."""


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Callable[[bytes, str], Page]]:
    """Opens a file in speedscope's page, in the view that lists the functions."""
    (tmp_path / "speedscope").symlink_to(browser.required_speedscope())
    browser.required_chromium()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), name="speedscope-page")
    thread.start()

    def load(content: bytes, name: str) -> Page:
        (tmp_path / name).write_bytes(content)
        root = f"http://127.0.0.1:{server.server_address[1]}"
        url = f"{root}/speedscope/index.html#profileURL={root}/{name}&view=sandwich"
        return Page(browser.rendered(url))

    try:
        yield load
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class TestSchema:
    @pytest.mark.parametrize(
        "profiles", [[CPU, WALL], [odd()], [profile_of()]], ids=["cpu and wall", "odd", "no rows"]
    )
    @pytest.mark.parametrize("lines", [False, True], ids=["functions", "lines"])
    def test_takes_what_we_write(self, profiles: list[Profile], *, lines: bool) -> None:
        validator = schema_validator()
        validator.validate(json.loads(speedscope.encode(profiles, lines=lines)))

    def test_refuses_what_is_wrong(self) -> None:
        file = json.loads(speedscope.encode([CPU]))
        file["profiles"][0]["unit"] = "parsecs"
        assert not schema_validator().is_valid(file)


def schema_validator() -> Any:
    schema = json.loads((browser.required_speedscope() / "file-format-schema.json").read_text())
    validator: Any = validator_for(schema)
    return validator(schema)


class TestPage:
    def test_shows_names_and_weights(self, page: Callable[[bytes, str], Page]) -> None:
        shown = page(speedscope.encode([WALL, CPU]), "x.speedscope.json")
        assert shown.title == "shop - speedscope"
        assert "cpu (1/4)" in shown.text
        assert shown.profiles == {
            "cpu": "70.00ms",
            "cpu/samples": "7",
            "wall": "130.00ms",
            "wall/samples": "13",
        }
        assert shown.functions == {
            ROOT.function: ("70.00ms (100%)", "10.00ms (14%)"),
            LEAF.function: ("51.00ms (73%)", "51.00ms (73%)"),
            MIDDLE.function: ("40.00ms (57%)", "9.00ms (13%)"),
        }

    def test_shows_odd_names_as_they_are(self, page: Callable[[bytes, str], Page]) -> None:
        profile = profile_of(
            row(*(LEAF._replace(function=name) for name in ODD_NAMES), ROOT, values=(1, 10 * MS))
        )
        shown = page(speedscope.encode([profile]), "odd.speedscope.json")
        assert set(shown.functions) == {ROOT.function, *map(encodable, ODD_NAMES)}

    def test_shows_that_there_are_no_samples(self, page: Callable[[bytes, str], Page]) -> None:
        shown = page(speedscope.encode([profile_of()]), "empty.speedscope.json")
        assert "cpu (1/2)" in shown.text
        assert "No symbols found." in shown.text

    def test_shows_collapsed_stacks_too(self, page: Callable[[bytes, str], Page]) -> None:
        shown = page(collapsed.encode([CPU], value="cpu/samples"), "x.folded")
        assert shown.functions[ROOT.function] == ("7 (100%)", "1 (14%)")
