"""Pages of --help and --list that lie beside the code: importing a command, and torch with it, takes seconds.

They are 80 columns wide. Made by ``make pages``, and by a test equal to what the commands print.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from pipelines.command.errors import drop_stdout

PAGES = Path(__file__).parent / "pages"
COLUMNS = 80
_ASKS = {"--help": "", "-h": "", "--list": "-list"}  # behind the module's name


def page_path(name: str) -> Path:
    """The file of a page: of a module, and with -list behind its name of its list."""
    return PAGES / f"{name.removesuffix('.__main__')}.txt"


def page(module: str, words: Sequence[str]) -> str | None:
    """The page that the words behind a command of ``module`` ask for; None if there is none of that."""
    asks = _ASKS.get(words[0]) if len(words) == 1 else None
    if asks is None:
        return None
    path = page_path(f"{module.removesuffix('.__main__')}{asks}")
    if asks and sys.stdout.isatty():
        wide = _read(path)
        if wide is None or max(map(len, wide.splitlines())) > shutil.get_terminal_size().columns:
            return _read(path.with_stem(f"{path.stem}-{COLUMNS}"))
        return wide
    return _read(path)


def show(text: str) -> None:
    """Print a page. Its reader may go before the end, as ``head``."""
    try:
        print(text, end="", flush=True)
    except BrokenPipeError:
        drop_stdout()


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return None
