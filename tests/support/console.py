"""The commands that a page shows, in blocks of the language `console`, each after a `$`."""

import re
from pathlib import Path


def commands_of(page: Path) -> list[str]:
    """All of them, in their order."""
    found = re.findall(r"```console\n(.*?)```", page.read_text(), re.DOTALL)
    return [line[2:] for block in found for line in block.splitlines() if line[:2] == "$ "]
