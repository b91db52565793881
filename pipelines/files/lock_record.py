"""Record of the process that holds a folder: who it is, and whether it lives."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from pipelines.command.errors import UserError
from pipelines.files.process import lives, start_of


@dataclass(frozen=True, kw_only=True)
class Holder:
    """A process that holds a folder."""

    host: str
    boot: str
    """Id of the kernel's start; the host's name where the system has no such id."""
    pid: int
    started: str
    """Start of the process in ticks since the boot: process ids are used again. "" where unknown."""
    job: str
    """SLURM's id of its job, ``ARRAY_TASK`` for one of an array; "" outside of SLURM."""
    restart: int
    """SLURM's number of restarts of that job."""


def this_process(environment: Mapping[str, str]) -> Holder:
    """This process, as a record names it."""
    host, pid = socket.gethostname(), os.getpid()
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        boot = host
    restarts = environment.get("SLURM_RESTART_COUNT", "")
    array = environment.get("SLURM_ARRAY_JOB_ID")
    return Holder(
        host=host,
        boot=boot,
        pid=pid,
        started=start_of(pid),
        job=f"{array}_{environment['SLURM_ARRAY_TASK_ID']}" if array else environment.get("SLURM_JOB_ID", ""),
        restart=int(restarts) if restarts.isdecimal() else 0,
    )


def holder_lives(holder: Holder) -> bool:
    """True if the process of a record of this host lives."""
    return start_of(holder.pid) == holder.started if holder.started else lives(holder.pid)


def read_holder(path: Path) -> Holder | None:
    """The holder that the file names; None if it names none.

    Raises:
        UserError: it holds something else.
    """
    text = path.read_bytes() if path.is_file() else b"no file"
    if not text:
        return None
    try:
        values = json.loads(text)
        kinds = {field.name: int if field.name in ("pid", "restart") else str for field in fields(Holder)}
        if all(isinstance(values[name], kind) for name, kind in kinds.items()):
            return Holder(**{name: values[name] for name in kinds})
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    raise UserError(f"{path} is no lock of a run, or damaged: if nothing runs there, delete it")


def write_holder(descriptor: int, holder: Holder) -> None:
    """Write the record into the open lock file, if the disk has room for it."""
    with suppress(OSError):  # a full disk: the lock stands by itself
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, (json.dumps(asdict(holder)) + "\n").encode(), 0)
        os.fsync(descriptor)
