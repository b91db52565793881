"""Training steps alone: images per second of recipes on one ready batch, beside a plain torch loop.

A step is forward, loss, backward, optimizer, averages and queue, at the learning rate of the recipe's peak.
"fastssl" is the trainer's ``TrainStep``, metrics included; "plain" is the loop that a user would write with
the same networks, loss and optimizer (``benchmarks.contenders.plain_step``). They take turns, and medians of
five rounds count, after one that warms up. The byte bound is the time that the tensors of the eager step,
each read or written by every operation that touches it, take at the rate at which the device copies a large
block of its memory, measured in the same rounds.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks.contenders.plain_step import plain_step
from benchmarks.profile_page import profile_page
from benchmarks.report import publish
from benchmarks.result import result_of
from benchmarks.rounds import ROUNDS
from fastssl.config import Config, Machine
from fastssl.distributed.device import choose_device
from fastssl.distributed.precision import AUTOCAST, Precision, resolve_precision
from fastssl.distributed.processes import DistEnv
from fastssl.methods import BYOL, Method, MoCo
from fastssl.optim import SGD
from fastssl.optim.optimizer import build_optimizer
from fastssl.optim.train_step import TrainStep
from fastssl.recipes import find_recipe
from fastssl.run.build import build_on_device
from fastssl.run.data import open_training_data
from pipelines.backends.backend import LoaderConfig
from pipelines.backends.choose import open_loader
from pipelines.batch import Batch
from pipelines.command.errors import UserError, run_command
from pipelines.command.options import one_line_complaints
from pipelines.command.progress import show_progress
from pipelines.decode.bad_images import BadImages
from pipelines.files.atomic import atomic_file

_LEAST_S = 1.0  # of a turn
_MOST_COPIED = 1 << 30  # bytes
_PROFILED = 5  # steps
_MOST_STEPS = 1 << 40


@dataclass(frozen=True, kw_only=True)
class Row:
    """One step of one recipe: medians of the rounds."""

    recipe: str
    contender: str
    """fastssl, or plain."""
    device: str
    precision: str
    images: int
    """Images per step."""
    images_per_s: float
    ms_per_step: float
    ms_quartiles: tuple[float, float]
    core_ms_per_step: float
    """User and system time of all threads."""
    gb_per_step: float
    """Bytes that the operations of the eager step read and write, 10^9."""
    copied_gb_per_s: float
    """Bytes that the device reads and writes while it copies, 10^9 per second."""
    share_of_bound: float
    """Time of those bytes at that rate, over the step's."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of the benchmark."""

    recipes: tyro.conf.Positional[tuple[str, ...]] = ("quickstart",)
    """Recipes to step."""
    batch_size: int = 0
    """Images per step; 0: the recipe's."""
    precision: Precision = "auto"
    """Autocast, as the trainer's."""
    device: str = "auto"
    """auto, cpu or cuda."""
    threads: int = 0
    """torch's threads on a CPU; 0: one per core."""
    json: Path | None = None
    """File for the result."""
    profile: Path | None = None
    """File for a page on where the time of fastssl's steps goes."""


@dataclass(frozen=True, eq=False)
class Turn:
    """A contender that takes turns with others."""

    recipe: str
    contender: str
    images: int
    run: Callable[[int], object]
    """Does the work so many times."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark and print its table."""
    argv = sys.argv[1:] if argv is None else argv
    prog = "python -m benchmarks.step"
    with one_line_complaints(prog):
        options = tyro.cli(Options, prog=prog, description=__doc__, args=argv)
    if options.threads:
        torch.set_num_threads(options.threads)
    rows = measure(options, choose_device(options.device))
    publish(result_of("step", argv, [asdict(row) for row in rows]), options.json)
    return 0


def measure(options: Options, device: torch.device) -> list[Row]:
    """Let the steps of all recipes take turns."""
    precision, _ = resolve_precision(options.precision, device)
    with ExitStack() as stack:
        turns: list[Turn] = []
        gigabytes: dict[str, float] = {}
        for name in options.recipes:
            step, plain, images = _set_up(stack, name, options.batch_size, precision, device)
            with ByteCount() as count:
                step(1)
            gigabytes[name] = count.bytes / 1e9
            turns.append(Turn(name, "fastssl", images, step))
            if plain is None:
                print(f"{name}: no plain loop of its method and optimizer to compare with", file=sys.stderr)
            else:
                turns.append(Turn(name, "plain", images, plain))
        copy, copied = copying(device)
        turns.append(Turn("", "copy", 0, copy))
        times = {turn: _times(turn, device) for turn in turns}
        taken: dict[Turn, list[tuple[float, float]]] = {turn: [] for turn in turns}
        rounds = [turn for _ in range(1 + ROUNDS) for turn in turns]
        for turn in show_progress(rounds, len(rounds), "Taking turns"):
            taken[turn].append(clocked(turn, times[turn], device))
        if options.profile is not None:
            own = [turn for turn in turns if turn.contender == "fastssl"]
            pages = [profile_page(turn.recipe, turn.run, _PROFILED, device) for turn in own]
            with atomic_file(options.profile) as file:
                file.write("\n".join(pages).encode())
    rate = copied / float(np.median([once for once, _ in taken.pop(turns[-1])[1:]])) / 1e9
    return [
        _row(turn, taken[turn][1:], device, precision, gigabytes[turn.recipe], rate) for turn in turns[:-1]
    ]


