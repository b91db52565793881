"""Decoders alone: core-microseconds per JPEG, read and decoded one by one in one thread, taking turns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from benchmarks.command import ImageOptions, run_benchmark
from benchmarks.images import image_folder
from benchmarks.rounds import Case, measure
from pipelines.command.errors import run_command

DECODERS = ("fastssl", "simplejpeg", "torchvision", "opencv", "dali", "pillow", "spdl", "nvimgcodec")


class Options(ImageOptions):
    """Options of the benchmark."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark and print its table."""
    return run_benchmark("decode", Options, argv, __doc__, _rows)


def _rows(options: Options) -> list[dict[str, Any]]:
    cases = [Case(contender=name, output="decode", views=1) for name in DECODERS]
    with image_folder(options.data, options.images) as folder:
        return [asdict(row) for row in measure(cases, folder)]


if __name__ == "__main__":
    run_command(main)
