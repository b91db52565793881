"""Whatever may fail on the way is tried again, with growing pauses; the rest is one line for the user."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import BinaryIO, TypeVar

from pipelines.command.errors import UserError
from pipelines.command.text import visible
from pipelines.sources.remote.storage import ChangedError, RefusedError, RemoteFile, Storage

Result = TypeVar("Result")

_PAUSES = (0.1, 0.5, 2.0, 8.0, 20.0, 60.0)  # seconds before the next try


def with_backoff(ask: Callable[[], Result], url: str, doing: str = "read") -> Result:
    """Ask a storage, again where the error may pass, for one and a half minutes.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: the storage refuses, or does not answer.
    """
    for pause in (*_PAUSES, None):
        try:
            return ask()
        except (FileNotFoundError, UserError):
            raise
        except RefusedError as error:
            raise UserError(f"cannot {doing} {url}: {visible(str(error))}") from None
        except ChangedError:
            raise has_changed(url) from None
        except Exception as error:  # of a dozen libraries: whatever is not known to stay may pass
            if pause is None:
                reason = visible(str(error)) or type(error).__name__
                raise UserError(
                    f"cannot {doing} {url}: {reason} ({len(_PAUSES) + 1} tries); when it answers, start the "
                    "same command again"
                ) from None
            time.sleep(pause)
    raise AssertionError("unreachable")


def fetch(storage: Storage, file: RemoteFile, out: BinaryIO) -> None:
    """Copy a file. What has arrived is kept through errors: the next try begins behind it.

    Raises:
        UserError: it cannot be read, is gone, or has changed.
        OSError: ``out`` cannot be written.
    """
    position = 0

    def copy_some() -> None:
        nonlocal position
        begin = position
        try:
            for piece in storage.stream(file, begin):
                position += len(piece)
                if position > file.size:
                    raise ChangedError
                _write(out, piece)
        except (FileNotFoundError, RefusedError, ChangedError, UserError):
            raise
        except Exception:
            if position == begin:
                raise
        if position == begin:
            raise EOFError(f"it breaks off at byte {position} of {file.size}")

    try:
        while position < file.size:
            with_backoff(copy_some, file.url)
    except FileNotFoundError:
        raise has_changed(file.url) from None
    except _NotWrittenError as error:
        raise error.error from None


def has_changed(url: str) -> UserError:
    """The error of a file that is no longer what it was."""
    return UserError(
        f"{url} has changed or is gone since the data was opened: put it back, or start a new run on the new "
        "data"
    )


class _NotWrittenError(UserError):
    """Carries an error of the disk past the retries."""

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.error = error


def _write(out: BinaryIO, piece: bytes) -> None:
    try:
        out.write(piece)
    except OSError as error:
        raise _NotWrittenError(error) from None
