"""The cache of whole shards on this machine: bounded, shared by its processes, each shard fetched once.

A process holds what it needs for long by a shared lock on the file, which ends with the process. To make
room, files that nobody holds are removed, those first that were let go first; one that is read all the same
stays readable until it is closed. A process that fetches a shard holds the lock beside it; the others wait
for that one and then find it. Files are whole or not there.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import BinaryIO

from pipelines.command.errors import UserError
from pipelines.files.atomic import atomic_file, remove_leftovers
from pipelines.files.patience import open_regular
from pipelines.sources.cache import locked
from pipelines.sources.remote.storage import RemoteFile
from pipelines.sources.slices import OpenFile

_WAIT = 300.0  # seconds to wait for room while all shards are in use
_LOOK = 0.05  # seconds between two looks
_ABANDONED = 600.0  # seconds after which what nobody writes to is removed, whichever host left it
_GONE = (errno.ENOENT, errno.ESTALE)


class Shard(OpenFile):
    """An open shard."""

    @property
    def is_removed(self) -> bool:
        """True if its room was given to another; it can be read, but should be closed soon."""
        return os.fstat(self.descriptor).st_nlink == 0

    def let_go(self) -> None:
        """Note that it is not needed for now: it is removed after all that were let go before."""
        with suppress(OSError):  # a folder of another user's
            os.utime(self.descriptor)


class ShardCache:
    """A folder of shards, at most ``capacity`` bytes; made where it is missing."""

    def __init__(self, folder: Path, capacity: int) -> None:
        self.capacity = capacity
        self._folder = folder

    def open(self, file: RemoteFile, fetch: Callable[[BinaryIO], None], *, hold: bool) -> Shard:
        """Open a shard, fetched by ``fetch`` where it is not there.

        Args:
            hold: whether it stays in the cache as long as it is open.

        Raises:
            UserError: there is no room for it, or ``fetch`` says so.
        """
        path = self._folder / f"{digest_of(file)}.shard"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with locked(path.with_suffix(".lock")):
                while (held := _held(path, file.size)) is None:
                    self._fetch(path, file, fetch)
                if not hold:
                    fcntl.flock(held.descriptor, fcntl.LOCK_UN)
                return held
        except OSError as error:
            raise UserError(
                f"cannot keep {file.url} in {self._folder}: {error.strerror or error}; make room there, set "
                "FASTSSL_CACHE to a folder on another disk, or give a smaller ?cache="
            ) from None

    def _fetch(self, path: Path, file: RemoteFile, fetch: Callable[[BinaryIO], None]) -> None:
        if file.size > self.capacity:
            raise UserError(
                f"{file.url} ({file.size / 1e9:.2f} GB) is larger than the cache of "
                f"{self.capacity / 1e9:g} GB: give more, ?cache=200GB"
            )
        deadline = time.monotonic() + _WAIT
        with ExitStack() as stack:
            while True:
                with locked(self._folder / "room.lock"):
                    remove_leftovers(path)
                    if self._make_room(file.size):
                        aside = stack.enter_context(atomic_file(path))
                        aside.truncate(file.size)  # counts from now on
                        break
                if time.monotonic() > deadline:
                    raise UserError(
                        f"no room for {file.url} ({file.size / 1e9:.2f} GB): the cache of "
                        f"{self.capacity / 1e9:g} GB is full of shards that runs of this machine need: "
                        "give more, ?cache=200GB"
                    )
                time.sleep(_LOOK)
            fetch(aside)
            aside.flush()
            os.fsync(aside.fileno())
            with locked(self._folder / "room.lock"):  # who counts meanwhile might see neither of its names
                stack.close()

    def _make_room(self, size: int) -> bool:
        """Remove shards until one of ``size`` bytes fits; False where those left are in use."""
        kept, excess = [], size - self.capacity
        for path in self._folder.iterdir():
            if path.suffix not in (".shard", ".part"):
                continue
            with suppress(FileNotFoundError):
                about = path.stat()
                abandoned = time.time() - about.st_mtime > _ABANDONED
                if path.suffix == ".part" and abandoned and _remove(path):
                    continue
                excess += about.st_size
                if path.suffix == ".shard":
                    kept.append((about.st_mtime_ns, about.st_size, path))
        for _, freed, path in sorted(kept):
            if excess <= 0:
                break
            if _remove(path):
                excess -= freed
        return excess <= 0


def digest_of(file: RemoteFile) -> str:
    """Name of what is known of a file; another one as soon as it has changed."""
    text = f"{file.url}\0{file.size}\0{file.version}"
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=12).hexdigest()


def _held(path: Path, size: int) -> Shard | None:
    """The shard at ``path``; None where there is none, or one of another size."""
    try:
        shard = Shard(open_regular(path))
    except OSError as error:
        if error.errno in _GONE:
            return None
        raise
    with suppress(OSError):  # a file system without locks
        fcntl.flock(shard.descriptor, fcntl.LOCK_SH)  # waits for one that removes it
    about = os.fstat(shard.descriptor)
    if about.st_nlink == 0 or about.st_size != size:
        return None
    return shard


def _remove(path: Path) -> bool:
    """Remove a file that nobody holds; False where someone does."""
    try:
        file = OpenFile(open_regular(path))
    except OSError as error:
        return error.errno in _GONE
    try:
        fcntl.flock(file.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass  # a file system without locks: whoever has it open keeps its contents
    with suppress(FileNotFoundError):
        path.unlink()
    return True
