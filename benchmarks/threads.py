"""Gain of more threads: images per second of fastssl's loader with one thread and with more, side by side.

Beside it a decoder alone, simplejpeg, in as many threads: more than the machine gives that one, no loader can
have. The full augmentation of ``benchmarks.contenders.CHAIN``, two views per image, uint8 out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.command import ImageOptions, run_benchmark
from benchmarks.images import image_folder
from benchmarks.rounds import Case, measure
from pipelines.command.errors import run_command
from pipelines.command.ranges import Counts

_CONTENDERS = (("simplejpeg", "decode"), ("fastssl", "pixels"), ("fastssl", "crops"), ("fastssl", "views"))


@dataclass(frozen=True, kw_only=True)
class Options(ImageOptions):
    """Options of the benchmark."""

    threads: Counts = (1, 2)
    """Numbers of threads to compare."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark and print its table."""
    return run_benchmark("threads", Options, argv, __doc__, _rows)


def _rows(options: Options) -> list[dict[str, Any]]:
    cases = [
        Case(contender=contender, output=output, views=2, threads=threads)
        for contender, output in _CONTENDERS
        for threads in options.threads
    ]
    with image_folder(options.data, options.images) as folder:
        return [asdict(row) for row in measure(cases, folder)]


if __name__ == "__main__":
    run_command(main)
