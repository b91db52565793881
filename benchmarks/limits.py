"""fastssl's loader beside its two limits, the decoder and Python.

The decode-only bound is what decoding each file once costs: a loader that decodes cannot cost less. The share
of the bound is that cost over the loader's, for each of its outputs, in one thread.

What Python costs is measured with decoder and kernels all but taken away (``contenders.stubbed``), at 16
threads, so that threads fight for the GIL as they would on many cores. Aim: at most 40 core-us per image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.command import ImageOptions, run_benchmark
from benchmarks.images import image_folder
from benchmarks.rounds import Case, Row, measure
from pipelines.command.errors import run_command
from pipelines.command.ranges import Counts

_OUTPUTS = ("decode", "pixels", "crops", "views")
_STUBBED_THREADS = 16


@dataclass(frozen=True, kw_only=True)
class Options(ImageOptions):
    """Options of the benchmark."""

    views: Counts = (1, 2, 4, 8)
    """Views per image, one table column each."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark and print its table."""
    return run_benchmark("limits", Options, argv, __doc__, _rows)


def _rows(options: Options) -> list[dict[str, Any]]:
    with image_folder(options.data, options.images) as folder:
        return [row for views in options.views for row in with_shares(measure(cases(views), folder))]


def cases(views: int) -> list[Case]:
    """Contenders that take turns at a number of views; decoding is measured beside each."""
    own = [Case(contender="fastssl", output=output, views=views) for output in _OUTPUTS]
    return [*own, Case(contender="stubbed", output="views", views=views, threads=_STUBBED_THREADS)]


def with_shares(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The rows of one number of views, fastssl's with "share_of_bound": what is left if it only decoded."""
    bound = next(row.core_us_per_image for row in rows if row.output == "decode")
    return [
        asdict(row)
        | ({"share_of_bound": round(bound / row.core_us_per_image, 3)} if row.contender == "fastssl" else {})
        for row in rows
    ]


if __name__ == "__main__":
    run_command(main)
