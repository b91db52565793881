"""A study: the runs that rebuild a table or a figure, and the figures to draw of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from launchers.sweeps.plan import VERSION, planned_results
from launchers.sweeps.task import Mode, PlannedTask, task_to_plan

if TYPE_CHECKING:  # it loads torch, which a report does without
    from fastssl.config import Config, Paper

Scale = Literal["paper", "tiny"]
FigureKind = Literal["", "labels", "utility", "heat map"]
Value = str | float | int | None


@dataclass(frozen=True, kw_only=True)
class PlannedRun:
    """One run of a study.

    Attributes:
        name: of its folder.
        config: complete.
        values: of the study's axes.
        row: of the table; the same for all seeds.
        paper: the number that it rebuilds.
        evaluations: protocols that measure its last weights.
        checkpoints: epochs whose kept checkpoints the same protocols measure too.
        eval_data: labeled images of the evaluations; "": those of the training.
        transfer: evaluations on other images, ``linear@cifar100``: a protocol, and the name of the images.
        transfer_data: where these are, by their names; what is on others is not measured.
        tasks: that its encoder is transferred to.
        trained: False: it is no pre-training; its tasks train the config's network from fresh weights.
    """

    name: str
    config: Config
    values: Mapping[str, Value]
    row: str
    paper: Paper | None = None
    evaluations: tuple[str, ...] = ("knn", "linear")
    checkpoints: tuple[int, ...] = ()
    eval_data: str = ""
    transfer: tuple[str, ...] = ()
    transfer_data: Mapping[str, str] = dataclasses.field(default_factory=dict)
    tasks: tuple[PlannedTask, ...] = ()
    trained: bool = True

    @property
    def results(self) -> list[str]:
        """Names of its results: ``knn``, ``linear-epoch-0050``, ``linear@cifar100``, those of its tasks."""
        return planned_results(run_to_plan(self))


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A plot of the report.

    Attributes:
        x: an axis, or "epoch" or "step".
        y: a metric of metrics.jsonl (over an axis: its last value), or a result such as "linear.top1".
        series: the axis that tells the lines apart.
        kind: labels: a result of the tasks, ``classification.top1``, over the number of labels. utility: what
            its labels from scratch are worth. heat map: the change of that result by the images of training
            (``series``) and of the task, against training on the task's own. "": over ``x``.
        panel: the axis of which each value has a chart of its own, where ``kind`` is labels or utility.
        where: values of axes that the runs have.
        modes: of the tasks, beside those of runs that are not trained.
    """

    title: str
    x: str
    y: str
    series: str | None = None
    log_x: bool = False
    kind: FigureKind = ""
    panel: str | None = None
    where: Mapping[str, Value] = dataclasses.field(default_factory=dict)
    modes: tuple[Mode, ...] = ("finetune",)


@dataclass(frozen=True, kw_only=True)
class Study:
    """Runs that belong together.

    Attributes:
        title: one line.
        axes: what is varied: the columns of its table.
        name: of the command and the folder; that of a file in ``launchers.studies`` is the file's.
        about: what it rebuilds, the expected numbers, the compute: the docstring of such a file.
    """

    title: str
    axes: tuple[str, ...]
    runs: tuple[PlannedRun, ...]
    name: str = ""
    about: str = ""
    figures: tuple[Figure, ...] = ()
    scale: Scale = "paper"


def text_of(value: Any) -> str:
    """A value of an axis, as tables and names have it."""
    if value is None:
        return "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def with_seeds(study: Study, seeds: int) -> Study:
    """Each run with the seeds 0, 1, ..., seeds - 1."""
    return dataclasses.replace(
        study,
        axes=(*study.axes, "seed"),
        runs=tuple(_seeded(run, seed) for run in study.runs for seed in range(seeds)),
    )


def _seeded(run: PlannedRun, seed: int) -> PlannedRun:
    experiment = dataclasses.replace(run.config.experiment, seed=seed)
    return dataclasses.replace(
        run,
        name=f"{run.name}-s{seed}",
        config=dataclasses.replace(run.config, experiment=experiment),
        values={**run.values, "seed": seed},
        tasks=tuple(
            dataclasses.replace(
                task,
                options={**task.options, "seed": seed} if seed else task.options,
                anchor=task.anchor and f"{task.anchor}-s{seed}",
            )
            for task in run.tasks
        ),
    )


def to_plan(study: Study) -> dict[str, Any]:
    """The study as an object of sweep.json."""
    return {
        "version": VERSION,
        "study": study.name,
        "scale": study.scale,
        "title": study.title,
        "about": study.about,
        "axes": list(study.axes),
        "figures": [dataclasses.asdict(figure) for figure in study.figures],
        "runs": [run_to_plan(run) for run in study.runs],
    }


def run_to_plan(run: PlannedRun) -> dict[str, Any]:
    """A run as an object of sweep.json."""
    return {
        "name": run.name,
        "values": dict(run.values),
        "row": run.row,
        "paper": None if run.paper is None else dataclasses.asdict(run.paper),
        "evaluations": list(run.evaluations),
        "checkpoints": list(run.checkpoints),
        "data": run.config.machine.data,
        "eval_data": run.eval_data,
        "transfer": list(run.transfer),
        "transfer_data": dict(run.transfer_data),
        "tasks": [task_to_plan(task) for task in run.tasks],
        "trained": run.trained,
    }
