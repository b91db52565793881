"""A user's mistake, and how every command answers it: one line on stderr, exit status 2, no traceback."""

from __future__ import annotations

import sys
from collections.abc import Callable


class UserError(Exception):
    """Something the user can mend. The message is one line: what is wrong, where, and the remedy."""


def run_command(main: Callable[[], int]) -> None:
    """Run a command's ``main`` and leave the process with its exit status.

    A ``UserError`` becomes ``error: MESSAGE`` on stderr and exit status 2, Ctrl-C exit status 130.
    """
    try:
        status = main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        status = 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        status = 130
    sys.exit(status)