def _set_up(
    stack: ExitStack, name: str, batch_size: int, precision: Precision, device: torch.device
) -> tuple[Callable[[int], object], Callable[[int], object] | None, int]:
    """A recipe's step, the plain one where there is one, and the images of a batch; views are noise."""
    config = _config(name, batch_size)
    experiment, autocast = config.experiment, AUTOCAST[precision]
    data = open_training_data(config, DistEnv())
    method = build_on_device(experiment, data, device)
    loading = LoaderConfig(
        source=data.source,
        groups=experiment.views,
        plan=data.plan,
        start_step=0,
        stop_step=_MOST_STEPS,
        bad_images=BadImages(None, 0),
        device=device,
        dtype=autocast or torch.float32,
        pipeline="fake",
        workers=1,
    )
    batches = iter(stack.enter_context(open_loader(loading)))
    rate = experiment.optimizer.base_lr * experiment.batch_size / 256
    train_step = TrainStep(
        method,
        build_optimizer(method.param_groups(), experiment.optimizer),
        device=device,
        autocast=autocast,
        accumulation_steps=experiment.accumulation_steps,
    )
    done = 0

    def step(times: int) -> None:
        nonlocal done
        for _ in range(times):
            train_step(batches, done % data.total_steps, rate)
            done += 1

    plain = _plain(method, config, batches, rate, autocast)
    return step, plain, experiment.batch_size


def _config(name: str, batch_size: int) -> Config:
    """The recipe on the built-in scenes, as many epochs of them as make a run."""
    config = find_recipe(name)
    experiment = config.experiment
    if batch_size:
        experiment = replace(experiment, batch_size=batch_size)
    if experiment.taxonomy != "classes" or experiment.class_share < 1:
        raise UserError(f"{name} chooses among ImageNet's classes: take the recipe that it varies")
    return replace(config, experiment=experiment, machine=Machine(data="scenes"))


def _plain(
    method: Method, config: Config, batches: Iterator[Batch], rate: float, autocast: torch.dtype | None
) -> Callable[[int], object] | None:
    experiment = config.experiment
    moco_both_ways = isinstance(method, MoCo) and method.config.symmetric_loss
    if not (type(method) is BYOL or moco_both_ways) or not isinstance(experiment.optimizer, SGD.Config):
        return None
    if experiment.accumulation_steps > 1 or experiment.batch_norm_group is not None:
        return None
    plain = plain_step(method, rate, experiment.optimizer.weight_decay, autocast)

    def step(times: int) -> None:
        for _ in range(times):
            plain(next(batches).each_view())

    return step


class ByteCount(TorchDispatchMode):
    """Bytes of the tensors that operations read and write inside; views and allocations are free."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count an operation and do it."""
        out = func(*args, **(kwargs or {}))
        name = func.name()
        if not func.is_view and not name.startswith(("aten::empty", "aten::detach", "aten::_unsafe_view")):
            self.bytes += sum(
                leaf.numel() * leaf.element_size()
                for leaf in (*tree_leaves(args), *tree_leaves(kwargs), *tree_leaves(out))
                if isinstance(leaf, torch.Tensor)
            )
        return out


def copying(device: torch.device) -> tuple[Callable[[int], object], int]:
    """A copy of a large block of the device's memory, and the bytes that it reads and writes."""
    free = torch.cuda.mem_get_info()[0] // 4 if device.type == "cuda" else _MOST_COPIED // 8
    source = torch.ones(min(_MOST_COPIED, free), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)

    def run(times: int) -> None:
        for _ in range(times):
            target.copy_(source)

    return run, 2 * len(source)


def clocked(turn: Turn, times: int, device: torch.device) -> tuple[float, float]:
    """Take a turn. Returns seconds, by the wall's or the GPU's clock, and core-seconds of doing it once."""
    core, wall = time.process_time(), time.perf_counter()
    if device.type == "cuda":
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        turn.run(times)
        end.record()
        end.synchronize()
        seconds = begin.elapsed_time(end) / 1e3
    else:
        turn.run(times)
        seconds = time.perf_counter() - wall
    return seconds / times, (time.process_time() - core) / times


def _times(turn: Turn, device: torch.device) -> int:
    turn.run(1)
    return max(1, math.ceil(_LEAST_S / clocked(turn, 1, device)[0]))


def _row(
    turn: Turn,
    taken: Sequence[tuple[float, float]],
    device: torch.device,
    precision: str,
    gigabytes: float,
    rate: float,
) -> Row:
    low, middle, high = (1e3 * np.percentile([once for once, _ in taken], [25, 50, 75])).round(3).tolist()
    return Row(
        recipe=turn.recipe,
        contender=turn.contender,
        device=device.type,
        precision=precision,
        images=turn.images,
        images_per_s=round(1e3 * turn.images / middle, 1),
        ms_per_step=middle,
        ms_quartiles=(low, high),
        core_ms_per_step=round(1e3 * float(np.median([core for _, core in taken])), 2),
        gb_per_step=round(gigabytes, 3),
        copied_gb_per_s=round(rate, 1),
        share_of_bound=round(1e3 * gigabytes / rate / middle, 4),
    )


if __name__ == "__main__":
    run_command(main)
