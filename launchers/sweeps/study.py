"""A study: the runs that rebuild a table or a figure, and the figures to draw of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from launchers.sweeps.plan import VERSION, result_names, transfer_results

if TYPE_CHECKING:  # it loads torch, which a report does without
    from fastssl.config import Config, Paper

Scale = Literal["paper", "tiny"]
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

    @property
    def results(self) -> list[str]:
        """Names of all its results: ``knn``, ``linear``, ``linear-epoch-0050``, ``linear@cifar100``."""
        names = result_names(self.evaluations, self.checkpoints)
        return [*names, *transfer_results(self.transfer, self.transfer_data)]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A plot of the report.

    Attributes:
        x: an axis, or "epoch" or "step".
        y: a metric of metrics.jsonl (over an axis: its last value), or a result such as "linear.top1".
        series: the axis that tells the lines apart.
    """

    title: str
    x: str
    y: str
    series: str | None = None
    log_x: bool = False


@dataclass(frozen=True, kw_only=True)
class Study:
    """Runs that belong together.

    Attributes:
        name: of the command and the folder.
        title: one line.
        about: what it rebuilds, the expected numbers, the compute.
        axes: what is varied: the columns of its table.
    """

    name: str
    title: str
    about: str
    axes: tuple[str, ...]
    runs: tuple[PlannedRun, ...]
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
        "runs": [_run_to_plan(run) for run in study.runs],
    }


def _run_to_plan(run: PlannedRun) -> dict[str, Any]:
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
    }
