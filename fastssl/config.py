"""A run's configuration is a value: frozen, typed, complete.

It has two halves. ``Experiment`` decides the result, and a resumed run must match it. ``Machine`` says where
and how it runs, and may differ.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from fastssl.component import Component, ComponentConfig, configs_by_kind
from fastssl.distributed.device import DeviceName
from fastssl.distributed.precision import Precision
from fastssl.methods import METHODS, Method
from fastssl.models import BACKBONES, Backbone
from fastssl.optim import OPTIMIZERS, Optimizer
from fastssl.optim.optimizer import Implementation
from fastssl.user_file import UserFile
from pipelines.backends.backend import CpuOutput, Pipeline
from pipelines.command.errors import UserError
from pipelines.command.options import user_path
from pipelines.command.places import refuse_secrets
from pipelines.command.ranges import (
    Count,
    CountOrZero,
    CountOrZeroOrNone,
    NotNegative,
    Positive,
    Share,
    SmallCount,
    check_ranges,
)
from pipelines.plan.plan import Order
from pipelines.views import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    LAB_MEAN,
    LAB_STD,
    ViewGroup,
    ViewSpec,
    evaluation_spec,
)

# of each family, its base's Config and its members
FAMILIES: dict[type[ComponentConfig], tuple[type[Component], ...]] = {
    Backbone.Config: BACKBONES,
    Method.Config: METHODS,
    Optimizer.Config: OPTIMIZERS,
}
Logger = Literal["tensorboard", "wandb"]
Results = tuple[tuple[str, float], ...]  # (metric, number): ("linear top-1", 0.72); accuracies as fractions


@dataclass(frozen=True, kw_only=True)
class Paper:
    """The published numbers that a recipe reproduces."""

    title: str
    place: str
    """Table and row."""
    results: Results = ()
    """The leading metric first; empty where the paper states no number, as in a plot."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The numbers that a recipe reached here, run to its end with this code."""

    results: Results
    """The leading metric first."""
    command: str
    cost: str
    """Time, and on what."""
    date: str
    """Year-month-day."""


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """Fields that decide the result."""

    epochs: Positive
    """Length of the run; it is counted in steps, so that a fraction is fine."""
    batch_size: Count
    """Images per step, over all processes and accumulated micro-batches."""
    init: str = ""
    """Run folder or checkpoint whose weights the run starts from: the whole method's, or its encoder's."""
    seed: CountOrZero = 0
    """Random seed for weights, sample order, views and method."""
    fit_to_data: bool = False
    """Lower batch and negatives where the data has few images (`fastssl.run.fit`); a line says so."""
    accumulation_steps: Count = 1
    """Micro-batches per step; batch normalization and negatives see one micro-batch."""
    precision: Precision = "auto"
    """Autocast of forward and backward pass; weights and losses stay in fp32. auto: bf16 where the device
    computes it natively, else fp32."""
    center_fraction: Share = 0.875
    """Side of the central square that evaluation sees, as a share of the short side."""
    order: Order = "random"
    """Sample order: random, or blocks that are read in large pieces, for slow storage."""
    block_size: Count = 128
    """Samples read in one piece (order blocks)."""
    blocks_per_window: Count = 128
    """Pieces that are shuffled together (order blocks); memory must hold two windows."""
    class_share: Share = 1.0
    """Share of the classes to train on, with all their images; an epoch keeps the steps of all classes."""
    taxonomy: str = "classes"
    """Names the labels: `classes`, `artifact`, `up-1`, `depth-6`, ... or a mapping file."""
    batch_norm_group: int | None = None
    """Images that share batch-norm statistics (`fastssl.models.batch_norm`); None: all of a micro-batch."""
    probes: bool = False
    """Train a linear and an MLP classifier of the labels on the encoder's features beside the method, which
    takes no gradient from them, and log their accuracies."""
    views: tuple[ViewGroup, ...]
    """Augmentation of an image's views, group by group."""
    backbone: Backbone.Config
    """The encoder."""
    method: Method.Config
    """Method and its loss."""
    optimizer: Optimizer.Config
    """Optimizer and learning-rate schedule."""

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.block_size * self.blocks_per_window >= 1 << 63:
            raise UserError("--block-size times --blocks-per-window must be below 2^63")
        if self.batch_size % self.accumulation_steps:
            raise UserError(
                f"--batch-size {self.batch_size} must be a multiple of --accumulation-steps "
                f"{self.accumulation_steps}"
            )
        if self.batch_size // self.accumulation_steps < 2:
            raise UserError(
                f"batch normalization needs at least 2 images per micro-batch, "
                f"not --batch-size {self.batch_size} in {self.accumulation_steps}"
            )
        self._check_batch_norm_group()
        self._check_views()
        for part in (self.backbone, self.method, self.optimizer):
            part.check(self)

    @property
    def evaluation_view(self) -> ViewSpec:
        """The view of an image that the encoder is evaluated on: that of the first views, not augmented."""
        return evaluation_spec(self.views[0].spec, self.center_fraction)

    def _check_views(self) -> None:
        for index, group in enumerate(self.views):
            spec, option = group.spec, f"--views.{index}.spec"
            if spec.color_space == "lab" and (spec.mean, spec.std) == (IMAGENET_MEAN, IMAGENET_STD):
                raise UserError(
                    f"{option}.color-space lab has mean and std of RGB: give Lab's own, such as "
                    f"{option}.mean {_words(LAB_MEAN)} {option}.std {_words(LAB_STD)}"
                )
        given, method = sum(group.num_views for group in self.views), self.method
        if given == method.num_views:
            return
        own = " or --method.num-views" if _has_num_views(type(method)) else ""
        others = [each.Config.kind for each in METHODS if _takes_views(each.Config, given)]
        instead = f", or take --method {', '.join(others)}" if others else ""
        raise UserError(
            f"{method.kind} needs num_views {method.num_views} in all, not {given}: "
            f"change --views.0.num-views{own}{instead}"
        )

    def _check_batch_norm_group(self) -> None:
        group, images = self.batch_norm_group, self.batch_size // self.accumulation_steps
        if group is not None and (group < 2 or images % group):
            raise UserError(
                f"--batch-norm-group must be at least 2 and divide the {images} images of a micro-batch, "
                f"not {group}"
            )


