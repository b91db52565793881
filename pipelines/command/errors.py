"""A user's mistake, and how every command answers it: one line on stderr, exit status 2, no traceback."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable

_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG, errno.EMFILE, errno.ENFILE)
_NAME_ERRORS = (errno.ENAMETOOLONG, errno.ELOOP)


class UserError(Exception):
    """Something the user can mend. The message is one line: what is wrong, where, and the remedy."""


def is_disk_error(error: OSError) -> bool:
    """True if a disk is full, read-only or broken, takes no such name, or no more files can be opened."""
    return error.errno in (*_DISK_ERRORS, *_NAME_ERRORS)


def disk_error(error: OSError, usual: object = "") -> str:
    """Words on a disk that is full, read-only or broken: what the system says, where, and the remedy.

    Args:
        error: it may name a file.
        usual: the place where it does not.
    """
    where = error.filename or usual
    at = f" ({where})" if where else ""
    if error.errno in _NAME_ERRORS:
        return f"{error.strerror}{at}: give another name"
    return f"{error.strerror}{at}: make room there, or mend it, and run the same command again"


def drop_stdout() -> None:
    """Drop what is still to be printed: the reader of stdout has gone, as ``head`` after its lines."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def run_command(main: Callable[[], int]) -> None:
    """Run a command's ``main`` and leave the process with its exit status.

    A ``UserError`` becomes ``error: MESSAGE`` on stderr and exit status 2, and so does an error of a disk
    (full, read-only, broken, no such names); Ctrl-C becomes 130; a reader of stdout that has gone, as
    ``head``, 141.
    """
    try:
        status = main()
        sys.stdout.flush()
    except BrokenPipeError:
        drop_stdout()
        status = 141
    except OSError as error:
        if not is_disk_error(error):
            raise
        print(f"error: {disk_error(error)}", file=sys.stderr)
        status = 2
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        status = 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        status = 130
    sys.exit(status)
