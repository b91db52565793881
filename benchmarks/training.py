"""Training whole, images and all: steps per second of a recipe, beside a DataLoader with lightly's modules.

"fastssl" is the trainer's loader and ``TrainStep``; "lightly" a DataLoader with as many workers as there are
cores, torchvision's v2 transforms as in ``benchmarks.contenders.torchvision``, and lightly's modules
(``benchmarks.contenders.lightly``); "plain" the same with the loop of ``benchmarks.contenders.plain_step``.
Each opens its loader, takes a few steps that do not count, is clocked, and closes it; then the next has its
turn. Medians of three rounds count. Core-seconds are user and system time of all threads and processes over
the whole turn, opening included.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from benchmarks.command import ResultOptions, run_benchmark
from benchmarks.contenders import Work
from benchmarks.contenders.torch_dataset import Views as ViewsOfFiles
from benchmarks.contenders.torchvision import load, transform_of
from benchmarks.images import GENERATED, image_folder
from benchmarks.step import TrainingRow, other_steps
from benchmarks.worker import core_seconds
from fastssl.config import Config, Machine
from fastssl.distributed.device import choose_device
from fastssl.distributed.dist_env import DistEnv
from fastssl.distributed.precision import Precision, resolve_precision
from fastssl.recipes import find_recipe
from fastssl.run.build import build_on_device, build_train_step, training_batches
from fastssl.run.data import open_training_data
from pipelines.backends.choose import choose_pipeline, open_loader
from pipelines.command.errors import UserError, run_command
from pipelines.command.progress import show_progress
from pipelines.command.ranges import Count
from pipelines.decode.bad_images import BadImages

_ROUNDS = 3
_WARM_UP = 8  # steps: more than loaders hold ready

Steps = Callable[[int], Iterator[None]]
"""Opens the loader and takes so many steps, one for each ``next``."""


@dataclass(frozen=True, kw_only=True)
class Row(TrainingRow):
    """Training whole."""

    core_ms_per_image: float


@dataclass(frozen=True, kw_only=True)
class Options(ResultOptions):
    """Options of the benchmark."""

    recipe: tyro.conf.Positional[str] = "moco-v2-plus-cifar10-cpu"
    """Recipe with two views of one size, of MoCo v2+ or BYOL."""
    data: str = GENERATED
    """Folder of JPEGs, searched at all depths; or: generated, of the views' size."""
    images: Count = 2000
    """Most images to take."""
    steps: Count = 20
    """Steps that are clocked in a turn."""
    precision: Precision = "fp32"
    """Autocast, as the trainer's."""
    device: str = "auto"
    """auto, cpu or cuda."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark and print its table."""
    return run_benchmark("training", Options, argv, __doc__, _rows)


def _rows(options: Options) -> list[dict[str, Any]]:
    return [asdict(row) for row in measure(options, choose_device(options.device))]


def measure(options: Options, device: torch.device) -> list[Row]:
    """Let the contenders take turns.

    Raises:
        UserError: the recipe's method has no plain loop to compare with.
    """
    precision, _ = resolve_precision(options.precision, device)
    config = find_recipe(options.recipe)
    size = config.experiment.views[0].spec.size
    with image_folder(options.data, options.images, (size, size)) as folder:
        experiment = replace(config.experiment, precision=precision)
        machine = Machine(data=str(folder), workers=len(os.sched_getaffinity(0)))
        contenders = open_contenders(replace(config, experiment=experiment, machine=machine), device)
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
        turns = [name for _ in range(_ROUNDS) for name in contenders]
        images = experiment.batch_size
        for name in show_progress(turns, len(turns), "Taking turns"):
            taken[name].append(_clocked(contenders[name], options.steps, images, device))
    return [
        Row(
            recipe=options.recipe,
            contender=name,
            device=device.type,
            precision=precision,
            images=images,
            images_per_s=round(float(np.median([rate for rate, _ in of_name])), 1),
            core_ms_per_image=round(float(np.median([core for _, core in of_name])), 3),
        )
        for name, of_name in taken.items()
    ]


def open_contenders(config: Config, device: torch.device) -> dict[str, Steps]:
    """Build the networks of all contenders, those installed, on the images of a folder.

    Args:
        config: its data is a folder of JPEGs, its precision resolved.
        device: device that trains.

    Raises:
        UserError: the recipe's method has no plain loop to compare with.
    """
    experiment = config.experiment
    data = open_training_data(config, DistEnv())
    method = build_on_device(experiment, data, device)
    rate = experiment.optimizer.base_lr * experiment.batch_size / 256
    others = other_steps(method, config, rate)
    if not others or len(experiment.views) > 1:
        raise UserError(f"{config.recipe}: there is no plain loop of its method, optimizer and views")
    train_step = build_train_step(config, method, device)
    done = itertools.count()

    def fastssl(steps: int) -> Iterator[None]:
        first = next(done)
        loading = training_batches(config, data, device, BadImages(None, 0), start=first, stop=first + steps)
        pipeline, _ = choose_pipeline("auto", data.source, device)
        with open_loader(replace(loading, pipeline=pipeline)) as loader:
            batches = iter(loader)
            for step in range(first, first + steps):
                train_step(batches, step % data.total_steps, rate)
                yield

    return {"fastssl": fastssl} | {
        name: _with_dataloader(step, config, device) for name, step in others.items()
    }


def _with_dataloader(
    step: Callable[[tuple[torch.Tensor, ...]], None], config: Config, device: torch.device
) -> Steps:
    spec, batch_size = config.experiment.views[0].spec, config.experiment.batch_size
    work = Work(folder=Path(config.machine.data), views=2, threads=config.machine.workers, spec=spec)
    transform = v2.Compose(
        [transform_of(spec), v2.ToDtype(torch.float32, scale=True), v2.Normalize(spec.mean, spec.std)]
    )

    def run(steps: int) -> Iterator[None]:
        loader = DataLoader(
            ViewsOfFiles(work, load, transform),
            batch_size=batch_size,
            shuffle=True,
            drop_last=True,
            num_workers=work.threads,
            persistent_workers=True,
            pin_memory=device.type == "cuda",
        )
        batches = itertools.chain.from_iterable(itertools.repeat(loader))
        for views in itertools.islice(batches, steps):
            pair = views.to(device, non_blocking=True).transpose(0, 1)
            step(tuple(view.contiguous(memory_format=torch.channels_last) for view in pair))
            yield

    return run


def _clocked(contender: Steps, steps: int, images: int, device: torch.device) -> tuple[float, float]:
    """A turn: images per second, and core-milliseconds per image."""
    core = core_seconds()
    with closing(contender(_WARM_UP + steps)) as taken:  # type: ignore[type-var]  # generators
        for _ in range(_WARM_UP):
            next(taken)
        _wait_for(device)
        wall = time.perf_counter()
        for _ in range(steps):
            next(taken)
        _wait_for(device)
        wall = time.perf_counter() - wall
        list(taken)  # ends it
    core = core_seconds() - core
    return steps * images / wall, 1e3 * core / images / (_WARM_UP + steps)


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    run_command(main)
