"""Training steps alone: images per second of recipes on one ready batch, beside a plain loop and lightly.

A step is forward, loss, backward, optimizer, averages and queue, at the learning rate of the recipe's peak.
"fastssl" is the trainer's ``TrainStep``, metrics included; "plain" is the loop that a user would write with
the same networks, loss and optimizer (``benchmarks.contenders.plain_step``), "lightly" the same loop with
lightly's modules (``benchmarks.contenders.lightly``), if that is installed. They take turns, and medians of
five rounds count, after one that warms up. The byte bound is the time that the tensors of the eager step,
each read or written by every operation that touches it, take at the rate at which the device copies a large
block of its memory, measured in the same rounds.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import tyro
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks.command import ResultOptions, run_benchmark
from benchmarks.contenders.plain_step import Views, plain_step
from benchmarks.profile_page import profile_page
from benchmarks.result import check_places
from benchmarks.turns import Run, Taken, Turn, quartiles, take_turns, warm_turn
from fastssl.config import Config, Machine
from fastssl.distributed.device import choose_device
from fastssl.distributed.dist_env import DistEnv
from fastssl.distributed.precision import AUTOCAST, Precision, resolve_precision
from fastssl.methods import BYOL, Method, MoCo
from fastssl.models.fused_batch_norm import fuse_batch_norms
from fastssl.optim import SGD
from fastssl.optim.graphed_step import GraphedStep
from fastssl.recipes import find_recipe
from fastssl.run.build import build_on_device, build_train_step, training_batches
from fastssl.run.data import open_training_data
from pipelines.backends.choose import open_loader
from pipelines.batch import Batch
from pipelines.command.errors import UserError, run_command
from pipelines.decode.bad_images import BadImages
from pipelines.files.atomic import atomic_file

_PATIENCE = 4  # turns of a second: steps vary more than kernels
_PATIENCE_ON_GPU = 6  # of a third of one
_PROFILED = 2  # steps
_MOST_STEPS = 1 << 40


@dataclass(frozen=True, kw_only=True)
class TrainingRow:
    """One contender at one recipe: medians of the rounds."""

    recipe: str
    contender: str
    """fastssl, plain, lightly, or fastssl with a variant."""
    device: str
    precision: str
    images: int
    """Images per step."""
    images_per_s: float


@dataclass(frozen=True, kw_only=True)
class Row(TrainingRow):
    """Steps alone."""

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
class Options(ResultOptions):
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
    variants: tuple[Literal["compile", "cuda-graph", "fused-batch-norm"], ...] = ()
    """Measure fastssl's step with these options of the training too, or with batch norms of our own
    kernels."""
    profile: Path | None = None
    """File for a page on where the time of fastssl's steps goes."""


