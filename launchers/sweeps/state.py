"""State of a job: by its run folder, its attempts, and its cluster's answer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from launchers.sweeps.attempts import Attempt, now, read_attempts
from launchers.sweeps.folder import SweepFolder
from launchers.sweeps.job import Job
from launchers.sweeps.json_file import read_object
from launchers.sweeps.log import last_line
from pipelines.command.errors import UserError
from pipelines.files.atomic import write_json
from pipelines.files.folder_lock import is_held

# interrupted: stopped after a checkpoint; paused: the same, at its --pause-after;
# lost: it ended without a word; new: not submitted
Name = Literal["new", "queued", "running", "finished", "paused", "interrupted", "failed", "cancelled", "lost"]

ACTIVE: frozenset[Name] = frozenset(("queued", "running"))


@dataclass(frozen=True, kw_only=True)
class JobState:
    """State of a job.

    Attributes:
        detail: why it waits or failed, in a line.
        attempts: how often it was started, over all submissions.
        cluster: kind of the cluster of its last submission; "" without.
        job_id: that cluster's id of it; "" without.
    """

    name: Name
    detail: str = ""
    attempts: int = 0
    cluster: str = ""
    job_id: str = ""


@dataclass(frozen=True)
class Submission:
    """The last submission of a job: to which cluster (its kind), and the cluster's id of the job."""

    job: Job
    cluster: str
    job_id: str


def write_submission(folder: SweepFolder, submission: Submission) -> None:
    """Record the submission of a job."""
    job = submission.job
    values = {"run": job.run, "evaluation": job.evaluation, "cluster": submission.cluster}
    write_json(folder.record(job.name), {**values, "job_id": submission.job_id, "submitted": now()})


def read_submission(folder: SweepFolder, job: Job) -> Submission | None:
    """The last submission of a job; None if there was none."""
    try:
        values = read_record(folder, job)
    except UserError:
        return None
    return Submission(job, values["cluster"], values["job_id"]) if values else None


def read_record(folder: SweepFolder, job: Job) -> dict[str, Any]:
    """The record of a job's last submission; {} where there is none.

    Raises:
        UserError: it is damaged.
    """
    path = folder.record(job.name)
    remedy = "see whether the job still runs, then delete the file"
    values = read_object(path, remedy)
    if values and not all(isinstance(values.get(name), str) for name in ("cluster", "job_id")):
        raise UserError(f"{path} is damaged (cluster or job_id): {remedy}")
    return values


@dataclass(frozen=True)
class Answer:
    """A cluster's answer about a job that was submitted to it.

    Attributes:
        name: gone: neither waiting nor running, and nobody cancelled it, as far as the cluster knows.
            unknown: the cluster does not answer.
        detail: why it waits, or how it ended, in the cluster's words.
        log: the job's own error log, which tells what went wrong before its process started; None: none.
    """

    name: Literal["queued", "running", "cancelled", "gone", "unknown"] = "gone"
    detail: str = ""
    log: Path | None = None


def state_of(folder: SweepFolder, job: Job, submission: Submission | None, answer: Answer) -> JobState:
    """The state of a job: its result counts first, then its cluster's answer, then its attempts."""
    attempts = read_attempts(folder.attempts(job.name))
    if job.is_done():
        return JobState(name="finished", attempts=len(attempts))
    mine = [attempt for attempt in attempts if submission and attempt.job_id == submission.job_id]
    name, detail = _name_and_detail(job, submission, answer, mine)
    return JobState(
        name=name,
        detail=detail,
        attempts=0 if name == "new" else len(attempts),
        cluster=submission.cluster if submission else "",
        job_id=submission.job_id if submission else "",
    )


def _name_and_detail(
    job: Job, submission: Submission | None, answer: Answer, mine: list[Attempt]
) -> tuple[Name, str]:
    """State of a job that is not done; ``mine`` are the attempts of its last submission."""
    if answer.name in ("queued", "running"):
        return answer.name, answer.detail
    if job.own_folder and is_held(job.own_folder):
        return "running", ""
    if submission is None:
        return "new", ""
    if answer.name == "unknown" and (not mine or mine[-1].outcome == "running"):
        return ("running" if mine else "queued"), ""
    if not mine:
        line = last_line(answer.log) if answer.log and answer.name == "gone" else ""
        if line:
            return "failed", f"{line} ({answer.log})"
        return "cancelled", answer.detail or "never started"
    last = mine[-1]
    if answer.name == "cancelled":
        return "cancelled", last.error
    if last.outcome in ("mistake", "crashed"):
        return "failed", last.error
    if last.outcome == "interrupted":
        return "interrupted", answer.detail
    if last.outcome == "finished" and job.is_paused():
        return "paused", ""
    if last.outcome == "finished":  # and yet without a result
        return "failed", "its result is missing"
    return "lost", last.error or f"on {last.host}: {answer.detail or 'killed, or the machine went down'}"
