"""Report on a sweep: python -m launchers.report SWEEP writes report.html, report.md and results.csv there.

The page holds all it shows and loads nothing. All are made of run folders alone, and may be made at any
time: every eval/*.json that a run has joins by itself.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from launchers.reporting.page import page
from launchers.reporting.results import read_sweep
from launchers.reporting.results_csv import results_csv
from launchers.reporting.text import as_markdown, tell
from pipelines.command.errors import UserError, run_command
from pipelines.command.options import one_line_complaints
from pipelines.command.text import visible
from pipelines.files.atomic import atomic_file


def report(folder: Path) -> tuple[Path, Path, Path]:
    """Write the report of a sweep folder; returns the page, the Markdown file and the CSV file.

    A damaged file of a run is named on stderr and in the report, which goes on with the others.

    Raises:
        UserError: the folder is no sweep's, its sweep.json is damaged, or it cannot be written to.
    """
    sweep = read_sweep(folder)
    for line in sweep.damaged:
        print(visible(line), file=sys.stderr)
    story = tell(sweep)
    paths = folder / "report.html", folder / "report.md", folder / "results.csv"
    for path, text in zip(paths, (page(story), as_markdown(story), results_csv(sweep)), strict=True):
        try:
            with atomic_file(path) as file:
                file.write(text.encode(errors="replace"))
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror}; make room, or mend its rights") from None
    return paths


@dataclass(frozen=True, kw_only=True)
class Options:
    """Write a sweep's results into its folder: report.html, one page; report.md; results.csv for pandas."""

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
