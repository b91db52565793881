"""SLURM's states of jobs: by squeue while they wait or run, by sacct afterwards."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Collection

from pipelines.command.errors import UserError

_ENDED = {
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED"),
    *("NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "TIMEOUT", "REVOKED"),
}


def queued(job_ids: Collection[str], user: int) -> dict[str, tuple[str, str]]:
    """State (PENDING, RUNNING, ...) and reason to wait of each job that waits or runs.

    Args:
        user: id of the user who submitted them; whoever asks may be another.

    Raises:
        UserError: squeue does not answer.
    """
    if not job_ids:
        return {}
    # not --jobs: it fails where one id is too old
    answer = ask("squeue", "--noheader", "--array", f"--user={user}", "--states=all", "--format=%i|%T|%r")
    found = {}
    for line in answer.splitlines():
        job_id, state, reason = line.strip().split("|", 2)
        if job_id in job_ids and state not in _ENDED:
            found[job_id] = (state, reason)
    return found


def ended(job_ids: Collection[str]) -> dict[str, str]:
    """Final states of jobs no longer queued (CANCELLED, TIMEOUT, OUT_OF_MEMORY, ...); {} without sacct."""
    if not job_ids or shutil.which("sacct") is None:
        return {}
    ids = ",".join(sorted({job_id.partition("_")[0] for job_id in job_ids}))  # whole arrays: a short line
    command = ["sacct", "--noheader", "--parsable2", "--allocations", f"--jobs={ids}", "--format=JobID,State"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, env=_environment())
    pairs = [line.split("|", 1) for line in answer.stdout.splitlines() if "|" in line]
    return {job_id: state.split()[0] for job_id, state in pairs if state}


def ask(*command: str) -> str:
    """Run a command of SLURM; returns its output.

    Raises:
        UserError: it does not answer, or fails.
    """
    try:
        answer = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=120, env=_environment()
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(
            f"{command[0]} does not answer ({error}): is this a machine of the cluster?"
        ) from None
    if answer.returncode:
        raise UserError(f"{command[0]}: {' '.join(answer.stderr.split())}")
    return answer.stdout


def _environment() -> dict[str, str]:
    """This process's environment without the user's options of the commands: they would hide jobs."""
    ours = ("SQUEUE_", "SACCT_", "SINFO_", "SCONTROL_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}
