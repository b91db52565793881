"""Results of a sweep folder: its runs, their progress, and their evaluations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from fastssl.evaluate.result_name import ResultName, data_name
from fastssl.run.metrics import read_metrics
from fastssl.run.summary import read_summary
from launchers.clusters import job_states
from launchers.sweeps.attempts import Attempt, read_attempts
from launchers.sweeps.cost import is_data_of
from launchers.sweeps.damage import damaged_files
from launchers.sweeps.folder import SweepFolder
from launchers.sweeps.json_file import is_number, read_object, unless_damaged
from launchers.sweeps.plan import planned_jobs, planned_results, read_plan
from launchers.sweeps.state import JobState
from pipelines.command.errors import UserError

_COUNTS = frozenset(
    {"step", "train_images", "test_images", "seed", "version", "batch_size", "epochs"}
)  # of an evaluation, no results
_NO_RESULTS = frozenset({"settings", "cost", "versions", "per_class"})  # objects of an evaluation

_KNN = ("knn_top1", "knn_top1_pixels", "knn_top1_untrained")  # of a run's summary

FAILED = ("failed", "lost")  # for good: nobody will try again by himself


@dataclass(frozen=True)
class Evaluation:
    """One eval/NAME.json.

    Attributes:
        name: of the file: protocol, options, checkpoint and data.
        step: of the weights that were measured; None where the file does not say.
        data: name of the images, as ``data_name`` has it; "" where the file does not say.
        results: numbers by "PROTOCOL.KEY", as plots and tables name them. Options and data that are not
            the usual ones follow, "linear.top1@stl10-1a2b3c4d", so that they are columns of their own.
    """

    name: ResultName
    step: int | None
    data: str
    results: Mapping[str, float]


@dataclass(frozen=True)
class RunResult:
    """One run of a sweep: what was planned, and what its folder says.

    Attributes:
        row: of the table; the same for all seeds that were measured on the same data.
        values: of the sweep's axes.
        paper: {"title", "place", "results": [[metric, number], ...]}; None where there is none, or where
            the run trained on other data than the paper's.
        planned: evaluations that shall be made, of the last weights and of kept checkpoints.
        status: waiting, running, interrupted, cancelled, failed, lost or finished.
        error: the last line of why it failed, or "".
        failed_evaluations: the same of evaluations, by name.
        steps: of the whole run; None before it has begun.
        metrics: the lines of metrics.jsonl.
        attempts: of its training, over all submissions.
        config: values of all fields by their paths, ``experiment.epochs``; {} where the file is damaged.
        data: name of the images it was measured on, where the sweep's runs were measured on several; else "".
        folder: run folder.
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
    attempts: tuple[Attempt, ...] = field(repr=False)
    config: Mapping[str, Any] = field(repr=False)
    folder: Path
    data: str = ""

    @property
    def sweep(self) -> SweepFolder:
        """The sweep folder that it lies in."""
        return SweepFolder(self.folder.parent.parent)

    @property
    def results(self) -> dict[str, float]:
        """Evaluations of the run's last weights; {} before it is finished."""
        if self.status != "finished":
            return {}
        found = {name: float(self.summary[name]) for name in _KNN if name in self.summary}
        for evaluation in self.evaluations:
            if not evaluation.name.checkpoint and not self.outdated(evaluation):
                found |= evaluation.results
        return found

    def outdated(self, evaluation: Evaluation) -> bool:
        """True if a result that names no checkpoint is of weights that were not the last."""
        known = evaluation.step is not None and self.steps is not None
        return known and not evaluation.name.checkpoint and evaluation.step != self.steps

    @cached_property
    def last_metrics(self) -> dict[str, float]:
        """The last value of each metric while training."""
        found: dict[str, float] = {}
        for row in reversed(self.metrics):
            found |= {name: row[name] for name in row.keys() - found.keys() if is_number(row[name])}
        return found

    @property
    def published(self) -> dict[str, float]:
        """The paper's numbers, by its metrics."""
        return dict(self.paper["results"]) if self.paper else {}

    @property
    def missing(self) -> list[str]:
        """Planned evaluations without a result of the weights that they are of."""
        done = {str(found.name) for found in self.evaluations if not self.outdated(found)}
        return [name for name in self.planned if name not in done]

    def epoch(self, step: float) -> float | None:
        """Epochs done after ``step`` steps; None before the first step."""
        epochs, steps = self.summary.get("epochs_done"), self.summary.get("steps_done")
        return step * epochs / steps if epochs and steps else None


