"""Options of a transfer that all tasks share, and those of the command's words."""

from __future__ import annotations

import dataclasses
import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from fastssl.distributed.device import DeviceName
from fastssl.transfer import TASKS
from fastssl.transfer.task import Task, find_task
from pipelines.command.errors import UserError
from pipelines.command.options import read_options
from pipelines.command.places import join_repeated
from pipelines.command.ranges import (
    Count,
    CountOrZero,
    CountOrZeroOrNone,
    NotNegative,
    Positive,
    Positives,
    SmallCount,
    check_ranges,
)

SCRATCH = "scratch"
"""The word that stands for an encoder of fresh weights."""


@dataclass(frozen=True, kw_only=True)
class TransferOptions:
    """Train a network from an encoder on labeled data of its own, and measure it; the same command resumes.

    The result goes to eval/TASK.json of the transfer's folder, and of the encoder's run folder.
    """

    encoder: Annotated[str, tyro.conf.Positional] = ""
    """Run folder, one of its checkpoints, or `scratch` for fresh weights."""
    weights: Path | None = None
    """Weights of another library or code: see `python -m fastssl.evaluate`."""
    layout: str = "auto"
    """Their layout: torchvision, timm, timm:MODEL, moco, moco-v3, simsiam, detectron2, transformers."""
    from_scratch: bool = False
    """Train from fresh weights in the encoder's architecture."""
    backbone: str = "resnet50"
    """Kind of the encoder that `scratch` stands for, shown RGB images of 224 pixels."""
    width: Positive = 1.0
    """Multiplies the channels of its layers."""
    like: str = ""
    """Recipe, or file of a config, whose backbone and views `scratch` has, in place of --backbone."""
    halves: bool = False
    """Build `scratch --like` as the two halves that CMC trains, one for lightness, one for colors."""
    data: str = ""
    """Labeled images; their train split is trained on. Given twice, both (`A + B`)."""
    test_data: str = ""
    """Data whose test split is measured on; empty: that of --data, or a fifth of its images, held out."""
    test_images: CountOrZero = 0
    """Test images to measure on, drawn by key; 0: all."""
    searched_rates: Positives = ()
    """Train at each of these learning rates first, measured on a tenth of the training images that is held
    out, and then at the best on all of them."""
    held_out: tyro.conf.Suppress[bool] = False
    """Measure on a tenth of the training images, which is not trained on."""
    out: str = ""
    """Run folder of the transfer; empty: transfer/TASK... in that of the encoder, runs/TASK... otherwise."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Autocast of forward and backward pass; weights and losses stay in fp32."""
    device: DeviceName = "auto"
    """Device to train on; auto takes a CUDA GPU if there is one. mps (Apple's) is untested."""
    workers: SmallCount = 0
    """Loader threads; 0 takes every core."""
    prefetch: SmallCount = 3
    """Batches under way beside the one in use."""
    threads: SmallCount = 0
    """CPU threads of torch; 0 takes every core. Bit-equal resuming on a CPU needs the same number."""
    log_every: Count = 20
    """Steps between two lines of metrics.jsonl."""
    checkpoint_minutes: NotNegative = 5
    """Time between two checkpoints; one is also written at the end and when stopped."""
    max_bad_images: CountOrZeroOrNone = None
    """Undecodable images tolerated; None: max(10, 0.1 %)."""
    wait_minutes: Positive = 30
    """Time that a process waits for the others before it gives up."""

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.weights is not None and self.encoder:
            raise UserError(f"give a run, {self.encoder}, or --weights, not both")
        if self.weights is None and not self.encoder:
            raise UserError(f"give a run folder, one of its checkpoints, --weights FILE, or {SCRATCH}")
        if self.layout != "auto" and self.weights is None:
            raise UserError(f"--layout {self.layout} tells of --weights FILE: give it, or leave this out")
        if self.like and self.encoder != SCRATCH:
            raise UserError(f"--like {self.like} tells of {SCRATCH} in place of a run: leave it out")
        if self.searched_rates and not self.out:
            raise UserError("--searched-rates trains in several folders: name the last one, --out DIR")
        if self.halves and not self.like:
            raise UserError("--halves tells of scratch --like RECIPE: add --like, or leave it out")
        if not self.data:
            raise UserError("name the labeled images: --data WHERE")


@dataclass(frozen=True, kw_only=True)
class TransferConfig:
    """All of a transfer."""

    name: str
    """Name of the task."""
    task: Task
    options: TransferOptions

    @property
    def fresh(self) -> bool:
        """True where the encoder's weights are drawn anew."""
        return self.options.from_scratch or self.task.from_scratch or self.options.encoder == SCRATCH


def parse(argv: list[str]) -> TransferConfig:
    """The config that a command line names: a task, an encoder, options.

    Raises:
        UserError: unknown task or option, a value out of its range, or options that do not fit together.
    """
    words = join_repeated(argv)
    prog = "python -m fastssl.transfer"
    if words and words[0] in ("-h", "--help"):
        more = f"Tasks: {', '.join(TASKS)}; {prog} TASK --help shows the options of one."
        read_options(TransferOptions, f"{prog} TASK", words, description=_page(more))
    if not words or words[0].startswith("-"):
        raise UserError(f"give a task first, of {', '.join(TASKS)}: {prog} --help tells more")
    if words[0] not in TASKS and Path(words[0]).exists():
        raise UserError(f"give a task first, of {', '.join(TASKS)}: {prog} classification {words[0]}")
    name, *words = words
    task = find_task(name)
    both = dataclasses.make_dataclass(
        "Options",
        [("task", Annotated[task, tyro.conf.arg(name="")], dataclasses.field(default_factory=task))],
        bases=(TransferOptions,),
        frozen=True,
        kw_only=True,
    )
    found: Any = read_options(both, f"{prog} {name}", words, description=_page(str(task.__doc__)))
    values = {each.name: getattr(found, each.name) for each in dataclasses.fields(TransferOptions)}
    return TransferConfig(name=name, task=found.task, options=TransferOptions(**values))


def _page(more: str) -> str:
    return f"{inspect.cleandoc(str(TransferOptions.__doc__))}\n\n{inspect.cleandoc(more)}"
