"""Cost of rendering on the CPU: core-microseconds per view of every step, in one thread.

A step costs what a view costs with it less what the same view costs without. All variants take turns in
each of several rounds, and each result is the median over the rounds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import numpy as np

from benchmarks.command import ResultOptions, run_benchmark
from benchmarks.images import GENERATED, decoded_images
from pipelines.command.errors import run_command
from pipelines.command.ranges import Count
from pipelines.ops import ColorJitter, GaussianBlur, Grayscale, Solarize
from pipelines.render.cpu import Workspace, render_constants, render_views
from pipelines.render.finish import ViewDtype
from pipelines.views import ViewSpec, draw

_ROUNDS = 9
_VIEWS = 8
_NUMPY_TYPES = {"uint8": np.uint8, "float32": np.float32, "float16": np.float16, "bfloat16": np.uint16}


@dataclass(frozen=True, kw_only=True)
class Options(ResultOptions):
    """Options of the benchmark."""

    data: str = GENERATED
    """Folder of JPEGs, searched at all depths; or: generated, for views below 100 pixels of their size."""
    images: Count = 32
    """Most images to take."""
    size: Count = 224
    """Side of a view, pixels."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark and print its table."""
    return run_benchmark("render", Options, argv, __doc__, _rows)


def _rows(options: Options) -> list[dict[str, Any]]:
    """Cost of the crop and the chain, and the cost that every other step adds to the crop ("+ ...")."""
    small = (options.size, options.size) if options.size < 100 else None  # as CIFAR's
    costs = measure(decoded_images(options.data, options.images, small), options.size)
    return [
        {"step": name, "core_us_per_view": round(cost, 1)}
        if name in ("crop", "chain")
        else {"step": f"+ {name}", "core_us_per_view": round(cost - costs["crop"], 1)}
        for name, cost in costs.items()
    ]


def measure(images: list[np.ndarray], size: int) -> dict[str, float]:
    """Core-microseconds per view of every variant."""
    runs = {name: _prepare(spec, kind, images) for name, (spec, kind) in variants(size).items()}
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(_ROUNDS):
        for name, run in runs.items():
            begin = time.thread_time()
            run()
            times[name].append(1e6 * (time.thread_time() - begin) / (len(images) * _VIEWS))
    return {name: median(rounds) for name, rounds in times.items()}


def variants(size: int) -> dict[str, tuple[ViewSpec, ViewDtype]]:
    """Measured specs by name. All but "chain" are the crop with one more step."""
    crop = ViewSpec(size=size)
    jitter = replace(crop, jitter=ColorJitter(p=1, brightness=0.4, contrast=0.4, saturation=0.4))
    chain = replace(
        jitter,
        jitter=replace(jitter.jitter, p=0.8, hue=0.1),
        grayscale=Grayscale(p=0.2),
        blur=GaussianBlur(p=0.5),
        solarize=Solarize(p=0.2),
    )
    return {
        "crop": (crop, "uint8"),
        "jitter without hue": (jitter, "uint8"),
        "jitter": (replace(jitter, jitter=replace(jitter.jitter, hue=0.1)), "uint8"),
        "gray": (replace(crop, grayscale=Grayscale(p=1)), "uint8"),
        "blur, sigma 1": (replace(crop, blur=GaussianBlur(p=1, sigma=(1, 1))), "uint8"),
        "blur, sigma 2": (replace(crop, blur=GaussianBlur(p=1, sigma=(2, 2))), "uint8"),
        "solarize": (replace(crop, solarize=Solarize(p=1)), "uint8"),
        "lab": (replace(crop, color_space="lab"), "uint8"),
        "float16": (crop, "float16"),
        "bfloat16": (crop, "bfloat16"),
        "float32": (crop, "float32"),
        "chain": (chain, "uint8"),
    }


def _prepare(spec: ViewSpec, dtype: ViewDtype, images: list[np.ndarray]) -> Callable[[], None]:
    """A function that renders _VIEWS views of every image, warmed up."""
    count = len(images)
    parameters = draw(
        spec,
        seed=0,
        epoch=0,
        samples=np.arange(count),
        heights=np.array([image.shape[0] for image in images], np.int32),
        widths=np.array([image.shape[1] for image in images], np.int32),
        views=range(_VIEWS),
    )
    out = np.zeros((_VIEWS, count, spec.size, spec.size, 3), _NUMPY_TYPES[dtype])
    constants, workspace = render_constants(spec, dtype), Workspace()

    def run() -> None:
        for slot, image in enumerate(images):
            render_views(image, parameters, slot, constants, out, workspace)

    run()
    return run


if __name__ == "__main__":
    run_command(main)
