"""What became of each job of a sweep: from its run folder, its attempts and its cluster."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from launchers.clusters import slurm
from launchers.sweeps.attempts import now, read_attempts
from launchers.sweeps.folder import SweepFolder
from launchers.sweeps.job import Job
from pipelines.files.atomic import write_json

# interrupted: stopped after a checkpoint; lost: it ended without a word; new: not submitted
Name = Literal["new", "queued", "running", "finished", "interrupted", "failed", "cancelled", "lost"]

ACTIVE: frozenset[Name] = frozenset(("queued", "running"))


@dataclass(frozen=True, kw_only=True)
class JobState:
    """Where a job stands.

    Attributes:
        detail: why it waits or failed, in a line.
        attempts: how often it was started, over all submissions.
        job_id: of its last submission; "" without.
    """

    name: Name
    detail: str = ""
    attempts: int = 0
    job_id: str = ""


def write_record(folder: SweepFolder, job: Job, cluster: str, job_id: str) -> None:
    """Write down how a job was submitted."""
    values = {"run": job.run, "evaluation": job.evaluation, "cluster": cluster}
    write_json(folder.record(job.name), {**values, "job_id": job_id, "submitted": now()})


def job_states(folder: SweepFolder, jobs: Iterable[Job], *, by_driver: bool = False) -> dict[str, JobState]:
    """The state of each job, by its name.

    Args:
        folder: the sweep's.
        jobs: of it.
        by_driver: whoever asks holds the folder's lock, so that nobody else drives jobs on this machine.

    Raises:
        UserError: jobs were submitted to SLURM, and SLURM does not answer.
    """
    jobs = list(jobs)
    open_jobs = {job.name: _read_record(folder, job) for job in jobs if not job.is_done()}
    ids = {record["job_id"] for record in open_jobs.values() if record.get("cluster") == "slurm"}
    waiting = slurm.queued(ids)
    gone = slurm.ended(ids - waiting.keys())
    driven = not by_driver and is_locked(folder.path)
    return {job.name: _state(folder, job, open_jobs.get(job.name), waiting, gone, driven) for job in jobs}


def _read_record(folder: SweepFolder, job: Job) -> dict[str, Any]:
    try:
        values = json.loads(folder.record(job.name).read_text())
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) and "job_id" in values else {}


def _state(
    folder: SweepFolder,
    job: Job,
    record: dict[str, Any] | None,
    waiting: Mapping[str, tuple[str, str]],
    gone: Mapping[str, str],
    driven: bool,
) -> JobState:
    attempts = read_attempts(folder.attempts(job.name))
    count = len(attempts)
    if record is None:
        return JobState(name="finished", attempts=count)
    job_id = record.get("job_id", "")
    if job_id in waiting:
        state, reason = waiting[job_id]
        detail = "" if reason in ("None", "") else reason
        name: Name = "queued" if state == "PENDING" else "running"
        return JobState(name=name, detail=detail, attempts=count, job_id=job_id)
    if not job.evaluation and is_locked(folder.run(job.run)):
        return JobState(name="running", attempts=count, job_id=job_id)
    mine = [attempt for attempt in attempts if attempt.job_id == job_id]
    if driven and record.get("cluster") == "local" and job_id == read_driver(folder):
        if not mine:
            return JobState(name="queued", attempts=count, job_id=job_id)
        if mine[-1].outcome == "running":
            return JobState(name="running", attempts=count, job_id=job_id)
    ending = gone.get(job_id, "")
    if not mine:
        if not record:
            return JobState(name="new")
        return JobState(name="cancelled", detail=ending or "never started", attempts=count, job_id=job_id)
    last = mine[-1]
    if ending == "CANCELLED":
        return JobState(name="cancelled", detail=last.error, attempts=count, job_id=job_id)
    if last.outcome in ("mistake", "crashed"):
        return JobState(name="failed", detail=last.error, attempts=count, job_id=job_id)
    if last.outcome == "interrupted":
        return JobState(name="interrupted", detail=ending, attempts=count, job_id=job_id)
    if last.outcome == "finished":  # and yet without a result
        return JobState(name="failed", detail="its result is missing", attempts=count, job_id=job_id)
    detail = f"on {last.host}: {ending or 'killed, or the machine went down'}"
    return JobState(name="lost", detail=detail, attempts=count, job_id=job_id)


# --- this machine's driver ----------------------------------------------------------------------------------


def write_driver(folder: SweepFolder, job_id: str, pid: int) -> None:
    """Write down which process drives the sweep's jobs on this machine."""
    write_json(folder.jobs / "driver.json", {"job_id": job_id, "pid": pid})


def read_driver(folder: SweepFolder) -> str:
    """The job id of the last driver's jobs; "" if there was none."""
    try:
        return str(json.loads((folder.jobs / "driver.json").read_text())["job_id"])
    except (OSError, ValueError, KeyError):
        return ""


def is_locked(folder: Path) -> bool:
    """Whether a process of this machine works in a folder (`fastssl.run.checkpoint.lock`).

    Asks the kernel's list of locks: trying the lock, however briefly, could turn away a run that starts.
    """
    try:
        inode = (folder / "lock").stat().st_ino
        locks = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return False
    held = (line.split() for line in locks if "FLOCK" in line and "->" not in line)
    return any(fields[3] == "WRITE" and fields[5].rpartition(":")[2] == str(inode) for fields in held)
