"""Files of a folder that a list names, looked at in threads."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipelines.command.errors import UserError
from pipelines.command.progress import map_in_threads
from pipelines.command.text import visible
from pipelines.files.patience import with_patience
from pipelines.sources.identity import printable
from pipelines.sources.image_files import ImageFiles, about_file, gather

MISSING = "no such file"
_FILES_AT_A_TIME = 64


def look_at(folder: Path, paths: Sequence[str], doing: str) -> list[tuple[int, int, int] | str]:
    """Rows of ``ImageFiles.about`` of the files at ``paths`` in a folder, and why a file has none."""

    def look(path: str) -> tuple[int, int, int] | str:
        try:
            about = with_patience(lambda: os.stat(os.path.join(folder, path)))
        except (FileNotFoundError, NotADirectoryError, ValueError):  # a NUL in the name
            return MISSING
        except OSError as error:
            return f"cannot be read: {error.strerror}"
        return about_file(about) if stat.S_ISREG(about.st_mode) else "no file"

    return map_in_threads(look, paths, doing, chunk=_FILES_AT_A_TIME)


def find_listed(folder: Path, paths: Sequence[str], doing: str) -> tuple[ImageFiles, np.ndarray]:
    """The files at ``paths`` in a folder that are there, and which are, bool [number of paths].

    Raises:
        UserError: a file cannot be looked at, or is a folder or a device.
    """
    rows = look_at(folder, paths, doing)
    for path, row in zip(paths, rows, strict=True):
        if isinstance(row, str) and row != MISSING:
            raise UserError(f"{visible(printable(os.path.join(folder, path)))}: {row}: give images")
    found = [(path, row) for path, row in zip(paths, rows, strict=True) if not isinstance(row, str)]
    files = gather([path for path, _ in found], [row for _, row in found])
    return files, np.array([row != MISSING for row in rows], bool)
