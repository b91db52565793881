"""Files that are whole or not there: written aside, flushed to the disk, renamed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """A binary file to write to, which becomes ``path`` when the block ends well.

    Until then, and after an exception or a kill, whatever stood at ``path`` stands there still. The
    parent folder is made where it is missing.

    Raises:
        OSError: the folder or the disk refuses (full, read-only); nothing is left aside then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with aside.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the rename itself
    finally:
        os.close(folder)


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Write a whole file or leave the old one. Raises OSError, when the disk is full for instance."""
    with atomic_file(path) as file:
        file.write(content)


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write a JSON file, whole or not at all."""
    write_atomically(path, (json.dumps(values, indent=2) + "\n").encode())
