"""Gain of more threads: images per second of fastssl's loader with one thread and with more, side by side.

Beside it a decoder alone, simplejpeg, in as many threads: more than the machine gives that one, no loader can
have. The full augmentation of ``benchmarks.contenders.CHAIN``, two views per image, uint8 out.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.images import image_folder
from benchmarks.report import publish
from benchmarks.result import result_of
from benchmarks.rounds import Case, measure
from pipelines.command.errors import UserError, run_command
from pipelines.command.options import OptionParser

_CONTENDERS = (("simplejpeg", "decode"), ("fastssl", "pixels"), ("fastssl", "crops"), ("fastssl", "views"))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark and print its table."""
    argv = sys.argv[1:] if argv is None else argv
    parser = OptionParser(prog="python -m benchmarks.threads", description=__doc__)
    parser.add_argument(
        "--data", required=True, help="folder of JPEGs, searched at all depths; or: generated"
    )
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="numbers to compare")
    parser.add_argument("--images", type=int, default=256, help="how many, at most")
    parser.add_argument("--json", type=Path, help="file for the result")
    arguments = parser.parse_args(argv)
    if min(arguments.threads) < 1:
        raise UserError("--threads must be 1 or more")
    cases = [
        Case(contender=contender, output=output, views=2, threads=threads)
        for contender, output in _CONTENDERS
        for threads in arguments.threads
    ]
    with image_folder(arguments.data, arguments.images) as folder:
        rows = measure(cases, folder)
    publish(result_of("threads", argv, [asdict(row) for row in rows]), arguments.json)
    return 0


if __name__ == "__main__":
    run_command(main)
