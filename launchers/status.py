"""Status of a sweep: python -m launchers.status SWEEP [log|cancel|retry] [RUN ...] [--watch] [--json]

It is read from run folders and asked of the jobs' clusters; nothing runs in between. ``log`` shows the end of
what runs or evaluations (RUN.linear) printed. ``cancel`` takes the named runs, or all, out of the queue and
stops those that run, after a checkpoint. ``retry`` gives the sweep's own command again, for the named runs or
all: what is finished, queued or running is left alone. A folder of sweeps shows a line for each.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import tyro
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from launchers.clusters import find_cluster, job_states
from launchers.look import Look, RunLook, look
from launchers.searching.drivers import stop_drivers
from launchers.searching.folder import SearchFolder
from launchers.sweeps.folder import SweepFolder
from launchers.sweeps.job import Job
from launchers.sweeps.log import last_lines
from launchers.sweeps.plan import planned_jobs, read_plan
from launchers.sweeps.state import ACTIVE, Submission, read_submission
from pipelines.command.errors import UserError, run_command
from pipelines.command.options import read_options
from pipelines.command.progress import duration
from pipelines.command.suggest import suggest
from pipelines.command.text import visible

_HEADS = ("state", "epoch", "done", "img/s", "ETA", "kNN", "eval", "tries")
_WIDE = 120  # columns of a terminal that has room for remarks
_SHORTEST = 12  # letters of a name
_LOG_LINES = 20
_EVERY = 10.0  # seconds between two looks of --watch
_STYLES = {"finished": "green", "running": "cyan", "failed": "red", "lost": "red", "cancelled": "yellow"}


# --- the table ----------------------------------------------------------------------------------------------


def status_table(found: Look, width: int) -> RenderableType:
    """One row per run, with the causes of failures; where the width is small, these stand below.

    Args:
        width: columns of the terminal; names are cut in the middle for it, states never.
    """
    rows = [_cells(run) for run in found.runs]
    beside = width >= _WIDE
    used = sum(max(len(cell) for cell in column) + 2 for column in zip(_HEADS, *rows, strict=True))
    room = max(_SHORTEST, width - used)
    table = Table(title=visible(found.title), title_justify="left", box=None, pad_edge=False)
    table.add_column("run", no_wrap=True)
    for head in _HEADS:
        table.add_column(head, justify="left" if head == "state" else "right", no_wrap=True)
    if beside:
        table.add_column("remark", overflow="fold")
    for run, (state, *numbers) in zip(found.runs, rows, strict=True):
        styled = Text(state, style=_STYLES.get(state, ""))
        remark = [Text(visible(run.remark))] if beside else []
        name = visible(run.name)
        table.add_row(name if beside else _cut(name, room), styled, *numbers, *remark)
    remarks = [f"{run.name}: {run.remark}" for run in found.runs if run.remark and not beside]
    lines = [*remarks, *found.silent, *found.damaged]
    return Group(table, *(Text(visible(line), overflow="fold") for line in lines))


def _cells(run: RunLook) -> tuple[str, ...]:
    found, running = run.progress, run.state.name == "running"
    return (
        run.state.name,
        _shown(found.epoch, ".1f"),
        _shown(found.share, ".0%"),
        _shown(found.images_per_s, ".0f"),
        duration(found.seconds_left) if running and found.seconds_left is not None else "",
        _shown(found.knn_top1, ".3f"),
        run.measured,
        str(run.state.attempts or ""),
    )


def _cut(name: str, room: int) -> str:
    """A name without its middle, where the varied fields of many runs are the same."""
    return name if len(name) <= room else f"{name[: (room - 1) // 2]}…{name[-(room // 2) :]}"


def _shown(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def show(folder: SweepFolder, watch: bool) -> None:
    """Print the table; with ``watch`` it is kept up to date until Ctrl-C."""
    wide = None if sys.stdout.isatty() else 200  # a file or a pipe has no width
    console = Console(width=wide, highlight=False)

    def table() -> RenderableType:
        return status_table(look(folder), console.width)

    if not watch:
        console.print(table())
        return
    with Live(table(), console=console, auto_refresh=False, screen=console.is_terminal) as live:
        while True:
            time.sleep(_EVERY)
            live.update(table(), refresh=True)


def show_logs(folder: SweepFolder, names: Sequence[str]) -> None:
    """Print the last lines of the logs of jobs: RUN or RUN.EVALUATION.

    Raises:
        UserError: no job, or an unknown one, is named.
    """
    jobs = {job.name: job for job in planned_jobs(folder, read_plan(folder))}
    if not names:
        raise UserError(f"log: name runs or evaluations, such as {' or '.join([*jobs][:2])}")
    for name in names:
        if name not in jobs:
            hint = suggest(name, jobs, otherwise=f"there are {', '.join(jobs)}")
            raise UserError(f"log {name}: no such run or evaluation; {hint}")
        submission = read_submission(folder, jobs[name])
        logs = [folder.log(name)]
        if submission and (own := find_cluster(submission.cluster)().job_log(folder, submission)):
            logs.append(own)
        for log in logs:
            if lines := last_lines(log, _LOG_LINES):
                print(f"==> {log}", *map(visible, lines), sep="\n")
        if not any(log.exists() for log in logs):
            print(f"{name} has printed nothing yet")


def _title(folder: SweepFolder) -> str:
    """A line on one of several sweeps."""
    try:
        return visible(look(folder).title)
    except UserError as error:
        return visible(str(error))


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
    stopped, elsewhere = (0, []) if runs else stop_drivers(SearchFolder(folder.path))
    for kind, submissions in by_cluster.items():
        if not (stopped and find_cluster(kind).in_foreground):  # a search's, which end with its drivers
            find_cluster(kind)().cancel(folder, submissions, whole=not runs)
    print(f"cancelled {sum(map(len, by_cluster.values()))} jobs")
    for line in elsewhere:
        print(line, file=sys.stderr)
    if by_hand:
        print(f"{by_hand[0].job.name} is trained by a process that no sweep started", file=sys.stderr)


def retry(folder: SweepFolder, runs: Sequence[str]) -> int:
    """Give the sweep's last command again, for the named runs or all; returns its exit status.

    Of sweep.json only the arguments of ``launchers.sweep`` are taken, and only from a file of this user: a
    sweep folder may come from a stranger.

    Raises:
        UserError: it holds no such command, or is another user's.
    """
    _named_jobs(folder, runs)
    plan = read_plan(folder)
    command, where = plan.get("command", []), Path(plan.get("folder", ""))
    if command[1:3] != ["-m", "launchers.sweep"]:
        raise UserError(f"{folder.plan} holds no command of launchers.sweep: give the command yourself")
    told = shlex.join(["python", "-m", "launchers.sweep", *command[3:]])
    if folder.plan.stat().st_uid != os.getuid():
        raise UserError(f"{folder.plan} is another user's: read its command, and give it yourself: {told}")
    if not where.is_dir():
        raise UserError(f"{where}, where the sweep was started, is gone: give its command yourself: {told}")
    from launchers.sweep import main as sweep  # loads torch

    print(visible(told), file=sys.stderr)
    with contextlib.chdir(where):
        return sweep([*command[3:], "--out", str(folder.path), *(["--only", *runs] if runs else [])])


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
    action: tyro.conf.Positional[Literal["show", "log", "cancel", "retry"]] = "show"
    """show: the table. log: the end of what jobs printed. cancel: stop jobs, after a checkpoint. retry: start
    again what is not finished."""
    runs: tyro.conf.Positional[tuple[str, ...]] = ()
    """Runs to cancel or retry, all by default; for log, runs, or evaluations as RUN.linear."""
    json: bool = False
    """Show the table as JSON."""
    watch: bool = False
    """Keep the table up to date until Ctrl-C."""


def main(argv: list[str] | None = None) -> int:
    """The command."""
    prog = "python -m launchers.status"
    options = read_options(Options, prog, argv, config=(tyro.conf.FlagCreatePairsOff,))
    folder = SweepFolder(options.sweep.absolute())
    if options.action == "cancel":
        cancel(folder, options.runs)
    elif options.action == "retry":
        return retry(folder, options.runs)
    elif options.action == "log":
        show_logs(folder, options.runs)
    elif options.json:
        print(json.dumps(asdict(look(folder)), indent=1))
    elif not folder.plan.exists() and (sweeps := sorted(folder.path.glob("*/sweep.json"))):
        for path in sweeps:
            print(_title(SweepFolder(path.parent)))
    else:
        show(folder, options.watch)
    return 0


if __name__ == "__main__":
    run_command(main)