@dataclass(frozen=True)
class Sweep:
    """A sweep folder, or several: sweep.json and its runs.

    Attributes:
        folder: the sweep's; of several, the folder that the report is written to.
        damaged: a line per file that could not be read.
    """

    folder: Path
    about: Mapping[str, Any]
    runs: tuple[RunResult, ...]
    damaged: Sequence[str] = ()
    folders: tuple[Path, ...] = ()

    @property
    def axes(self) -> list[str]:
        """Varied fields, without the seed."""
        return [axis for axis in self.about.get("axes", []) if axis != "seed"]

    @property
    def at_paper_scale(self) -> bool:
        """True if the paper's numbers are for runs of this size."""
        return self.about.get("scale") != "tiny"

    @property
    def on_other_data(self) -> bool:
        """True if a run lost its paper's numbers, as it trained on other data."""
        return any(
            plan.get("paper") and not run.paper
            for plan, run in zip(self.about["runs"], self.runs, strict=True)
        )


def read_sweep(folder: Path) -> Sweep:
    """Read a sweep folder; what is damaged in it is left out and named.

    Raises:
        UserError: it is none, or its sweep.json is damaged.
    """
    sweep = read_as_planned(folder)
    return replace(sweep, runs=apart_by_data(sweep.runs))


def read_as_planned(folder: Path) -> Sweep:
    """A sweep folder, its rows as they were planned.

    Raises:
        UserError: it is none, or its sweep.json is damaged.
    """
    paths = SweepFolder(folder)
    about = read_plan(paths)
    damaged = damaged_files(paths, about)
    try:
        states = job_states(paths, planned_jobs(paths, about))
    except UserError:
        states = {}  # a copy far from its cluster: run folders tell enough
    tiny = about.get("scale") == "tiny"
    runs = [_read_run(paths, run, states, tiny, damaged) for run in about["runs"]]
    return Sweep(folder, about, tuple(runs), damaged, (folder,))


def apart_by_data(runs: Sequence[RunResult]) -> tuple[RunResult, ...]:
    """Runs whose rows name the data, where a protocol measured them on several: they are never averaged.

    A run that was not measured yet stays with the first of its row that was.
    """
    names: dict[str, str] = {}  # a digest of the data: their name
    by_protocol: dict[str, set[str]] = {}
    of_runs: list[tuple[str, ...]] = []
    for run in runs:
        own = [found for found in run.evaluations if found.data and not found.name.data]
        for found in own:
            names.setdefault(_digest(found.data), found.data)
            by_protocol.setdefault(found.name.protocol, set()).add(_digest(found.data))
        of_runs.append(tuple(dict.fromkeys(_digest(found.data) for found in own)))
    if all(len(digests) == 1 for digests in by_protocol.values()):
        return tuple(runs)
    of_rows: dict[str, tuple[str, ...]] = {}
    for run, digests in zip(runs, of_runs, strict=True):
        if digests:
            of_rows.setdefault(run.row, digests)
    labels = [
        " and ".join(names[digest] for digest in digests or of_rows.get(run.row, ()))
        for run, digests in zip(runs, of_runs, strict=True)
    ]
    return tuple(
        replace(run, row=f"{run.row}, on {label}", data=label) if label else run
        for run, label in zip(runs, labels, strict=True)
    )


def _digest(name: str) -> str:
    """The part of a data name that says whether images are the same."""
    return name.rpartition("-")[2]


