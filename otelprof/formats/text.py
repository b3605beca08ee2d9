"""Text that every format can hold."""


def encodable(text: str) -> str:
    r"""`text` with what UTF-8 cannot hold written as `\udce9`.

    CPython names files that are not Unicode with lone surrogates (PEP 383), and one such name must not
    keep a profile from leaving.
    """
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
