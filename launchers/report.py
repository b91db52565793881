"""Report on sweeps, searches and runs: python -m launchers.report FOLDER... [--csv] [--latex] [--columns ...]

Writes report.html, report.md and results.csv. The page holds all it shows and loads nothing. All are made of
run folders alone, and may be made at any time: every eval/*.json that a run has joins by itself.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

from launchers.reporting.page import page
from launchers.reporting.several import read_folders
from launchers.reporting.table import study_table
from launchers.reporting.table_files import latex, results_csv, table_csv
from launchers.reporting.text import as_markdown, tell
from pipelines.command.errors import UserError, run_command
from pipelines.command.options import read_options
from pipelines.command.text import visible
from pipelines.files.atomic import atomic_file


def report(
    *folders: Path, out: Path | None = None, csv: bool = False, tex: bool = False, columns: Sequence[str] = ()
) -> tuple[Path, ...]:
    """Write the report of sweep folders and run folders; see ``Options``.

    A damaged file of a run is named on stderr and in the report, which goes on with the others.

    Returns:
        the page, the Markdown file, results.csv, and the tables asked for.

    Raises:
        UserError: a folder is no sweep's and no run's, its sweep.json is damaged, there is no such column, or
            ``out`` cannot be written to.
    """
    distinct = list({each.absolute(): each for each in folders}.values())
    several = len(distinct) > 1
    common = Path(os.path.commonpath([each.absolute() for each in distinct])) if several else distinct[0]
    folder = out or common
    sweep = read_folders(distinct, folder)
    for line in sweep.damaged:
        print(visible(line), file=sys.stderr)
    story = tell(sweep, columns)
    searches = [each for each in distinct if (each / "search.json").exists()]
    if searches:
        from launchers.searching.story import search_sections  # loads torch, which sweeps do without

        own = [section for each in searches for section in search_sections(each)]
        story = replace(story, sections=[*own, *story.sections])
    texts = {"report.html": page(story), "report.md": as_markdown(story), "results.csv": results_csv(sweep)}
    texts |= {"table.csv": table_csv(sweep, columns)} if csv else {}
    texts |= {"table.tex": latex(study_table(sweep, columns))} if tex else {}
    for name, text in texts.items():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with atomic_file(folder / name) as file:
                file.write(text.encode(errors="replace"))
        except OSError as error:
            raise UserError(
                f"cannot write {folder / name}: {error.strerror}; make room, or mend its rights"
            ) from None
    return tuple(folder / name for name in texts)


@dataclass(frozen=True, kw_only=True)
class Options:
    """Write the results of sweeps and runs: report.html, one page; report.md; results.csv for pandas."""

    folders: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Folders of sweeps, searches, runs, results on foreign weights; several make one report."""
    out: Path | None = None
    """Folder of the report; None: the only one's, of several the nearest that holds them all."""
    csv: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Write the table of results as table.csv: mean, 95 % interval and seeds, and the papers' numbers."""
    latex: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Write the table of results as table.tex."""
    columns: tuple[str, ...] = ()
    """Results of the tables, in this order: linear, linear.top1@cifar100; left out, all."""

    def __post_init__(self) -> None:
        if not self.folders:
            raise UserError("give a sweep folder, or several: python -m launchers.report SWEEP...")


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    prog = "python -m launchers.report"
    options = read_options(Options, prog, argv)
    written = report(
        *options.folders, out=options.out, csv=options.csv, tex=options.latex, columns=options.columns
    )
    for path in written:
        print(path)
    return 0


if __name__ == "__main__":
    run_command(main)
