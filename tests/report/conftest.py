"""A browser for all tests of a file, and a page for each."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support import pages
from tests.support.pages import ReportPage

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def chromium() -> Iterator["Browser"]:
    with pages.chromium() as running:
        yield running


@pytest.fixture
def opened(chromium: "Browser", tmp_path: Path) -> Iterator[ReportPage]:
    """A page that must cause no complaint of the browser's, and ask for nothing but itself."""
    context = chromium.new_context(viewport={"width": 1280, "height": 860}, reduced_motion="reduce")
    page = ReportPage(context.new_page(), tmp_path)
    yield page
    assert page.complaints == []
    assert {url.partition("#")[0] for url in page.requests} <= {page.url("").rstrip("#")}
    context.close()
