"""What a sweep folder holds: its runs, how far they came, and what was measured of them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastssl.run.log import read_metrics
from launchers.clusters import job_states
from launchers.sweeps.folder import SweepFolder
from launchers.sweeps.plan import planned_jobs, planned_results, read_plan
from launchers.sweeps.state import JobState
from pipelines.command.errors import UserError

_COUNTS = frozenset(
    {"step", "train_images", "test_images", "seed", "version", "batch_size", "epochs"}
)  # of an evaluation, no results

FAILED = ("failed", "lost")  # for good: nobody will try again by himself


@dataclass(frozen=True)
class Evaluation:
    """One eval/NAME.json.

    Attributes:
        name: of the file: the protocol, for a kept checkpoint followed by that checkpoint's name.
        step: of the weights that were measured; None where the file does not say.
        results: numbers by "PROTOCOL.KEY", as figures and tables name them.
    """

    name: str
    protocol: str
    step: int | None
    results: Mapping[str, float]


@dataclass(frozen=True)
class Run:
    """One run of a sweep: what was planned, and what its folder says.

    Attributes:
        row: of the table; the same for all seeds.
        values: of the sweep's axes.
        paper: {"title", "place", "results": [[metric, number], ...]}, or None.
        planned: evaluations that shall be made, of the last weights and of kept checkpoints.
        status: waiting, running, interrupted, cancelled, failed, lost or finished.
        error: the last line of why it failed, or "".
        failed_evaluations: the same of evaluations, by name.
        steps: of the whole run; None before it has begun.
        metrics: the lines of metrics.jsonl.
    """

    name: str
    row: str
    values: Mapping[str, Any]
    paper: Mapping[str, Any] | None
    planned: tuple[str, ...]
    status: str
    error: str
    failed_evaluations: Mapping[str, str]
    steps: int | None
    summary: Mapping[str, Any] = field(repr=False)
    metrics: list[dict[str, float]] = field(repr=False)
    evaluations: tuple[Evaluation, ...] = field(repr=False)

    @property
    def results(self) -> dict[str, float]:
        """What was measured of the run's last weights; {} before it is finished."""
        if self.status != "finished":
            return {}
        found = {} if self.summary.get("knn_top1") is None else {"knn_top1": float(self.summary["knn_top1"])}
        for evaluation in self.evaluations:
            if evaluation.name == evaluation.protocol and not self.outdated(evaluation):
                found |= evaluation.results
        return found

    def outdated(self, evaluation: Evaluation) -> bool:
        """Whether a result under the protocol's own name is of weights that were not the last."""
        known = evaluation.step is not None and self.steps is not None
        return known and evaluation.name == evaluation.protocol and evaluation.step != self.steps

    @property
    def published(self) -> dict[str, float]:
        """The paper's numbers, by its metrics."""
        return dict(self.paper["results"]) if self.paper else {}

    @property
    def missing(self) -> list[str]:
        """Planned evaluations without a result of the weights that they are of."""
        done = {found.name for found in self.evaluations if not self.outdated(found)}
        return [name for name in self.planned if name not in done]

    def epoch(self, step: float) -> float | None:
        """Epochs done after ``step`` steps; None before the first step."""
        epochs, steps = self.summary.get("epochs_done"), self.summary.get("steps_done")
        return step * epochs / steps if epochs and steps else None


@dataclass(frozen=True)
class Sweep:
    """A sweep folder: sweep.json and its runs."""

    folder: Path
    about: Mapping[str, Any]
    runs: tuple[Run, ...]

    @property
    def axes(self) -> list[str]:
        """What is varied, without the seed."""
        return [axis for axis in self.about.get("axes", []) if axis != "seed"]

    @property
    def at_paper_scale(self) -> bool:
        """Whether the paper's numbers are for runs of this size."""
        return self.about.get("scale") != "tiny"


def read_sweep(folder: Path) -> Sweep:
    """Read a sweep folder.

    Raises:
        UserError: it is none, or one of its JSON files is damaged.
    """
    paths = SweepFolder(folder)
    about = read_plan(paths)
    try:
        states = job_states(paths, planned_jobs(paths, about))
    except UserError:
        states = {}  # a copy far from its cluster: run folders tell enough
    return Sweep(folder, about, tuple(_read_run(paths, planned, states) for planned in about["runs"]))


def _read_run(sweep: SweepFolder, planned: dict[str, Any], states: Mapping[str, JobState]) -> Run:
    name = planned["name"]
    folder = sweep.run(name)
    summary = _read_object(folder / "summary.json", "delete it and run the sweep again")
    evaluations = tuple(_read_evaluation(path) for path in sorted((folder / "eval").glob("*.json")))
    evaluations_planned = tuple(planned_results(planned))
    status, error = _status(summary, states.get(name))
    of_evaluations = {each: states.get(f"{name}.{each}") for each in evaluations_planned}
    return Run(
        name=name,
        row=str(planned.get("row") or planned["name"]),
        values=planned.get("values", {}),
        paper=planned.get("paper"),
        planned=evaluations_planned,
        status=status,
        error=error,
        failed_evaluations={
            each: state.detail for each, state in of_evaluations.items() if state and state.name in FAILED
        },
        steps=summary.get("total_steps"),
        summary=summary,
        metrics=[row for row in read_metrics(folder / "metrics.jsonl") if isinstance(row, dict)],
        evaluations=evaluations,
    )


def _status(summary: Mapping[str, Any], state: JobState | None) -> tuple[str, str]:
    """What became of a run, and why. Its folder is right where it is finished, or was never a job."""
    status = str(summary.get("status", "waiting"))
    if status == "finished" or state is None or state.name == "new":
        return status, _last_line(str(summary.get("error", ""))) if status == "failed" else ""
    if state.name == "queued":
        return "waiting", ""
    return state.name, state.detail if state.name in FAILED else ""


def _read_evaluation(path: Path) -> Evaluation:
    values = _read_object(path, "delete it and run the sweep again")
    protocol = str(values.get("protocol", path.stem))
    found = {f"{protocol}.{name}": value for name, value in _numbers(values).items()}
    step = values.get("step")
    return Evaluation(path.stem, protocol, step if isinstance(step, int) else None, found)


def _numbers(values: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """The numbers of an evaluation's JSON, also those one or more levels down; settings are left out."""
    found: dict[str, float] = {}
    for name, value in values.items():
        if isinstance(value, dict) and name != "settings":
            found |= _numbers(value, f"{prefix}{name}.")
        elif is_number(value) and name not in _COUNTS:
            found[prefix + name] = float(value)
    return found


def is_number(value: Any) -> bool:
    """Whether a value of a JSON file can be drawn."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _read_object(path: Path, remedy: str) -> dict[str, Any]:
    """The object of a JSON file; {} where there is no such file."""
    try:
        values = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (ValueError, OSError) as error:
        raise UserError(f"cannot read {path} ({error}): {remedy}") from None
    if not isinstance(values, dict):
        raise UserError(f"{path} is damaged (no JSON object): {remedy}")
    return values


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""
