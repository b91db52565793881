"""Command of a benchmark: options in, a table on stdout and a result as JSON out."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.report import markdown
from benchmarks.result import check_places, result_of, write_result
from pipelines.command.options import read_options
from pipelines.command.ranges import Count, check_ranges


@dataclass(frozen=True, kw_only=True)
class ResultOptions:
    """Options that every benchmark has."""

    json: Path | None = None
    """File for the result."""

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True, kw_only=True)
class ImageOptions(ResultOptions):
    """Options of benchmarks on a folder of images."""

    data: str
    """Folder of JPEGs, searched at all depths; or: generated."""
    images: Count = 256
    """Most images to take."""


Options = TypeVar("Options", bound=ResultOptions)


def run_benchmark(
    piece: str,
    options: type[Options],
    argv: Sequence[str] | None,
    about: str | None,
    measure: Callable[[Options], Sequence[Mapping[str, Any]]],
) -> int:
    """Measure as a command line says, print the table and write the result. Returns the exit status.

    Args:
        piece: name of the benchmark's module.
        options: its options.
        argv: words of the command line; None: those of the process.
        about: first lines of --help.
        measure: gives the rows of the result.

    Raises:
        UserError: something the user can mend; a file that cannot be written is told before anything is
            measured.
    """
    words = sys.argv[1:] if argv is None else argv
    chosen = read_options(options, f"python -m benchmarks.{piece}", words, description=about)
    check_places(chosen.json)
    result = result_of(piece, words, measure(chosen))
    print(markdown(result))
    if chosen.json is not None:
        write_result(chosen.json, result)
    return 0