def _read_run(
    sweep: SweepFolder,
    planned: dict[str, Any],
    states: Mapping[str, JobState],
    tiny: bool,
    damaged: list[str],
) -> RunResult:
    name = planned["name"]
    folder = sweep.run(name)
    summary = _fit(unless_damaged(partial(read_summary, folder), damaged) or {})
    jobs = {job.evaluation: job for job in planned_jobs(sweep, {"runs": [planned]})}
    own = {job.result(): job.evaluation for job in jobs.values() if job.evaluation}
    evaluations = [
        unless_damaged(partial(_read_evaluation, path, own.get(path, path.stem)), damaged)
        for path in sorted((folder / "eval").glob("*.json"))
    ]
    config = unless_damaged(partial(read_object, folder / "config.json"), damaged)
    if not config:  # not begun
        config = unless_damaged(partial(read_object, sweep.config(name)), damaged) or {}
    evaluations_planned = tuple(planned_results(planned))
    status, error = _status(summary, states.get(name))
    of_evaluations = {each: states.get(f"{name}.{each}") for each in evaluations_planned}
    return RunResult(
        name=name,
        row=str(planned.get("row") or planned["name"]),
        values=planned.get("values", {}),
        paper=None if tiny or not is_data_of(config) else planned.get("paper"),
        planned=evaluations_planned,
        status=status,
        error=error,
        failed_evaluations={
            each: state.detail for each, state in of_evaluations.items() if state and state.name in FAILED
        },
        steps=summary.get("total_steps"),
        summary=summary,
        metrics=read_metrics(folder / "metrics.jsonl"),
        evaluations=tuple(filter(None, evaluations)),
        attempts=tuple(read_attempts(sweep.attempts(name))),
        config=_flat(config.get("config")),
        folder=folder,
    )


def _fit(summary: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a summary that are of their type: numbers, and the status and error of the run."""
    texts = ("status", "error")
    return {
        name: value
        for name, value in summary.items()
        if (isinstance(value, str) if name in texts else is_number(value))
    }


def _flat(values: Any, path: str = "") -> dict[str, Any]:
    """The values of nested objects and lists by their paths, ``views.0.num_views``."""
    if isinstance(values, dict | list) and values:
        pairs = values.items() if isinstance(values, dict) else enumerate(values)
        return {key: value for name, held in pairs for key, value in _flat(held, f"{path}{name}.").items()}
    return {path[:-1]: values} if path else {}


def _status(summary: Mapping[str, Any], state: JobState | None) -> tuple[str, str]:
    """Status of a run and its error. The run folder decides where it is finished, or was never a job."""
    status = str(summary.get("status", "waiting"))
    if status == "finished" or state is None or state.name == "new":
        return status, _last_line(str(summary.get("error", ""))) if status == "failed" else ""
    if state.name == "queued":
        return "waiting", ""
    return state.name, state.detail if state.name in FAILED else ""


def _read_evaluation(path: Path, name_text: str) -> Evaluation:
    """The result of a file; a planned one on other images than the training's counts as the run's own."""
    values, name = read_object(path, "delete it and measure again"), ResultName.parse(name_text)
    named = replace(name, protocol=str(values.get("protocol", name.protocol)))
    further = str(replace(named, protocol="", checkpoint=""))
    found = {f"{named.protocol}.{key}{further}": value for key, value in _numbers(values).items()}
    step, fingerprints = values.get("step"), values.get("fingerprints")
    if not (isinstance(fingerprints, list) and all(isinstance(each, str) for each in fingerprints)):
        fingerprints = []
    data = data_name(str(values.get("data", "")), fingerprints) if fingerprints else ""
    return Evaluation(name, step if isinstance(step, int) and is_number(step) else None, data, found)


def _numbers(values: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """The numbers of an evaluation's JSON, also those of its objects, but for settings and costs."""
    found: dict[str, float] = {}
    for name, value in values.items():
        if isinstance(value, dict) and name not in _NO_RESULTS:
            found |= _numbers(value, f"{prefix}{name}.")
        elif is_number(value) and name not in _COUNTS:
            found[prefix + name] = float(value)
    return found


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""
