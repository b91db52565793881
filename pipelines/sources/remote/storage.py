"""The interface of a storage: finding files, reading them from any byte on, writing them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class ChangedError(Exception):
    """A file is no longer what it was when the data was opened."""


class RefusedError(Exception):
    """The storage refuses, and trying again is of no use; the message says why."""


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """A file as it was found; ``str`` gives its address."""

    url: str
    size: int
    """Bytes."""
    version: str
    """Changes with the contents: the storage's ETag, or the time of the last change."""
    modified: float
    """Time of the last change, seconds since 1970; 0: not known."""

    @property
    def name(self) -> str:
        """The last part of the address."""
        return self.url.rpartition("/")[2]

    def __str__(self) -> str:
        return self.url


class Storage(Protocol):
    """A kind of storage. Safe to use from many threads.

    Whatever it raises beside ``FileNotFoundError``, ``RefusedError`` and ``ChangedError`` may pass.
    """

    def stat(self, url: str) -> RemoteFile:
        """Find one file.

        Raises:
            FileNotFoundError: there is none.
            RefusedError: it may not be read.
        """
        ...

    def glob(self, url: str) -> list[RemoteFile]:
        """The files that a glob stands for, sorted.

        Raises:
            RefusedError: the storage cannot list, or not for this user.
        """
        ...

    def stream(self, file: RemoteFile, begin: int) -> Iterator[bytes]:
        """Yield the bytes of a file from ``begin`` on; they may end too soon.

        Raises:
            FileNotFoundError: it is gone.
            RefusedError: it may not be read.
            ChangedError: it is another by now.
        """
        ...

    def write(self, path: Path, url: str) -> None:
        """Write a local file to an address.

        Raises:
            RefusedError: it may not be written.
        """
        ...


def storage_of(url: str) -> Storage:
    """The storage of an address.

    Raises:
        UserError: its packages are not installed.
    """
    if url.startswith("http"):
        from pipelines.sources.remote.web import WebStorage

        return WebStorage()
    from pipelines.sources.remote.object_storage import ObjectStorage

    return ObjectStorage(url.partition(":")[0])
