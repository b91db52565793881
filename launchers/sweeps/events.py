"""Events of a sweep, told to a command of the user's: that a job failed, and that the sweep is over."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from launchers.sweeps.attempts import now, read_attempts
from launchers.sweeps.folder import SweepFolder
from launchers.sweeps.job import Job
from launchers.sweeps.plan import planned_jobs, read_plan
from launchers.sweeps.state import read_submission
from pipelines.command.errors import UserError
from pipelines.command.text import visible

_PATIENCE = 60  # seconds that the command may take


def job_ended(job: Job, error: str = "") -> None:
    """Tell ``job.on_event`` that a job failed, and that the sweep is over, if it was the last. Never raises.

    Args:
        job: that ended, and will not be tried again.
        error: why it failed; "": it did not.
    """
    if not job.on_event:
        return
    about = {"sweep": str(job.folder.path), "time": now()}
    if error:
        log = str(job.folder.log(job.name))
        _tell(job.on_event, {"event": "job failed", "job": job.name, "error": error, "log": log, **about})
    try:
        plan = read_plan(job.folder)
        jobs = [replace(each, retries=job.retries) for each in planned_jobs(job.folder, plan)]
        over = all(_is_settled(each) for each in jobs) and _is_first(job.folder)
    except (UserError, OSError):
        return
    if over:
        trainings = [each for each in jobs if not each.evaluation]
        failed = [each.name for each in jobs if _counts(each) and not each.is_done()]
        counts = {"study": plan["study"], "runs": len(trainings), "failed": failed}
        _tell(job.on_event, {"event": "sweep finished", **counts, **about})


def forget_end(folder: SweepFolder) -> None:
    """Let the end of the sweep be told again: there is more to do."""
    _marker(folder).unlink(missing_ok=True)


def _tell(command: str, event: Mapping[str, Any]) -> None:
    """Run a command of the shell with an event on its standard input; its failure is a line on stderr."""
    try:
        answer = subprocess.run(
            command,
            shell=True,
            input=json.dumps(event) + "\n",
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
        failure = f"exit status {answer.returncode}: {answer.stderr}" if answer.returncode else ""
    except (OSError, subprocess.TimeoutExpired) as error:
        failure = str(error)
    if failure:
        print(visible(f"--on-event failed ({' '.join(failure.split())})"), file=sys.stderr, flush=True)


def _counts(job: Job) -> bool:
    """True if a job belongs to the sweep's end: every training, and each evaluation that was submitted."""
    return not job.evaluation or read_submission(job.folder, job) is not None


def _is_settled(job: Job) -> bool:
    """True if nothing more will become of a job by itself."""
    if job.is_done() or not _counts(job):
        return True
    attempts = read_attempts(job.folder.attempts(job.name))
    if not attempts:
        training = job.training()
        return bool(job.evaluation) and not training.is_done() and _is_settled(training)
    return attempts[-1].outcome != "running" and job.why_not_again(attempts[-1].job_id) is not None


def _is_first(folder: SweepFolder) -> bool:
    """True for the first that asks since there was something to do: jobs may end at the same time."""
    try:
        _marker(folder).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _marker(folder: SweepFolder) -> Path:
    return folder.jobs / "end-told"
