"""Where a sweep stands: python -m launchers.status SWEEP [cancel|retry] [RUN ...] [--watch]

All of it is read from run folders and from SLURM; nothing runs in between. ``cancel`` takes the named runs,
or all, out of the queue and stops those that run, after a checkpoint. ``retry`` gives the sweep's own command
again, for the named runs or all: what is finished, queued or running is left alone.
"""

from __future__ import annotations

import json
import os
import signal
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

from launchers.clusters import slurm
from launchers.clusters.state import ACTIVE, JobState, is_locked, job_states
from launchers.sweeps.folder import SweepFolder
from launchers.sweeps.job import Job, read_summary
from launchers.sweeps.plan import planned_jobs, planned_results, read_plan
from pipelines.command.errors import UserError, run_command
from pipelines.command.options import one_line_complaints

_TAIL = 64 * 1024  # bytes of metrics.jsonl that hold its last lines
_STYLES = {"finished": "green", "running": "cyan", "failed": "red", "lost": "red", "cancelled": "yellow"}


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run is.

    Attributes:
        epoch: epochs done.
        share: of all steps, from 0 to 1.
        seconds_left: at the speed of its last lines; None before that is known.
    """

    epoch: float | None = None
    share: float | None = None
    images_per_s: float | None = None
    seconds_left: float | None = None
    knn_top1: float | None = None


def progress(folder: SweepFolder, run: str) -> Progress:
    """From the last lines of metrics.jsonl, and summary.json where these are missing."""
    summary = read_summary(folder.run(run))
    last = {**summary, **_last_values(folder.run(run) / "metrics.jsonl")}
    step, total = last.get("step", summary.get("steps_done")), summary.get("total_steps")
    rate = last.get("images_per_s") or None
    left = None
    if rate and total and step is not None:
        left = (total - step) * _batch_size(folder.config(run)) / rate
    return Progress(
        epoch=last.get("epoch", summary.get("epochs_done")),
        share=step / total if total and step is not None else None,
        images_per_s=rate,
        seconds_left=left,
        knn_top1=last.get("knn_top1"),
    )


def _last_values(metrics: Path) -> dict[str, Any]:
    """The last value of each metric, of the end of the file."""
    values: dict[str, Any] = {}
    try:
        with metrics.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
            lines = file.read().splitlines()
    except OSError:
        return values
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            continue  # cut where the tail begins, or being written
        values |= row if isinstance(row, dict) else {}
    return values


def _batch_size(config: Path) -> int:
    return int(json.loads(config.read_text())["config"]["experiment"]["batch_size"])


# --- the table ----------------------------------------------------------------------------------------------


def status_table(folder: SweepFolder) -> Table:
    """One row a run, and what is to be said of failures.

    Raises:
        UserError: the folder is no sweep's, or SLURM does not answer.
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


def duration(seconds: float) -> str:
    """``2d 3h``, ``3h 20m``, ``4m``, ``30s``."""
    minutes = round(seconds / 60)
    if seconds < 60:
        return f"{seconds:.0f}s"
    if minutes < 60:
        return f"{minutes}m"
    if minutes < 48 * 60:
        return f"{minutes // 60}h {minutes % 60}m"
    return f"{minutes // 1440}d {minutes % 1440 // 60}h"


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
    """Stop the jobs of the named runs, or all.

    Raises:
        UserError: they wait for a driver on this machine, which can only be stopped as a whole.
    """
    jobs = _named_jobs(folder, runs)
    states = {name: state for name, state in job_states(folder, jobs).items() if state.name in ACTIVE}
    on_slurm = [
        state.job_id for state in states.values() if state.job_id and not state.job_id.startswith("local")
    ]
    slurm.cancel(on_slurm)
    here = [job.name for job in jobs if job.name in states and states[job.name].job_id.startswith("local")]
    if here and not runs:
        os.kill(_driver(folder), signal.SIGTERM)
    elif here:
        raise UserError(f"{here[0]} runs on this machine: stop the whole sweep there, without naming runs")
    print(f"cancelled {len(states)} jobs")


def _driver(folder: SweepFolder) -> int:
    """The process that drives the sweep on this machine; it holds the folder's lock."""
    pid = json.loads((folder.jobs / "driver.json").read_text())["pid"]
    if not is_locked(folder.path):
        raise UserError(f"nothing drives {folder.path} any more")
    return int(pid)


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
    """Where a sweep stands; stop it, or try again what failed."""

    sweep: tyro.conf.Positional[Path]
    """A folder that launchers.sweep made."""
    action: tyro.conf.Positional[Literal["show", "cancel", "retry"]] = "show"
    """show: the table. cancel: stop jobs, after a checkpoint. retry: start again what is not finished."""
    runs: tyro.conf.Positional[tuple[str, ...]] = ()
    """For cancel and retry: these runs only."""
    watch: bool = False
    """Keep the table up to date until Ctrl-C."""
    every: float = 10
    """Seconds between two looks of --watch."""


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
        if options.every <= 0:
            raise UserError(f"--every must be positive, not {options.every}")
        show(folder, options.every if options.watch else 0)
    return 0


if __name__ == "__main__":
    run_command(main)
