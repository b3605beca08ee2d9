"""The report: profiles and the spans beside them as one HTML page that needs nothing else.

The page opens from the disk and asks no network. Its drawing component and logic, `page/*.js`, are plain ES modules that a
viewer can load as they are; `page.py` joins them into the page. `columns.py` makes what they read.
"""

from collections.abc import Sequence
from pathlib import Path

from otelprof.exporters.file import write_whole
from otelprof.model import Profile, SpanRecord
from otelprof.report.columns import columns_of
from otelprof.report.page import page_of


def encode(profiles: Sequence[Profile], spans: Sequence[SpanRecord] = ()) -> bytes:
    """The page, as UTF-8. Equal input gives equal bytes.

    Profiles need not be added up: those of several processes are, and the page says which processes they are.
    """
    return page_of(columns_of(profiles, spans))


def write_report(profiles: Sequence[Profile], spans: Sequence[SpanRecord], output: Path) -> None:
    """Write the page to `output`, whole or not at all.

    Raises:
        OSError: `output` cannot be written.
    """
    write_whole(output, encode(profiles, spans))
