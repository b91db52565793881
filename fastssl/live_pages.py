"""Write the pages of --help and --list anew, as the commands print them now: python -m fastssl.live_pages"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from fastssl.__main__ import modules
from fastssl.help_pages import COLUMNS, PAGES, page_path
from fastssl.recipes.table import recipe_list
from pipelines.command.errors import run_command

ENVIRONMENT = {"COLUMNS": str(COLUMNS), "NO_COLOR": "1"}
"""Of the process that prints a page."""


def live_pages() -> Iterator[tuple[Path, str]]:
    """The file and the text of each page."""
    for module in modules():
        lines = help_of(module).splitlines()
        yield page_path(module), "".join(f"{line.rstrip()}\n" for line in lines)
    for name, width in (("fastssl.train-list", None), (f"fastssl.train-list-{COLUMNS}", COLUMNS)):
        yield page_path(name), f"{recipe_list(width)}\n"


def help_of(module: str) -> str:
    """The words that a command prints when it is asked for --help."""
    said, argv = io.StringIO(), sys.argv
    sys.argv = [module, "--help"]
    try:
        with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
            import_module(module).main()
    finally:
        sys.argv = argv
    return said.getvalue()


def main() -> int:
    """The command."""
    os.environ.update(ENVIRONMENT)
    pages = dict(live_pages())
    shutil.rmtree(PAGES, ignore_errors=True)
    PAGES.mkdir()
    for path, text in pages.items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    run_command(main)
