"""The page as a file: one, whole, with a policy that holds."""

import base64
import hashlib
import re
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path

import pytest

from otelprof import report
from otelprof.report import page
from tests.support.shop_report import profiles, spans


class Parts(HTMLParser):
    """The scripts and styles in a page, its policy and its title."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None], str]] = []
        self.policy = ""
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        of = dict(attrs)
        self.found.append((tag, of, ""))
        if tag == "meta" and of.get("http-equiv") == "Content-Security-Policy":
            self.policy = of["content"] or ""
        self.links += [value or "" for name, value in attrs if name in {"src", "href", "action"}]

    def handle_endtag(self, tag: str) -> None:
        self.found.append(("", {}, ""))  # what comes next is not in it

    def handle_data(self, data: str) -> None:
        if self.found:
            tag, of, text = self.found[-1]
            self.found[-1] = (tag, of, text + data)


def test_has_a_policy_by_hashes_and_no_address() -> None:
    parts = Parts(report.encode(profiles(), spans()).decode())
    (style,) = [text for tag, _, text in parts.found if tag == "style"]
    (script,) = [text for _, of, text in parts.found if of.get("type") == "module"]
    policy = dict(part.split(" ", 1) for part in parts.policy.split("; "))
    assert policy["default-src"] == "'none'"
    for name, text in (("script-src", script), ("style-src", style)):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert policy[name] == f"'sha256-{digest}'"
    assert parts.links == []
    assert "http://" not in script + style
    assert "https://" not in script + style


def test_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    report.write_report(profiles(), spans(), tmp_path / "out.html")
    assert (tmp_path / "out.html").read_bytes() == report.encode(profiles(), spans())
    with pytest.raises(OSError, match="missing"):
        report.write_report(profiles(), spans(), tmp_path / "missing" / "out.html")
    assert [path.name for path in tmp_path.iterdir()] == ["out.html"]


def test_is_small() -> None:
    assert len(report.encode([])) < 160_000


def test_all_modules_are_in_it() -> None:
    directory = resources.files("otelprof.report") / "page"
    scripts = {file.name for file in directory.iterdir() if file.name.endswith(".js")}
    wrapped: dict[str, str] = {}
    page._wrap("main.js", wrapped, ())
    assert set(wrapped) == scripts


class TestJoining:
    @pytest.fixture
    def files(self, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
        files: dict[str, str] = {}
        monkeypatch.setattr(page, "_file", files.__getitem__)
        return files

    def test_puts_what_is_imported_first(self, files: dict[str, str]) -> None:
        files["main.js"] = 'import { a } from "./one.js";\na();\n'
        files["one.js"] = 'import { b } from "./two.js";\nexport function a() { b(); }\n'
        files["two.js"] = "export const b = () => 1;\nexport class C {}\n"
        wrapped: dict[str, str] = {}
        page._wrap("main.js", wrapped, ())
        assert list(wrapped) == ["two.js", "one.js", "main.js"]
        assert "return { b, C };" in wrapped["two.js"]

    @pytest.mark.parametrize(
        "text",
        [
            'import * as a from "./one.js";\n',
            "export default 1;\n",
            'export { a } from "./one.js";\n',
            'import "./one.js";\n',
        ],
    )
    def test_refuses_what_it_does_not_know(self, files: dict[str, str], text: str) -> None:
        files["main.js"] = text
        with pytest.raises(ValueError, match=re.escape(f"cannot be joined for {text.strip()!r}")):
            page._wrap("main.js", {}, ())

    def test_refuses_circles(self, files: dict[str, str]) -> None:
        files["main.js"] = 'import { a } from "./one.js";\n'
        files["one.js"] = 'import { b } from "./main.js";\n'
        with pytest.raises(
            ValueError, match=r"main\.js imports itself by way of main\.js, one\.js"
        ):
            page._wrap("main.js", {}, ())
