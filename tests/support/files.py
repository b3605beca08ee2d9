"""Files that other processes remove while a test looks for them."""

import os
from fnmatch import fnmatch
from pathlib import Path


def files_below(directory: Path, pattern: str = "*") -> list[Path]:
    """All files whose path below `directory` matches, by name; what vanishes meanwhile is left out, or not.

    `Path.glob` of Python 3.11 raises where a directory vanishes that it has just seen.
    """
    paths = (Path(at, name) for at, _, names in os.walk(directory) for name in names)
    return sorted(path for path in paths if fnmatch(str(path.relative_to(directory)), pattern))
