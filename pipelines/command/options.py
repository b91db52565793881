"""The words of a command line to options; what does not fit is one line, as every other mistake is."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pipelines.command.errors import UserError

_COLOR = re.compile(r"\x1b\[[0-9;]*m")
_FRAME = "─│╭╮╰╯ "


@contextlib.contextmanager
def one_line_complaints(prog: str) -> Iterator[None]:
    """Inside, what tyro prints in a box of many lines before it exits with status 2 becomes a ``UserError``.

    Only parse inside, do not run the command: its own words on stderr would be held back. ``later`` helps
    where tyro calls a function. The box itself is read: tyro's structured errors are private, and change from
    release to release.
    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            try:
                yield
            finally:
                sys.stdout.flush()
    except BrokenPipeError:  # --help | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None
    except SystemExit as ended:
        if ended.code != 2:
            raise
        raise UserError(f"{_complaint(said.getvalue())}: {prog} --help tells more") from None


def user_path(text: str) -> Path:
    """The path that a user names; ``~`` is the home folder, which a shell leaves alone in ``--out=~/run``.

    Raises:
        UserError: there is no such user.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise UserError(f"no home folder is known for {text}: write the path out") from None


def later(function: Callable[..., None]) -> Callable[..., Callable[[], None]]:
    """A function of the same signature and docstring that returns the call instead of making it."""

    @functools.wraps(function)
    def bind(*args: Any, **options: Any) -> Callable[[], None]:
        return functools.partial(function, *args, **options)

    return bind


def _complaint(box: str) -> str:
    """The words of a box between its title and the first line across it, and the option that was meant.

    Where the output has no frames (ASCII, Latin-1), the title is followed by a line of dashes too.
    """
    paragraphs: list[list[str]] = [[]]
    for line in _COLOR.sub("", box).strip().splitlines()[1:]:
        if "──" in line or "---" in line:
            paragraphs.append([])
        else:
            paragraphs[-1] += line.strip(_FRAME).split()
    said, *more = [words for words in paragraphs if words] or [[]]
    near = (word for words in more for word in words if words[0] == "Perhaps" and word.startswith("--"))
    hint = f" (did you mean {option}?)" if (option := next(near, "")) else ""
    return " ".join(said).rstrip(".:") + hint
