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

_FILES_AT_A_TIME = 64


def find_listed(folder: Path, paths: Sequence[str], doing: str) -> tuple[ImageFiles, np.ndarray]:
    """The files at ``paths`` in a folder that are there, and which are, bool [number of paths].

    Raises:
        UserError: a file cannot be looked at, or is a folder or a device.
    """

    def look(path: str) -> tuple[int, int, int] | None:
        shown = visible(printable(os.path.join(folder, path)))
        try:
            about = with_patience(lambda: os.stat(os.path.join(folder, path)))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise UserError(f"cannot read the image {shown}: {error.strerror}") from None
        if not stat.S_ISREG(about.st_mode):
            raise UserError(f"{shown} is no file: give images")
        return about_file(about)

    rows = map_in_threads(look, paths, doing, chunk=_FILES_AT_A_TIME)
    found = [(path, row) for path, row in zip(paths, rows, strict=True) if row is not None]
    files = gather([path for path, _ in found], [row for _, row in found])
    return files, np.array([row is not None for row in rows], bool)
