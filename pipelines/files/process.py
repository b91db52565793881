"""Processes of this machine, by their ids."""

from __future__ import annotations

import os
from pathlib import Path


def lives(pid: int) -> bool:
    """True if there is a process of this id, of any user."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is another user's
        return True
    return True


def start_of(pid: int) -> str:
    """Start of a process in ticks since the boot; "" if it has ended, or where the system has no /proc."""
    try:
        state, *values = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if state in "ZX" else values[18]
