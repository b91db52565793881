"""What trials are compared by where the training does not log it: a task or a protocol, at each rung a job.

``--metric classification.top1 --measure labels=1000 mode=finetune``: the encoder of each trial is transferred
to the task when the trial has come to a rung, and the trial is worth its result. The trial itself is paused
meanwhile, and goes on as if it had not been measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from fastssl.distributed.dist_env import DistEnv
from fastssl.evaluate import PROTOCOLS
from fastssl.evaluate.__main__ import parse as parse_evaluation
from fastssl.evaluate.result_name import ResultName, changed_options
from fastssl.transfer import TASKS
from fastssl.transfer.data import open_transfer_data
from fastssl.transfer.options import TransferConfig
from fastssl.transfer.options import parse as parse_transfer
from launchers.sweeps.fields import parse_value
from launchers.sweeps.job import Job
from launchers.sweeps.json_file import is_number, read_object
from launchers.sweeps.task import Option, PlannedTask
from pipelines.command.errors import UserError
from pipelines.command.suggest import suggest

_OPTION = "--measure"
_RUN = "RUN"  # stands for the run folder where options alone are read


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A task or a protocol that measures a trial at each rung."""

    key: str
    """Metric of its result."""
    settings: tuple[str, ...] = ()
    """NAME=VALUE each, as the user gave them."""
    images: str = ""
    """Location of the labeled images; "": those of the training."""
    protocol: str = ""
    """Protocol with its options, ``linear+epochs=10``; "" of a task."""
    task: PlannedTask | None = None
    """The task; None of a protocol."""

    def job(self, training: Job, epoch: float) -> Job:
        """The job that measures a run which ``training`` has trained to an epoch."""
        if self.task is None:
            return replace(training, evaluation=self.protocol, eval_data=self.images)
        task = self.at(epoch)[0]
        return replace(training, evaluation=task.result, task=tuple(task.words), eval_data=self.images)

    def at(self, *epochs: float) -> tuple[PlannedTask, ...]:
        """The task at each epoch, under names of their own; () of a protocol, whose result has one name."""
        if self.task is None:
            return ()
        return tuple(replace(self.task, variant=f"epoch={epoch:g}") for epoch in epochs)

    def check(self, data: str) -> None:
        """Find what is wrong with the images of a task before anything is trained.

        Args:
            data: images of the training.

        Raises:
            UserError: they cannot be read, lack the task's labels, or are too few.
        """
        if self.task is not None:
            open_transfer_data(_transfer(self.task, self.images or data), DistEnv())


def measured(job: Job) -> dict[str, float]:
    """The numbers of a job's result; {} before there is one."""
    path = job.result()
    return {} if path is None else {key: each for key, each in read_object(path).items() if is_number(each)}


def measure_of(metric: str, settings: Sequence[str], images: str) -> Measure | None:
    """The measure that a metric names; None where the training logs the metric.

    Args:
        metric: ``classification.top1``, ``linear.top1``, or a name without a dot.
        settings: NAME=VALUE each: options of the task or protocol.
        images: location of its labeled images; "": those of the training.

    Raises:
        UserError: no such task or protocol, or a setting that it does not take.
    """
    name, dot, key = metric.partition(".")
    if not dot:
        if settings or images:
            told = f"{_OPTION} {settings[0]}" if settings else f"--eval-data {images}"
            raise UserError(
                f"{told} is of a task or protocol, and --metric {metric} of the training: give "
                "--metric TASK.METRIC, such as classification.top1"
            )
        return None
    if not key or name not in (*TASKS, *PROTOCOLS):
        hint = suggest(name, [*TASKS, *PROTOCOLS], otherwise=f"they are {', '.join((*TASKS, *PROTOCOLS))}")
        raise UserError(f"--metric {metric}: {name} is no task or protocol that has metrics; {hint}")
    options = _options(settings)
    is_task = name in TASKS
    return Measure(
        key=key,
        settings=tuple(settings),
        images=images,
        task=_task(name, options) if is_task else None,
        protocol="" if is_task else _protocol(name, options),
    )


def _options(settings: Sequence[str]) -> dict[str, str]:
    """Options by their names."""
    found: dict[str, str] = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        name = name.strip().lstrip("-").replace("-", "_")
        if not (name and equals and value):
            raise UserError(f"{_OPTION} {setting}: give NAME=VALUE, such as labels=1000")
        if name in ("data", "out", "encoder", "weights", "device"):
            raise UserError(f"{_OPTION} {setting}: the search says {name}; --eval-data names labeled images")
        if name in found:
            raise UserError(f"{_OPTION} {setting}: {name} is given twice")
        found[name] = value
    return found


def _task(name: str, options: Mapping[str, str]) -> PlannedTask:
    task = PlannedTask(task=name, options={key: _option(text) for key, text in options.items()})
    try:
        _transfer(task, _RUN)
    except UserError as error:
        raise UserError(f"{_OPTION}: {name}: {error}") from None
    return task


def _transfer(task: PlannedTask, data: str) -> TransferConfig:
    """The config of a task as a job has it, but for the run."""
    name, *words = task.words
    return parse_transfer([name, _RUN, *words, "--data", data, "--out", _RUN])


def _option(text: str) -> Option:
    """A setting as ``PlannedTask`` has it: true is a flag, commas part numbers."""
    if text in ("true", "True"):
        return True
    values = parse_value(f"[{text}]")
    return tuple(values) if isinstance(values, list) and len(values) > 1 else text


def _protocol(name: str, options: Mapping[str, str]) -> str:
    """A protocol with its options, as results are named."""
    words = [f"--{key.replace('_', '-')}={text}" for key, text in options.items()]
    try:
        own = parse_evaluation([name, _RUN, *words])[1][name]
    except UserError as error:
        raise UserError(f"{_OPTION}: {name}: {error}") from None
    return str(ResultName(protocol=name, options=changed_options(own)))
