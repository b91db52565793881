"""Files of a folder that a list names, looked at in threads."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from pipelines.command.errors import UserError
from pipelines.command.progress import map_in_threads
from pipelines.command.text import visible
from pipelines.files.patience import with_patience
from pipelines.sources.identity import printable
from pipelines.sources.image_files import about_file

_FILES_AT_A_TIME = 64


def find_listed(folder: Path, paths: Sequence[str], doing: str) -> list[tuple[int, int, int] | None]:
    """Rows of ``ImageFiles.about`` of the files at ``paths`` in a folder; None for each that is not there.

    Args:
        folder: that the paths start from.
        paths: with "/".
        doing: see ``show_progress``.

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

    return map_in_threads(look, paths, doing, chunk=_FILES_AT_A_TIME)
