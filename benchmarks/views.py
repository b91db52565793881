"""Renderers alone: from decoded images, in the memory of the renderer's device, to finished normalized views.

All apply the whole augmentation of ``benchmarks.contenders.CHAIN`` at 224 pixels, but for what the table says
is left out, to all images as one batch, with one host thread. fastssl's Triton kernels write bfloat16, DALI
on a GPU and triton-augment float16, all else is float32; parameters are drawn within the time that counts.
Renderers take turns, and medians of five rounds count, after one that warms up; in a round a renderer makes
as many batches as take it a quarter of a second, on a GPU a twentieth. Who is not installed, needs a GPU
where there is none, or fails is named and left out.

A view costs core-microseconds (user and system), and on a GPU microseconds between two events of its stream,
which include what the GPU waits for the host. The byte bound is what the bytes that
``pipelines.render.gpu`` says a view moves would take at the rate at which that GPU copies a large block of
its memory, measured in the same rounds. A batch should be larger than the GPU's cache (256 images: 144 MB).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from benchmarks.command import ImageOptions, run_benchmark
from benchmarks.contenders import (
    CHAIN,
    ON_GPU_ONLY,
    OTHER_RENDERERS,
    OWN_RENDERERS,
    RENDERERS_LEAVE_OUT,
    Decoded,
    open_renderer,
)
from benchmarks.contenders.own_renderers import tables
from benchmarks.images import GENERATED, decoded_images
from benchmarks.profile_page import profile_page
from benchmarks.result import check_places
from benchmarks.turns import Taken, Turn, quartiles, take_turns, warm_turn
from fastssl.distributed.device import choose_device
from pipelines.command.errors import run_command
from pipelines.command.progress import show_progress
from pipelines.command.ranges import Count
from pipelines.files.atomic import atomic_file

_CPU, _GPU = torch.device("cpu"), torch.device("cuda")
_PROFILED = 10  # batches
_TABLES = 16  # that the mean view of the byte bound is taken from


@dataclass(frozen=True, kw_only=True)
class Row:
    """One renderer on one device: medians of the rounds.

    Attributes:
        contender: of ``benchmarks.contenders``.
        device: "cpu" or "cuda".
        dtype: of the views.
        images: in a batch.
        views: of each image.
        views_per_s: on a GPU by its own clock.
        core_us_per_view: user and system time of all threads, microseconds.
        core_us_quartiles: the first and the third, of the rounds.
        gpu_us_per_view: None on a CPU.
        gpu_us_quartiles: likewise.
        bytes_per_view: ``bytes_per_view``.
        copied_gb_per_s: what the GPU reads and writes while it copies, 10^9 bytes per second.
        share_of_bound: what those bytes would take at that rate, over ``gpu_us_per_view``.
        leaves_out: operations of the chain that it does not do.
    """

    contender: str
    device: str
    dtype: str
    images: int
    views: int
    views_per_s: float
    core_us_per_view: float
    core_us_quartiles: tuple[float, float]
    gpu_us_per_view: float | None = None
    gpu_us_quartiles: tuple[float, float] | None = None
    bytes_per_view: int | None = None
    copied_gb_per_s: float | None = None
    share_of_bound: float | None = None
    leaves_out: tuple[str, ...] = ()


if TYPE_CHECKING:
    Renderer = str
else:
    Renderer = Literal[OTHER_RENDERERS]


@dataclass(frozen=True, kw_only=True)
class Options(ImageOptions):
    """Options of the benchmark."""

    data: str = GENERATED
    """Folder of JPEGs, searched at all depths; or: generated."""
    views: Count = 2
    """Views per image."""
    against: tuple[Renderer, ...] = OTHER_RENDERERS
    """Other renderers to measure."""
    device: Literal["auto", "cuda"] = "auto"
    """cuda: leave out what runs on a CPU beside a GPU."""
    profile: Path | None = None
    """File for a page on where the time of our renderer goes."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark and print its table."""
    return run_benchmark("views", Options, argv, __doc__, _rows)


def _rows(options: Options) -> list[dict[str, Any]]:
    check_places(options.profile)
    choose_device(options.device)  # refuses one that is not there
    images = decoded_images(options.data, options.images)
    names = [*OWN_RENDERERS, *options.against]
    rows = measure(images, options.views, names, only_gpu=options.device == "cuda")
    if options.profile is not None:
        name, device = ("triton", _GPU) if torch.cuda.is_available() else ("numba", _CPU)
        [(turn, _)] = _set_up(name, Decoded(images=images, views=options.views, spec=CHAIN, device=device))
        with atomic_file(options.profile) as file:
            file.write(profile_page(f"{name}, {len(images)} images", turn.run, _PROFILED, device).encode())
    return [asdict(row) for row in rows]


