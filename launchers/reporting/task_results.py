"""Results of tasks at several numbers of labels, by the figure that shows them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fastssl.evaluate.result_name import ResultName
from launchers.reporting.results import Sweep
from launchers.reporting.run_result import RunResult

SCRATCH = "scratch"  # mode of runs that are not trained


@dataclass(frozen=True, kw_only=True)
class TaskResult:
    """One number of one task of one run."""

    run: RunResult
    labels: int
    mode: str
    images: str
    """Name of the labeled images; "" where they are those of the run's training."""
    value: float

    @property
    def seed(self) -> int:
        """Random seed of the run and of the task."""
        return int(self.run.values.get("seed", 0))


def task_results(sweep: Sweep, figure: Mapping[str, Any]) -> Iterator[TaskResult]:
    """The results that a figure shows: those of its metric, on its runs, in its modes."""
    where, modes = figure.get("where") or {}, {SCRATCH, *figure.get("modes", ())}
    for run in sweep.runs:
        if any(run.values.get(axis) != value for axis, value in where.items()):
            continue
        for result, value in run.results.items():
            name = ResultName.parse(result)
            options = dict(part.split("=", 1) for part in name.options.split("+") if "=" in part)
            labels, mode = options.get("labels", ""), options.get("mode", "")
            if name.protocol == figure["y"] and labels.isdigit() and mode in modes:
                yield TaskResult(run=run, labels=int(labels), mode=mode, images=name.data, value=value)
