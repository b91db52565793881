"""Logs of jobs, read from their end."""

from __future__ import annotations

import os
import re
from pathlib import Path

_TAIL = 64 * 1024  # bytes of a log that are searched


def last_line(log: Path, start: int = 0) -> str:
    """The last line of a log, from a byte on, that is not empty; "" without."""
    return next(iter(last_lines(log, 1, start)), "")


def last_lines(log: Path, count: int, start: int = 0) -> list[str]:
    """The last lines of a log, from a byte on, that are not empty; carriage returns end lines too."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(start, size - _TAIL))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    lines = [line.strip() for line in re.split(r"[\r\n]", text) if line.strip()]
    return lines[-count:]
