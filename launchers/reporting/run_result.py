"""One run as reports see it: what its folder says, and what was planned of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from fastssl.evaluate.result_name import ResultName, data_name
from fastssl.run.summary import read_summary
from launchers.sweeps.attempts import Attempt
from launchers.sweeps.folder import SweepFolder
from launchers.sweeps.json_file import is_number, read_object, unless_damaged
from launchers.sweeps.state import JobState

_COUNTS = frozenset(
    {"step", "train_images", "test_images", "seed", "version", "batch_size", "epochs"}
)  # of an evaluation, no results
_NO_RESULTS = frozenset(  # objects of an evaluation
    {"settings", "cost", "versions", "per_class", "encoder", "paper"}
)

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
        status: waiting, running, paused, interrupted, cancelled, failed, lost or finished.
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
    status: str
    error: str
    steps: int | None
    summary: Mapping[str, Any] = field(repr=False)
    metrics: list[dict[str, float]] = field(repr=False)
    evaluations: tuple[Evaluation, ...] = field(repr=False)
    config: Mapping[str, Any] = field(repr=False)
    folder: Path
    paper: Mapping[str, Any] | None = None
    planned: tuple[str, ...] = ()
    failed_evaluations: Mapping[str, str] = field(default_factory=dict)
    attempts: tuple[Attempt, ...] = field(default=(), repr=False)
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


def read_summary_and_config(
    folder: Path, damaged: list[str], planned_config: Path | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """summary.json, as far as its values are of their types, and config.json; {} where one is damaged.

    Args:
        damaged: takes a line per damaged file.
        planned_config: stands in for the config of a run that has not begun.
    """
    summary = _fit(unless_damaged(partial(read_summary, folder), damaged) or {})
    config = unless_damaged(partial(read_object, folder / "config.json"), damaged)
    if not config and planned_config is not None:
        config = unless_damaged(partial(read_object, planned_config), damaged)
    return summary, config or {}


def read_evaluations(
    folder: Path, damaged: list[str], own: Mapping[Path | None, str]
) -> tuple[Evaluation, ...]:
    """All eval/*.json of a run folder, and results of planned transfers, which lie in folders of their own.

    A copy of these in the folder of the encoder is left out. They count as results of the run's last weights
    where they name no checkpoint, and rows are not named after their images: a plan's rows tell them.

    Args:
        damaged: takes a line per damaged file.
        own: files that are results of a plan, and their names there.
    """
    paths = {*(folder / "eval").glob("*.json")}
    transfers = {path for path in own if path} - paths
    copies = {folder / "eval" / path.name for path in transfers}
    found = []
    for path in (*sorted(paths - copies), *sorted(transfers)):
        evaluation = unless_damaged(partial(_read_evaluation, path, own.get(path, path.stem)), damaged)
        if evaluation and path in transfers:
            step = evaluation.step if evaluation.name.checkpoint else None
            evaluation = replace(evaluation, step=step, data="")
        found += [evaluation] if evaluation else []
    return tuple(found)


def _fit(summary: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a summary that are of their type: numbers, and the status and error of the run."""
    texts = ("status", "error")
    return {
        name: value
        for name, value in summary.items()
        if (isinstance(value, str) if name in texts else is_number(value))
    }


def flat(values: Any, path: str = "") -> dict[str, Any]:
    """The values of nested objects and lists by their paths, ``views.0.num_views``."""
    if isinstance(values, dict | list) and values:
        pairs = values.items() if isinstance(values, dict) else enumerate(values)
        return {key: value for name, held in pairs for key, value in flat(held, f"{path}{name}.").items()}
    return {path[:-1]: values} if path else {}


def run_status(summary: Mapping[str, Any], state: JobState | None) -> tuple[str, str]:
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
    return (text.strip().splitlines() or [""])[-1].strip()
