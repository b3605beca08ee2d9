"""The page itself: its script, its style and the columns, joined into one file that needs nothing else.

Scripts stay the ES modules that they are in `page/`; here each becomes a function, which gives what it exports to those
that import it. Nothing but these modules and this style runs in the page: the policy names them by their hashes, lets the
page ask for nothing, and forbids to make markup of strings.
"""

import base64
import gzip
import hashlib
import html
import json
import re
from functools import cache
from importlib import resources
from typing import Any

_MAIN = "main.js"
_STYLES = ("colours.css", "layout.css", "parts.css")
_IMPORT = re.compile(r'^import \{([\w\s,]+)\} from "\./([\w.]+)";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:class|function|const) (\w+))", re.MULTILINE)
_LEFT_OVER = re.compile(r"^(?:import|export)\b.*", re.MULTILINE)
# Gzip's own default is smaller by 2 % and takes twice as long.
_GZIP_LEVEL = 6


def page_of(columns: dict[str, Any]) -> bytes:
    """The page that shows `columns` of `columns_of`."""
    script, style = _script(), "".join(map(_file, _STYLES))
    title = f"{columns['title']} - otelprof" if columns["title"] else "otelprof"
    text = json.dumps(columns, separators=(",", ":"), allow_nan=False)
    parts = {
        "policy": _policy(script, style),
        # What turns the direction of writing could forge the title of the window.
        "title": html.escape(
            "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in title)
        ),
        "style": style,
        "script": script,
        # Base64, so that no name in it can be read as markup.
        "columns": base64.b64encode(gzip.compress(text.encode(), _GZIP_LEVEL, mtime=0)).decode(),
    }
    page = re.sub(r"\{(\w+)\}", lambda found: parts[found[1]], _file("page.html"))
    return page.encode()


def _policy(script: str, style: str) -> str:
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {_hash_source(script)}",
            f"style-src {_hash_source(style)}",
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    )


def _hash_source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@cache
def _script() -> str:
    """All modules that `main.js` needs, each after those that it imports."""
    wrapped: dict[str, str] = {}
    _wrap(_MAIN, wrapped, ())
    return "".join(wrapped.values())


def _wrap(name: str, wrapped: dict[str, str], importers: tuple[str, ...]) -> None:
    if name in importers:
        raise ValueError(f"report: {name} imports itself by way of {', '.join(importers)}")
    if name in wrapped:
        return
    text = _file(name)
    for _, needed in _IMPORT.findall(text):
        _wrap(needed, wrapped, (*importers, name))
    exported = ", ".join(_EXPORT.findall(text))
    body = _IMPORT.sub(lambda i: f"const {{{i[1]}}} = {_variable(i[2])};\n", text)
    body = _EXPORT.sub("", body)
    if left := _LEFT_OVER.search(body):
        raise ValueError(f"report: {name} cannot be joined for {left[0]!r}")
    if name == _MAIN:
        wrapped[name] = f"\n{body}"
    else:
        wrapped[name] = (
            f"\nconst {_variable(name)} = (() => {{\n{body}return {{ {exported} }};\n}})();\n"
        )


def _variable(name: str) -> str:
    return f"module_{name.removesuffix('.js')}"


@cache
def _file(name: str) -> str:
    return (resources.files("otelprof.report") / "page" / name).read_text("utf-8")
