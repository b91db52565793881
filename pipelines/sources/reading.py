"""Read a sample, and tell an unreadable image from an error of the machine."""

from __future__ import annotations

import numpy as np

from pipelines.command.errors import UserError
from pipelines.decode.header import UndecodableImageError
from pipelines.files.patience import is_of_the_file, with_patience
from pipelines.sources.source import Source


def read_sample(source: Source, index: int) -> bytes | memoryview | np.ndarray:
    """Read a sample of a source; an error of the disk is waited out.

    Raises:
        UndecodableImageError: the file was unreadable when the source was opened, and still is.
        UserError: the file can no longer be read: the machine's fault, or the data has changed.
    """
    try:
        return with_patience(lambda: source.read(index))
    except OSError as error:
        reason = error.strerror or str(error)
        if source.index.heights[index] == 0 and is_of_the_file(error):
            raise UndecodableImageError(reason) from None
        raise UserError(
            f"cannot read {source.describe(index)}: {reason}; when it can be read, start the same command "
            "again"
        ) from None
