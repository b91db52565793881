"""Report on sweeps: python -m launchers.report SWEEP... writes report.html, report.md and results.csv.

The page holds all it shows and loads nothing. All are made of run folders alone, and may be made at any
time: every eval/*.json that a run has joins by itself.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from launchers.reporting.page import page
from launchers.reporting.results import read_sweep
from launchers.reporting.results_csv import results_csv
from launchers.reporting.several import read_sweeps
from launchers.reporting.text import as_markdown, tell
from pipelines.command.errors import UserError, run_command
from pipelines.command.options import read_options
from pipelines.command.text import visible
from pipelines.files.atomic import atomic_file


def report(*folders: Path, out: Path | None = None) -> tuple[Path, Path, Path]:
    """Write the report of sweep folders; returns the page, the Markdown file and the CSV file.

    A damaged file of a run is named on stderr and in the report, which goes on with the others.

    Args:
        folders: of sweeps; several make one report, side by side.
        out: folder that takes it; None: the sweep's, of several the nearest that holds them all.

    Raises:
        UserError: a folder is no sweep's, its sweep.json is damaged, or ``out`` cannot be written to.
    """
    several = len({each.absolute() for each in folders}) > 1
    common = Path(os.path.commonpath([each.absolute() for each in folders])) if several else folders[0]
    folder = out or common
    sweep = read_sweeps(folders, folder) if several else read_sweep(folders[0])
    for line in sweep.damaged:
        print(visible(line), file=sys.stderr)
    story = tell(sweep)
    paths = folder / "report.html", folder / "report.md", folder / "results.csv"
    for path, text in zip(paths, (page(story), as_markdown(story), results_csv(sweep)), strict=True):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with atomic_file(path) as file:
                file.write(text.encode(errors="replace"))
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror}; make room, or mend its rights") from None
    return paths


@dataclass(frozen=True, kw_only=True)
class Options:
    """Write the results of sweeps: report.html, one page; report.md; results.csv for pandas."""

    sweeps: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Folders that launchers.sweep made; several make one report."""
    out: Path | None = None
    """Folder of the report; None: the sweep's own, of several the nearest that holds them all."""

    def __post_init__(self) -> None:
        if not self.sweeps:
            raise UserError("give a sweep folder, or several: python -m launchers.report SWEEP...")


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    prog = "python -m launchers.report"
    options = read_options(Options, prog, argv)
    for path in report(*options.sweeps, out=options.out):
        print(path)
    return 0


if __name__ == "__main__":
    run_command(main)
