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
from pipelines.sources.folder import ImageFile
from pipelines.sources.identity import printable

_FILES_AT_A_TIME = 64


def find_listed(folder: Path, paths: Sequence[str], doing: str) -> list[ImageFile | None]:
    """The files at ``paths`` in a folder; None for each that is not there.

    Args:
        folder: that the paths start from.
        paths: with "/".
        doing: see ``show_progress``.

    Raises:
        UserError: a file cannot be looked at, or is a folder or a device.
    """

    def look(path: str) -> ImageFile | None:
        shown = visible(printable(os.path.join(folder, path)))
        try:
            about = with_patience(lambda: os.stat(os.path.join(folder, path)))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise UserError(f"cannot read the image {shown}: {error.strerror}") from None
        if not stat.S_ISREG(about.st_mode):
            raise UserError(f"{shown} is no file: give images")
        return ImageFile(path, about.st_size, about.st_mtime_ns, about.st_ctime_ns)

    return map_in_threads(look, paths, doing, chunk=_FILES_AT_A_TIME)
