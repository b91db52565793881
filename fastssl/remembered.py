"""Memory of --help and --list: printed again while the code is the same, as importing torch takes seconds."""

from __future__ import annotations

import contextlib
import hashlib
import io
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import TextIO

from pipelines.files.atomic import write_atomically
from pipelines.files.cache_folder import cache_folder

_HOUSES = ("pipelines", "fastssl", "launchers", "benchmarks")
_ASKS = {"--help", "-h", "--list"}


def with_memory(name: str, words: list[str], run: Callable[[], int]) -> int:
    """Run a command; where it is asked for help about nothing of the user's, print what it printed before.

    Args:
        name: of the command.
        words: of its command line.
        run: the command itself.

    Returns:
        its exit status.
    """
    about = [word for word in words if word not in _ASKS]
    own = any(not re.fullmatch(r"[\w,-]+", word) or Path(word).exists() for word in about)
    if own or not _ASKS & set(words):
        return run()
    path = cache_folder() / "help" / f"{_key(name, words)}.txt"
    with contextlib.suppress(OSError, UnicodeDecodeError):
        print(path.read_text(encoding="utf-8"), end="")
        return 0
    said = _Copy(sys.stdout)
    with contextlib.redirect_stdout(said):
        try:
            status = run()
        except SystemExit as ended:
            status = ended.code if isinstance(ended.code, int) else 0
    if status == 0:
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, said.getvalue().encode())
    return status


class _Copy(io.StringIO):
    """Passes on what is printed, and keeps it."""

    def __init__(self, to: TextIO) -> None:
        super().__init__()
        self._to = to

    def write(self, text: str) -> int:
        self._to.write(text)
        return super().write(text)

    def flush(self) -> None:
        self._to.flush()

    def isatty(self) -> bool:
        return self._to.isatty()

    def fileno(self) -> int:
        return self._to.fileno()


def _key(name: str, words: list[str]) -> str:
    """Digest of all that a text depends on: the command, the terminal, and the state of the code."""
    parts = [name, *words, str(shutil.get_terminal_size()), str(sys.stdout.isatty()), version("tyro")]
    return hashlib.blake2b("\0".join([*parts, *_code()]).encode(), digest_size=16).hexdigest()


def _code() -> Iterator[str]:
    root = Path(__file__).resolve().parents[1]
    for house in _HOUSES:
        for path in sorted((root / house).rglob("*.py")):
            about = path.stat()
            yield f"{path} {about.st_mtime_ns} {about.st_size}"
