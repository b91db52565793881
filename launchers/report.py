"""A sweep's results in one page: python -m launchers.report SWEEP writes SWEEP/report.html and report.md.

The page holds all it shows and loads nothing. Both are made of run folders alone, and may be made at any
time: every eval/*.json that a run has joins by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from launchers.reporting.page import page
from launchers.reporting.results import read_sweep
from launchers.reporting.text import as_markdown, tell
from pipelines.command.errors import UserError, run_command
from pipelines.command.options import one_line_complaints
from pipelines.files.atomic import atomic_file


def report(folder: Path) -> tuple[Path, Path]:
    """Write the report of a sweep folder; returns the page and the Markdown file.

    Raises:
        UserError: the folder is no sweep's, holds damaged JSON, or cannot be written to.
    """
    story = tell(read_sweep(folder))
    paths = folder / "report.html", folder / "report.md"
    for path, text in zip(paths, (page(story), as_markdown(story)), strict=True):
        try:
            with atomic_file(path) as file:
                file.write(text.encode())
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror}; make room, or mend its rights") from None
    return paths


@dataclass(frozen=True, kw_only=True)
class Options:
    """Write a sweep's results as one page, SWEEP/report.html, and as SWEEP/report.md."""

    sweep: tyro.conf.Positional[Path]
    """A folder that launchers.sweep made."""


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    prog = "python -m launchers.report"
    with one_line_complaints(prog):
        options = tyro.cli(Options, prog=prog, args=argv)
    for path in report(options.sweep):
        print(path)
    return 0


if __name__ == "__main__":
    run_command(main)