def _words(numbers: tuple[float, ...]) -> str:
    return " ".join(f"{number:.4f}" for number in numbers)


def _has_num_views(config: type[Method.Config]) -> bool:
    """True for a method that takes any number of views."""
    return "num_views" in {field.name for field in dataclasses.fields(config)}


def _takes_views(config: type[Method.Config], count: int) -> bool:
    """True for a method that takes so many views, by itself or by its field."""
    if not _has_num_views(config):
        return config().num_views == count
    try:
        return bool(config(num_views=count))  # type: ignore[call-arg]
    except UserError:
        return False


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Fields that say where a run computes, reads and writes; they do not decide the result."""

    data: str = "scenes"
    """`scenes` (built in), a folder of class folders, a glob of .tar or .parquet files (on a disk, or behind
    s3://, gs://, https://), a .beton or .tsv. Given twice, both (`A + B`)."""
    out: str = ""
    """Run folder; empty: runs/RECIPE."""
    device: DeviceName = "auto"
    """Device to train on; auto takes a CUDA GPU if there is one. mps (Apple's) is untested."""
    pipeline: Pipeline = "auto"
    """Backend that decodes and renders (`pipelines.backends.choose`); auto chooses and says why."""
    cpu_output: CpuOutput = "auto"
    """Output of pipeline cpu's threads. views: finished; crops, pixels: finished on the GPU."""
    workers: SmallCount = 0
    """Loader threads; 0 takes every core."""
    prefetch: SmallCount = 3
    """Batches under way beside the one in use."""
    threads: SmallCount = 0
    """CPU threads of torch; 0 takes every core. Bit-equal resuming on a CPU needs the same number."""
    optimizer_implementation: Implementation = "auto"
    """Code of the optimizer's step; results agree to rounding. auto: fused on a GPU, else foreach."""
    compile: bool = False
    """Compile the networks (torch.compile); losses agree to rounding. Unmeasured on GPUs, thus off."""
    cuda_graph: bool = False
    """Replay each step as one CUDA graph; the same kernels. Unmeasured on GPUs, thus off."""
    log_every: Count = 20
    """Steps between two lines of metrics.jsonl."""
    logger: Logger = "tensorboard"
    """wandb: show the run on Weights & Biases as well (`.[wandb]`), offline with WANDB_MODE=offline."""
    monitor_every: NotNegative = 10
    """Epochs between two kNN measurements, beside those at the start and the end; 0: no kNN at all."""
    monitor_data: str = ""
    """Labeled images that kNN is measured on; empty: those of --data."""
    pause_after: NotNegative = 0
    """Epoch after which to stop with a checkpoint, as if interrupted; the same run resumes there without
    this or with a later one. The schedule is that of all --epochs. 0: train to the end."""
    checkpoint_minutes: NotNegative = 5
    """Time between two checkpoints; one is also written at the end of an epoch and when stopped."""
    keep_every: CountOrZero = 0
    """Epochs between two checkpoints that are kept for good; 0 keeps only the last."""
    keep_best: bool = False
    """Keep the checkpoint of the best kNN top-1 too, measured on images held out of training."""
    max_bad_images: CountOrZeroOrNone = None
    """Undecodable images tolerated; None: max(10, 0.1 %)."""
    wait_minutes: Positive = 30
    """Time that a process waits for the others before it gives up."""

    def __post_init__(self) -> None:
        check_ranges(self)
        refuse_secrets(self.data)
        refuse_secrets(self.monitor_data)


@dataclass(frozen=True, kw_only=True)
class Config:
    """All of a run."""

    recipe: tyro.conf.Suppress[str]
    paper: tyro.conf.Suppress[Paper | None] = None
    measured: tyro.conf.Suppress[Measured | None] = None
    """The recipe as it stands; None: not measured yet."""
    user_file: tyro.conf.Suppress[UserFile | None] = None
    """The file of the user's that the recipe comes from, with components of its own."""
    experiment: Annotated[Experiment, tyro.conf.arg(name="")]
    machine: Annotated[Machine, tyro.conf.arg(name="")] = Machine()

    @property
    def out(self) -> Path:
        """The run folder."""
        return user_path(self.machine.out or f"runs/{self.recipe}")


def families() -> dict[str, dict[str, type[ComponentConfig]]]:
    """The fields of an experiment that hold components, ``optimizer`` for instance, and the kinds of each."""
    return {base.kind: configs_by_kind(members) for base, members in FAMILIES.items()}
