"""Results of a sweep folder: its runs, their progress, and their evaluations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fastssl.run.metrics import read_metrics
from launchers.clusters import job_states
from launchers.reporting.run_result import (
    FAILED,
    RunResult,
    flat,
    read_evaluations,
    read_summary_and_config,
    run_status,
)
from launchers.sweeps.attempts import read_attempts
from launchers.sweeps.cost import is_data_of
from launchers.sweeps.damage import damaged_files
from launchers.sweeps.folder import SweepFolder
from launchers.sweeps.plan import planned_jobs, planned_results, read_plan
from launchers.sweeps.state import JobState
from pipelines.command.errors import UserError


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
    def on_other_data(self) -> bool:
        """True if a run lost its paper's numbers, as it trained on other data."""
        return any(
            plan.get("paper") and not run.paper
            for plan, run in zip(self.about["runs"], self.runs, strict=True)
        )


def read_as_planned(folder: Path) -> Sweep:
    """A sweep folder, its rows as they were planned; what is damaged in it is left out and named.

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
    summary, config = read_summary_and_config(folder, damaged, sweep.config(name))
    jobs = planned_jobs(sweep, {"runs": [planned]})
    own = {job.result(): job.evaluation for job in jobs if job.evaluation}
    evaluations_planned = tuple(planned_results(planned))
    trained = planned.get("trained", True)
    status, error = run_status(summary, states.get(name)) if trained else ("finished", "")
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
        evaluations=read_evaluations(folder, damaged, own),
        attempts=tuple(read_attempts(sweep.attempts(name))),
        config=flat(config.get("config")),
        folder=folder,
    )
