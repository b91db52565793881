"""Decoders alone: core-microseconds per JPEG, read and decoded one by one in one thread, taking turns."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.images import image_folder
from benchmarks.report import publish
from benchmarks.result import check_places, result_of
from benchmarks.rounds import Case, measure
from pipelines.command.errors import run_command
from pipelines.command.options import read_options

DECODERS = ("fastssl", "simplejpeg", "torchvision", "opencv", "dali", "pillow", "spdl")


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of the benchmark."""

    data: str
    """Folder of JPEGs, searched at all depths; or: generated."""
    images: int = 256
    """Most images to take."""
    json: Path | None = None
    """File for the result."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark and print its table."""
    argv = sys.argv[1:] if argv is None else argv
    prog = "python -m benchmarks.decode"
    options = read_options(Options, prog, argv, description=__doc__)
    check_places(options.json)
    with image_folder(options.data, options.images) as folder:
        cases = [Case(contender=name, output="decode", views=1) for name in DECODERS]
        rows = measure(cases, folder)
    publish(result_of("decode", argv, [asdict(row) for row in rows]), options.json)
    return 0


if __name__ == "__main__":
    run_command(main)
