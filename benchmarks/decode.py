"""Decoders alone: core-microseconds per JPEG, read and decoded one by one in one thread, taking turns."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.images import image_folder
from benchmarks.report import publish
from benchmarks.result import result_of
from benchmarks.rounds import Case, measure
from pipelines.command.errors import run_command
from pipelines.command.options import OptionParser

DECODERS = ("fastssl", "simplejpeg", "torchvision", "opencv", "dali", "pillow")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark and print its table."""
    argv = sys.argv[1:] if argv is None else argv
    parser = OptionParser(prog="python -m benchmarks.decode", description=__doc__)
    parser.add_argument(
        "--data", required=True, help="folder of JPEGs, searched at all depths; or: generated"
    )
    parser.add_argument("--images", type=int, default=256, help="how many, at most")
    parser.add_argument("--json", type=Path, help="file for the result")
    arguments = parser.parse_args(argv)
    with image_folder(arguments.data, arguments.images) as folder:
        cases = [Case(contender=name, output="decode", views=1) for name in DECODERS]
        rows = measure(cases, folder)
    publish(result_of("decode", argv, [asdict(row) for row in rows]), arguments.json)
    return 0


if __name__ == "__main__":
    run_command(main)
