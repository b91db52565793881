"""Cost of the built-in images: core-microseconds per image, in one thread; and a sheet of them.

Kinds take turns in each of several rounds; a result is the median over the rounds. The first row is what the
solids of ``scenes`` would cost at 64 pixels a side, to compare; they are stored, at 48.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.command import ResultOptions, run_benchmark
from benchmarks.result import check_places
from pipelines.command.errors import run_command
from pipelines.command.ranges import Count
from pipelines.files.atomic import atomic_file
from pipelines.sources.scenes.arrangement import COMBINATIONS
from pipelines.sources.scenes.factors import draw_scenes
from pipelines.sources.scenes.labeled import open_labeled
from pipelines.sources.scenes.raymarch import render
from pipelines.sources.scenes.shapes import CLASSES

_ROUNDS = 5
_MULTI_IN_SHEET = 4


@dataclass(frozen=True, kw_only=True)
class Options(ResultOptions):
    """Options of the benchmark."""

    images: Count = 200
    """Images of each kind per round."""
    sheet: Path | None = None
    """JPEG file for a sheet: a row per combination, a class per column, then images of several shapes."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark, print its table and draw the sheet."""
    return run_benchmark("scenes", Options, argv, __doc__, _rows)


def _rows(options: Options) -> list[dict[str, Any]]:
    check_places(options.sheet)
    costs = measure(options.images)
    if options.sheet is not None:
        with atomic_file(options.sheet) as file:
            Image.fromarray(sheet()).save(file, "JPEG", quality=85)
    return costs


def measure(count: int) -> list[dict[str, Any]]:
    """Cost of each kind of images, and of labels."""
    old = draw_scenes(0, np.arange(count))
    plain, single = open_labeled("train", "single-0000"), open_labeled("train", "single-1111")
    multi = open_labeled("train", "multi-1111")
    kinds: dict[str, Callable[[int], object]] = {
        "scenes, at 64 pixels": lambda index: render(old[index], 64),
        "scenes, at 48 pixels": lambda index: render(old[index], 48),
        "scenes:single-0000": plain.read,
        "scenes:single-1111": single.read,
        "scenes:multi-1111": multi.read,
        "labels of scenes:single-1111": single.labels,
        "labels of scenes:multi-1111": multi.labels,
    }
    times: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(1 + _ROUNDS):  # the first compiles, and makes textures and shapes
        for name, make in kinds.items():
            begin = time.thread_time()
            for index in range(count):
                make(index)
            times[name].append(1e6 * (time.thread_time() - begin) / count)
    return [
        {"images": name, "core_us_per_image": round(median(rounds[1:]), 1)} for name, rounds in times.items()
    ]


def sheet() -> np.ndarray:
    """Images of all combinations, uint8 [H, W, 3]."""
    rows = []
    for combination in COMBINATIONS:
        single = open_labeled("train", f"single-{combination},images={len(CLASSES)}")
        multi = open_labeled("train", f"multi-{combination},images={_MULTI_IN_SHEET}")
        small = [np.asarray(Image.fromarray(multi.read(i)).resize((64, 64))) for i in range(_MULTI_IN_SHEET)]
        rows.append(np.concatenate([*map(single.read, range(len(CLASSES))), *small], axis=1))
    return np.concatenate(rows)


if __name__ == "__main__":
    run_command(main)
