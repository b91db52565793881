"""A look at a sweep: the state and progress of each run, the states of its evaluations, what is damaged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from launchers.clusters import job_states
from launchers.sweeps.damage import damaged_files
from launchers.sweeps.folder import SweepFolder
from launchers.sweeps.plan import planned_jobs, planned_results, read_plan
from launchers.sweeps.progress import Progress, progress
from launchers.sweeps.state import ACTIVE, JobState

_NAMED = 3  # evaluations in one state that are told by their names
_ENDED_BADLY = ("failed", "lost", "cancelled")


@dataclass(frozen=True, kw_only=True)
class RunLook:
    """One run at this moment."""

    name: str
    state: JobState
    progress: Progress
    evaluations: Mapping[str, JobState]

    @property
    def measured(self) -> str:
        """Evaluations that are finished, of all: ``1/2``."""
        done = sum(state.name == "finished" for state in self.evaluations.values())
        return f"{done}/{len(self.evaluations)}"

    @property
    def remark(self) -> str:
        """Cause of its waiting or failure; of a finished run, the states of its evaluations."""
        remarks = [self.state.detail] if self.state.detail else []
        states: dict[str, list[str]] = {}
        for name, state in self.evaluations.items():
            if self.state.name == "finished" and state.name in (*_ENDED_BADLY, *ACTIVE):
                told = f"{state.name}" + (f": {state.detail}" if state.detail else "")
                states.setdefault(told, []).append(name)
        for told, names in states.items():
            named = names if len(names) <= _NAMED else [str(len(names))]
            remarks += [f"{name} {told}" for name in named]
        return "; ".join(remarks)


@dataclass(frozen=True, kw_only=True)
class Look:
    """A sweep at this moment."""

    study: str
    folder: str
    runs: Sequence[RunLook]
    damaged: Sequence[str]
    """A line per damaged file."""
    silent: Sequence[str]
    """A line per cluster that does not answer; its jobs' states are those of the sweep folder alone."""

    @property
    def title(self) -> str:
        """The study, how many runs are in each state, and the folder."""
        names = [run.state.name for run in self.runs]
        counts = ", ".join(f"{names.count(name)} {name}" for name in sorted(set(names)))
        return f"{self.study}: {counts}  ({self.folder})"


def look(folder: SweepFolder) -> Look:
    """Read a sweep folder and ask the clusters of its jobs.

    Raises:
        UserError: the folder is no sweep's.
    """
    plan = read_plan(folder)
    silent: list[str] = []
    states = job_states(folder, planned_jobs(folder, plan), silent=silent)
    return Look(
        study=plan["study"],
        folder=str(folder.path),
        runs=[
            RunLook(
                name=run["name"],
                state=states[run["name"]],
                progress=progress(folder, run["name"]),
                evaluations={result: states[f"{run['name']}.{result}"] for result in planned_results(run)},
            )
            for run in plan["runs"]
        ],
        damaged=damaged_files(folder, plan),
        silent=silent,
    )
