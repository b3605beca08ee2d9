"""Text that every format can hold."""

from otelprof.model import Tables


def encodable(text: str) -> str:
    r"""`text` with what UTF-8 cannot hold written as `\udce9`.

    CPython names files that are not Unicode with lone surrogates (PEP 383), and one such name must not
    keep a profile from leaving.
    """
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def name_shown(tables: Tables, frame: int) -> str:
    """The function's name in row `frame` of the frames; its file where it has none, as a viewer would show nothing."""
    return tables.function_name(frame) or tables.strings[tables.function_of(frame).filename]
