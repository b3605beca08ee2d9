"""Real bytes, kept in tests/golden and reviewed whenever they change."""

from pathlib import Path

FOLDER = Path(__file__).parent.parent / "golden"


class Golden:
    """The golden files; with `update` they are rewritten instead of compared."""

    def __init__(self, *, update: bool) -> None:
        self._update = update

    def check(self, name: str, actual: bytes) -> None:
        """Fail unless `actual` is what the file `name` holds."""
        path = FOLDER / name
        if self._update:
            path.write_bytes(actual)
        assert path.exists(), f"{path} is missing: run pytest with --update-golden and review it"
        assert actual == path.read_bytes(), f"{path} differs: if that is meant, --update-golden"