def measure(
    images: Sequence[np.ndarray], views: int, names: Sequence[str], *, only_gpu: bool = False
) -> list[Row]:
    """Let renderers take turns; those that are not at hand or fail are named on stderr and left out."""
    torch.set_num_threads(1)
    with_gpu = torch.cuda.is_available()
    wanted = [
        (name, device)
        for name in names
        for device in devices(name, with_gpu)
        if device == _GPU or not only_gpu
    ]
    renderers = {
        turn: dtype
        for name, device in show_progress(wanted, len(wanted), "Setting renderers up")
        for turn, dtype in _set_up(name, Decoded(images=images, views=views, spec=CHAIN, device=device))
    }
    taken, gb_per_s = take_turns(list(renderers), copying_on=_GPU if with_gpu else None)
    decoded = Decoded(images=images, views=views, spec=CHAIN, device=_CPU)
    moved = bytes_per_view(np.concatenate(list(tables(decoded, _TABLES))), CHAIN.size)
    return [
        row_of(turn, dtype, taken[turn], len(images), views, moved, gb_per_s)
        for turn, dtype in renderers.items()
    ]


def devices(name: str, with_gpu: bool) -> list[torch.device]:
    """Devices that a renderer is measured on; those that need a missing GPU are named on stderr."""
    if name in ("reference", "numba"):
        return [_CPU]
    if name in ON_GPU_ONLY and not with_gpu:
        print(f"{name} is left out: it needs a CUDA device, and torch sees none", file=sys.stderr)
        return []
    if name == "torchvision" and with_gpu:
        return [_CPU, _GPU]
    return [_GPU if with_gpu else _CPU]


def bytes_per_view(parameters: np.ndarray, size: int) -> float:
    """Bytes that ``pipelines.render.gpu`` says its kernels move per view, written with 2 bytes per number.

    Args:
        parameters: VIEW_PARAMETERS of any shape; the mean is over them.
        size: side of a view.
    """
    box = 3 * parameters["height"].astype(np.int64) * parameters["width"]
    colors = 3 * size**2
    contrast = 4 * colors * (parameters["contrast"] != 1)
    blur = 8 * colors * (parameters["blur_sigma"] > 0)
    return float((box + 2 * colors + contrast + blur).mean())


def row_of(
    turn: Turn,
    dtype: str,
    taken: Sequence[Taken],
    images: int,
    views: int,
    moved: float,
    gb_per_s: float | None,
) -> Row:
    """The row of what several rounds took.

    Args:
        turn: of a renderer.
        taken: by a batch, in each round.
        images, views: of a batch, and of each image.
        moved: bytes per view.
        gb_per_s: see ``Row.copied_gb_per_s``; None without a GPU.
    """
    low, core, high = quartiles([once.core_s for once in taken], images * views)
    first, clock, third = quartiles([once.clock_s for once in taken], images * views)
    row = Row(
        contender=turn.name,
        device=turn.device.type,
        dtype=dtype,
        images=images,
        views=views,
        views_per_s=round(1e6 / clock, 1),
        core_us_per_view=core,
        core_us_quartiles=(low, high),
        leaves_out=RENDERERS_LEAVE_OUT.get(turn.name, ()),
    )
    if turn.device.type == "cpu" or gb_per_s is None:
        return row
    return replace(
        row,
        gpu_us_per_view=clock,
        gpu_us_quartiles=(first, third),
        bytes_per_view=round(moved),
        copied_gb_per_s=round(gb_per_s, 1),
        share_of_bound=round(moved / (1e3 * gb_per_s) / clock, 4),
    )


def _set_up(name: str, decoded: Decoded) -> list[tuple[Turn, str]]:
    """A renderer, warmed up, and the dtype of its views; none if it is not installed or another's fails."""
    try:
        render = open_renderer(name, decoded)
        views = render(1)  # compiles, allocates
        turn = warm_turn(name, decoded.device, render)
        return [(turn, str(views[0].dtype).removeprefix("torch."))]
    except ImportError as error:
        print(f"{name} is left out, not installed: {error}", file=sys.stderr)
        return []
    except Exception as error:
        if name in OWN_RENDERERS:
            raise
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        print(f"{name} is left out, it failed on {decoded.device}: {reason}", file=sys.stderr)
        return []  # the other numbers are not lost


if __name__ == "__main__":
    run_command(main)
