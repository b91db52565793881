"""Status of a sweep: python -m launchers.status SWEEP [cancel|retry] [RUN ...] [--watch]

It is read from run folders and asked of the jobs' clusters; nothing runs in between. ``cancel`` takes
the named runs, or all, out of the queue and stops those that run, after a checkpoint. ``retry`` gives the
sweep's own command again, for the named runs or all: what is finished, queued or running is left alone.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from launchers.clusters import find_cluster, job_states
from launchers.sweeps.folder import SweepFolder
from launchers.sweeps.job import Job
from launchers.sweeps.plan import planned_jobs, planned_results, read_plan
from launchers.sweeps.progress import progress
from launchers.sweeps.state import ACTIVE, JobState, Submission
from pipelines.command.errors import UserError, run_command
from pipelines.command.options import one_line_complaints
from pipelines.command.progress import duration
from pipelines.command.ranges import Positive, check_ranges

_STYLES = {"finished": "green", "running": "cyan", "failed": "red", "lost": "red", "cancelled": "yellow"}


# --- the table ----------------------------------------------------------------------------------------------


def status_table(folder: SweepFolder) -> Table:
    """One row per run, with the causes of failures.

    Raises:
        UserError: the folder is no sweep's, or a cluster does not answer.
    """
    plan = read_plan(folder)
    states = job_states(folder, planned_jobs(folder, plan))
    table = Table(title=_title(folder, plan, states), title_justify="left", box=None, pad_edge=False)
    for name in ("run", "state", "epoch", "done", "img/s", "ETA", "kNN", "measured", "tries", "remark"):
        table.add_column(
            name, justify="left" if name in ("run", "state", "remark") else "right", no_wrap=name == "run"
        )
    for run in plan["runs"]:
        table.add_row(*_cells(folder, run, states))
    return table


def _title(folder: SweepFolder, plan: Mapping[str, Any], states: Mapping[str, JobState]) -> str:
    names = [states[run["name"]].name for run in plan["runs"]]
    counts = ", ".join(f"{names.count(name)} {name}" for name in sorted(set(names)))
    return f"{plan['study']}: {counts}  ({folder.path})"


def _cells(folder: SweepFolder, run: Mapping[str, Any], states: Mapping[str, JobState]) -> list[Text | str]:
    name = run["name"]
    state, found = states[name], progress(folder, name)
    results = planned_results(run)
    of_results = [states[f"{name}.{result}"] for result in results]
    measured = sum(result.name == "finished" for result in of_results)
    remarks = [state.detail] if state.detail else []
    for result, there in zip(results, of_results, strict=True):
        if there.name in ("failed", "lost", "cancelled") and state.name == "finished":
            remarks.append(f"{result} {there.name}: {there.detail}")
    running = state.name == "running"
    return [
        name,
        Text(state.name, style=_STYLES.get(state.name, "")),
        _shown(found.epoch, ".1f"),
        _shown(found.share, ".0%"),
        _shown(found.images_per_s, ".0f"),
        duration(found.seconds_left) if running and found.seconds_left is not None else "",
        _shown(found.knn_top1, ".3f"),
        f"{measured}/{len(results)}",
        str(state.attempts or ""),
        Text("; ".join(remarks), overflow="fold"),
    ]


def _shown(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def show(folder: SweepFolder, watch: float) -> None:
    """Print the table, once or every ``watch`` seconds until Ctrl-C."""
    wide = None if sys.stdout.isatty() else 200  # a file or a pipe has no width
    console = Console(width=wide, highlight=False)
    if not watch:
        console.print(status_table(folder))
        return
    with Live(status_table(folder), console=console, auto_refresh=False, screen=console.is_terminal) as live:
        while True:
            time.sleep(watch)
            live.update(status_table(folder), refresh=True)


# --- cancel and retry ---------------------------------------------------------------------------------------


def cancel(folder: SweepFolder, runs: Sequence[str]) -> None:
    """Stop the jobs of the named runs, or all; each by the cluster that it was submitted to.

    Raises:
        UserError: a cluster cannot, or a run is trained by somebody else.
    """
    jobs = _named_jobs(folder, runs)
    active = {name: state for name, state in job_states(folder, jobs).items() if state.name in ACTIVE}
    by_cluster: dict[str, list[Submission]] = {}
    for job in jobs:
        if state := active.get(job.name):
            submission = Submission(job, state.cluster, state.job_id)
            by_cluster.setdefault(state.cluster, []).append(submission)
    by_hand = by_cluster.pop("", [])  # never submitted
    for kind, submissions in by_cluster.items():
        find_cluster(kind)().cancel(folder, submissions, whole=not runs)
    print(f"cancelled {sum(map(len, by_cluster.values()))} jobs")
    if by_hand:
        print(f"{by_hand[0].job.name} is trained by a process that no sweep started", file=sys.stderr)


def retry(folder: SweepFolder, runs: Sequence[str]) -> int:
    """Give the sweep's last command again, for the named runs or all; returns its exit status."""
    _named_jobs(folder, runs)
    plan = read_plan(folder)
    command = [*plan["command"], "--out", str(folder.path), *(["--only", *runs] if runs else [])]
    return subprocess.run(command, cwd=plan["folder"], check=False).returncode


def _named_jobs(folder: SweepFolder, runs: Sequence[str]) -> list[Job]:
    plan = read_plan(folder)
    known = [run["name"] for run in plan["runs"]]
    for run in runs:
        if run not in known:
            raise UserError(f"{plan['study']} has no run {run}; it has {', '.join(known)}")
    return [job for job in planned_jobs(folder, plan) if not runs or job.run in runs]


@dataclass(frozen=True)
class Options:
    """Show a sweep's status, stop it, or try again what failed."""

    sweep: tyro.conf.Positional[Path]
    """A folder that launchers.sweep made."""
    action: tyro.conf.Positional[Literal["show", "cancel", "retry"]] = "show"
    """show: the table. cancel: stop jobs, after a checkpoint. retry: start again what is not finished."""
    runs: tyro.conf.Positional[tuple[str, ...]] = ()
    """For cancel and retry: these runs only."""
    watch: bool = False
    """Keep the table up to date until Ctrl-C."""
    every: Positive = 10
    """Seconds between two looks of --watch."""

    def __post_init__(self) -> None:
        check_ranges(self)


def main(argv: list[str] | None = None) -> int:
    """The command."""
    prog = "python -m launchers.status"
    with one_line_complaints(prog):
        options = tyro.cli(
            Options,
            prog=prog,
            args=sys.argv[1:] if argv is None else argv,
            config=(tyro.conf.FlagCreatePairsOff,),
        )
    folder = SweepFolder(options.sweep.absolute())
    if options.action == "cancel":
        cancel(folder, options.runs)
    elif options.action == "retry":
        return retry(folder, options.runs)
    else:
        show(folder, options.every if options.watch else 0)
    return 0


if __name__ == "__main__":
    run_command(main)
