"""Drivers of a search: each holds a lock of its own while it lives, by which it is found and stopped."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from launchers.searching.folder import SearchFolder
from pipelines.command.errors import UserError
from pipelines.files import folder_lock
from pipelines.files.lock_record import Holder, read_holder


@contextmanager
def driving(folder: SearchFolder, name: str) -> Iterator[None]:
    """Inside, this process is known as a driver of the search, by a name that no other has."""
    own = folder.drivers / name
    own.mkdir(parents=True, exist_ok=True)
    try:
        with folder_lock.hold(own):
            yield
    finally:
        shutil.rmtree(own, ignore_errors=True)


def stop_drivers(folder: SearchFolder) -> tuple[int, list[str]]:
    """Ask each driver of this machine to end, and its trials after a checkpoint.

    Returns:
        how many were asked, and a line per driver elsewhere.
    """
    stopped, elsewhere = 0, []
    for own in sorted(folder.drivers.glob("*")):
        holder = _holder(own / "lock")
        if holder is None:
            continue
        if folder_lock.is_held_here(own):
            with suppress(ProcessLookupError):
                os.kill(holder.pid, signal.SIGTERM)
                stopped += 1
        elif folder_lock.is_held(own):
            elsewhere.append(
                f"a driver of this search runs on {holder.host}: stop process {holder.pid} there"
            )
    return stopped, elsewhere


def _holder(path: Path) -> Holder | None:
    """The holder that a lock names; None of one that is gone or damaged."""
    try:
        return read_holder(path)
    except (OSError, UserError):
        return None
