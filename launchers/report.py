"""A sweep's results in one page: python -m launchers.report SWEEP writes SWEEP/report.html and report.md.

The page holds all it shows and loads nothing. Both are made of run folders alone, and may be made at any
time: every eval/*.json that a run has joins by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from launchers.reporting.page import page
from launchers.reporting.results import read_sweep
from launchers.reporting.text import as_markdown, tell
from pipelines.command.errors import UserError, run_command
from pipelines.command.options import OptionParser
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


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    parser = OptionParser(prog="python -m launchers.report", description=__doc__)
    parser.add_argument("sweep", type=Path, help="a folder that launchers.sweep made")
    for path in report(parser.parse_args(argv).sweep):
        print(path)
    return 0


if __name__ == "__main__":
    run_command(main)
