"""One writer per folder: an flock, and beside it a record of the holder for file systems without locks.

The file ``lock`` in the folder names its holder's host, process and start; the holder touches it every
``_BEAT`` seconds. Where the lock itself is known to reach (two processes of one kernel, NFS and Lustre with
locks of the whole cluster) it alone decides. Elsewhere the record does: flock may do nothing there, or may be
a matter of each host.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipelines.command.errors import UserError
from pipelines.command.progress import duration
from pipelines.files.lock_record import Holder, holder_lives, read_holder, this_process, write_holder

_BEAT = 30.0  # seconds between two signs of life
_SILENT = 300.0  # seconds without one after which a holder elsewhere is taken for dead
_SETTLING = 0.3  # seconds after which of two that start at once the last to write has the folder
_FLAGS = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # a link could point at any file


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Hold a folder for this process, until the block or the process ends.

    The record of a holder that has ended is taken over: one of this host whose process is gone, one of
    SLURM's earlier starts of this job, any where the lock reaches.

    Raises:
        UserError: another process holds it, or one elsewhere may.
        OSError: the folder cannot be written.
    """
    path = folder / "lock"
    descriptor = os.open(path, _FLAGS | os.O_CREAT, 0o666)
    try:
        try:
            _flock(descriptor)
        except BlockingIOError:
            raise _in_use(folder, read_holder(path)) from None
        reach = _reach(path)
        holder, silence = read_holder(path), _silence(path)
        me = this_process(os.environ)
        if holder is not None and not _has_ended(holder, me, silence, reach):
            raise _in_use(folder, holder, silence, elsewhere=holder.boot != me.boot)
        write_holder(descriptor, me)
        if reach == "nothing":
            time.sleep(_SETTLING)
            if (holder := read_holder(path)) != me:
                raise _in_use(folder, holder)
        ended = threading.Event()
        heart = threading.Thread(target=_beat, args=(descriptor, ended), daemon=True)
        heart.start()
        try:
            yield
        finally:
            ended.set()
            heart.join()
            with suppress(OSError, UserError):
                if read_holder(path) == me:
                    os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def is_held_here(folder: Path) -> bool:
    """True if a process of this machine holds a folder.

    Asks the kernel's list of locks: trying the lock, however briefly, could turn away a run that starts.
    """
    path = folder / "lock"
    try:
        inode = path.stat().st_ino
        locks = Path("/proc/locks").read_text().splitlines()
        holder = read_holder(path)
    except (OSError, UserError):
        return False
    held = (line.split() for line in locks if "FLOCK" in line and "->" not in line)
    if any(fields[3] == "WRITE" and fields[5].rpartition(":")[2] == str(inode) for fields in held):
        return True
    me = this_process(os.environ)
    return holder is not None and (holder.host, holder.boot) == (me.host, me.boot) and holder_lives(holder)


def is_held(folder: Path) -> bool:
    """True if a process of this machine holds a folder, or one elsewhere that gives signs of life."""
    if is_held_here(folder):
        return True
    try:
        holder, silence = read_holder(folder / "lock"), _silence(folder / "lock")
    except (OSError, UserError):
        return False
    return holder is not None and holder.boot != this_process(os.environ).boot and silence < _SILENT


def forget(folder: Path, job: str) -> None:
    """Clear the record that a job of SLURM left, which has ended as SLURM says."""
    path = folder / "lock"
    with suppress(OSError, UserError):
        if (holder := read_holder(path)) is not None and job and holder.job == job:
            os.truncate(path, 0)


def _has_ended(holder: Holder, me: Holder, silence: float, reach: str) -> bool:
    """True if the holder of a record, whose lock did not stop us, has ended.

    Args:
        silence: seconds since its last sign of life.
        reach: as of ``_reach``.
    """
    if reach == "cluster" or (me.job and holder.job == me.job and holder.restart < me.restart):
        return True
    if holder.boot == me.boot:
        if reach == "host":
            return True
        return holder.host == me.host and not holder_lives(holder)  # another host's name: another container
    return holder.host == me.host and silence >= _SILENT  # booted since


def _in_use(
    folder: Path, holder: Holder | None, silence: float = 0.0, *, elsewhere: bool = False
) -> UserError:
    named = f"process {holder.pid} on {holder.host}" if holder else "another process"
    if elsewhere and silence >= _SILENT:
        return UserError(
            f"{named} held {folder} and has given no sign of life for {duration(silence)}: if it has ended, "
            f"delete {folder / 'lock'} and give the same command again"
        )
    return UserError(
        f"another process is working in {folder}{f' ({named})' if holder else ''}: wait for it, stop it, or "
        f"choose another --out"
    )


def _flock(descriptor: int) -> bool:
    """Take the lock; False where the file system has none. Raises BlockingIOError: another has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        return False
    return True


def _reach(path: Path) -> str:
    """Reach of the flock that this process holds: "nothing", this "host", or the whole "cluster"."""
    second = os.open(path, _FLAGS)
    try:
        _flock(second)
    except BlockingIOError:
        return "cluster" if _is_of_the_cluster(path) else "host"
    finally:
        os.close(second)
    return "nothing"


def _is_of_the_cluster(path: Path) -> bool:
    """True on NFS and Lustre whose mount options say that locks are those of the server."""
    device = path.stat().st_dev
    try:
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return False
    return any(locks_reach_others(line, f"{os.major(device)}:{os.minor(device)}") for line in mounts)


def locks_reach_others(mount: str, device: str) -> bool:
    """True if a line of mountinfo is of a device, and of a mount whose flocks all its hosts see."""
    place, _, system = mount.partition(" - ")
    if place.split()[2] != device:
        return False
    kind, _, *options = system.split()
    named = {option for words in options for option in words.split(",")}
    return (kind.startswith("nfs") and "local_lock=none" in named) or (kind == "lustre" and "flock" in named)


def _silence(path: Path) -> float:
    """Seconds since the last sign of life."""
    return max(0.0, time.time() - path.stat().st_mtime)


def _beat(descriptor: int, ended: threading.Event) -> None:
    while not ended.wait(_BEAT):
        with suppress(OSError):
            os.utime(descriptor)