@dataclass(frozen=True, eq=False)
class Contender:
    """A step that is ready to be taken."""

    recipe: str
    images: int
    gigabytes: float
    """Bytes that the eager step of fastssl moves, 10^9."""
    turn: Turn


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark and print its table."""
    return run_benchmark("step", Options, argv, __doc__, _rows)


def _rows(options: Options) -> list[dict[str, Any]]:
    check_places(options.profile)
    if options.threads:
        torch.set_num_threads(options.threads)
    return [asdict(row) for row in measure(options, choose_device(options.device))]


def measure(options: Options, device: torch.device) -> list[Row]:
    """Let the steps of all recipes take turns."""
    precision, _ = resolve_precision(options.precision, device)
    with ExitStack() as stack:
        contenders: list[Contender] = []
        patience = _PATIENCE_ON_GPU if device.type == "cuda" else _PATIENCE
        for name in options.recipes:
            config = recipe_on_scenes(name, options.batch_size, precision)
            step, others = ready_steps(stack, config, device)
            with ByteCount() as count:
                step(1)
            if not others:
                print(f"{name}: no plain loop of its method and optimizer to compare with", file=sys.stderr)
            for variant in options.variants:
                machine = replace(
                    config.machine, compile=variant == "compile", cuda_graph=variant == "cuda-graph"
                )
                label = (
                    f"fastssl --{variant}" if variant in ("compile", "cuda-graph") else f"fastssl {variant}"
                )
                others[label], _ = ready_steps(stack, replace(config, machine=machine), device, variant)
                others[label](1 + GraphedStep.WARM_UP_STEPS)
            contenders += [
                Contender(
                    recipe=name,
                    images=config.experiment.batch_size,
                    gigabytes=count.bytes / 1e9,
                    turn=warm_turn(contender, device, run, patience),
                )
                for contender, run in {"fastssl": step, **others}.items()
            ]
        taken, rate = take_turns([contender.turn for contender in contenders], copying_on=device)
        if options.profile is not None:
            own = [contender for contender in contenders if contender.turn.name == "fastssl"]
            pages = [profile_page(each.recipe, each.turn.run, _PROFILED, device) for each in own]
            with atomic_file(options.profile) as file:
                file.write("\n".join(pages).encode())
    assert rate is not None
    return [_row(contender, taken[contender.turn], precision, rate) for contender in contenders]


def recipe_on_scenes(name: str, batch_size: int, precision: Precision) -> Config:
    """The recipe with the built-in images in the place of its own.

    Args:
        name: of the recipe.
        batch_size: images per step; 0: the recipe's.
        precision: never auto.

    Raises:
        UserError: no such recipe, or one that chooses among ImageNet's classes.
    """
    config = find_recipe(name)
    experiment = replace(config.experiment, precision=precision)
    if batch_size:
        experiment = replace(experiment, batch_size=batch_size)
    if experiment.taxonomy != "classes" or experiment.class_share < 1:
        raise UserError(f"{name} chooses among ImageNet's classes: take the recipe that it varies")
    return replace(config, experiment=experiment, machine=Machine(data="scenes", pipeline="fake", workers=1))


def ready_steps(
    stack: ExitStack, config: Config, device: torch.device, variant: str = ""
) -> tuple[Run, dict[str, Run]]:
    """The step of a recipe, and those of others by name where there are any; views are noise.

    Args:
        stack: closes the loader.
        config: config of the recipe; its precision is resolved.
        device: device of the steps.
        variant: fused-batch-norm: normalize by our kernels.
    """
    experiment = config.experiment
    data = open_training_data(config, DistEnv())
    method = build_on_device(experiment, data, device)
    if variant == "fused-batch-norm":
        fuse_batch_norms(method)
    loading = training_batches(config, data, device, BadImages(None, 0), start=0, stop=_MOST_STEPS)
    batches = iter(stack.enter_context(open_loader(loading)))
    rate = experiment.optimizer.base_lr * experiment.batch_size / 256
    others = {name: _on_batches(step, batches) for name, step in other_steps(method, config, rate).items()}
    train_step = build_train_step(config, method, device)
    done = 0

    def step(times: int) -> None:
        nonlocal done
        for _ in range(times):
            train_step(batches, done % data.total_steps, rate)
            done += 1

    return step, others


def other_steps(method: Method, config: Config, rate: float) -> dict[str, Callable[[Views], None]]:
    """Steps of "plain" torch and, if it is installed, "lightly" on a pair of views; {} for other recipes.

    Args:
        method: of the config, on its device; its networks are copied.
        config: config of a run; its precision is resolved.
        rate: learning rate, the same at each step.
    """
    experiment = config.experiment
    moco_both_ways = isinstance(method, MoCo) and method.config.symmetric_loss
    if not (type(method) is BYOL or moco_both_ways) or not isinstance(experiment.optimizer, SGD.Config):
        return {}
    if experiment.accumulation_steps > 1 or experiment.batch_norm_group is not None:
        return {}
    decay, autocast = experiment.optimizer.weight_decay, AUTOCAST[experiment.precision]
    steps = {"plain": plain_step(method, rate, decay, autocast)}
    try:
        from benchmarks.contenders.lightly import lightly_step
    except ImportError as error:
        print(f"lightly is left out, not installed: {error}", file=sys.stderr)
        return steps
    assert isinstance(method, BYOL | MoCo)
    heads = method.config.heads
    if "predictor" not in heads or any(head.layers != 2 for head in heads.values()):
        return steps
    return steps | {"lightly": lightly_step(method, rate, decay, autocast)}


def _on_batches(step: Callable[[Views], None], batches: Iterator[Batch]) -> Run:
    def run(times: int) -> None:
        for _ in range(times):
            step(next(batches).each_view())

    return run


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


def _row(contender: Contender, taken: Sequence[Taken], precision: str, rate: float) -> Row:
    low, middle, high = (us / 1e3 for us in quartiles([once.clock_s for once in taken]))
    return Row(
        recipe=contender.recipe,
        contender=contender.turn.name,
        device=contender.turn.device.type,
        precision=precision,
        images=contender.images,
        images_per_s=round(1e3 * contender.images / middle, 1),
        ms_per_step=round(middle, 3),
        ms_quartiles=(round(low, 3), round(high, 3)),
        core_ms_per_step=round(1e3 * float(np.median([once.core_s for once in taken])), 2),
        gb_per_step=round(contender.gigabytes, 3),
        copied_gb_per_s=round(rate, 1),
        share_of_bound=round(1e3 * contender.gigabytes / rate / middle, 4),
    )


if __name__ == "__main__":
    run_command(main)
