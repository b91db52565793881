"""Jobs to SLURM: the sbatch text by submitit, arrays, dependencies, and what SLURM says of them."""

from __future__ import annotations

import contextlib
import math
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import submitit
from submitit.core.utils import FailedJobError

from launchers.clusters.slurm_task import SlurmTask
from launchers.sweeps.folder import SweepFolder
from launchers.sweeps.job import Job
from pipelines.command.errors import UserError

_EARLY = 60  # seconds by which SLURM may send its signal too early
_START_UP = 30  # seconds that a job needs before it can take the signal
_LEFT = 30  # seconds of the grace time that are kept for requeueing
_REQUEUES = 10_000  # submitit would give up after so many time-outs

# Of the batch script, after srun: where the whole step was killed (out of memory, a signal), nobody was left
# to requeue it; the next attempt counts it as lost. A job that SLURM itself ended is not RUNNING then.
_AFTER = (
    "status=$?",
    'if [ "$status" -gt 128 ] && [ "$status" -ne 255 ] \\',
    '    && [ "$(squeue --noheader --jobs="$SLURM_JOB_ID" --format=%T)" = RUNNING ]; then',
    '    scontrol requeue "$SLURM_JOB_ID" && sleep 60',
    "fi",
    'exit "$status"',
)


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What a job asks of SLURM.

    Attributes:
        minutes: time limit.
        gpus_per_node, cpus_per_gpu: 0 GPUs: one task a node, and ``cpus_per_gpu`` cores for it.
        mem: of a node, as sbatch has it (``64G``); "" leaves it to the partition.
        max_parallel: elements of an array that run at a time; 0: all.
        setup: shell lines before the job.
        grace: seconds before the time limit at which SLURM sends USR2.
        sbatch: further options of sbatch, without dashes; a value of True stands for none.
    """

    minutes: int = 60
    nodes: int = 1
    gpus_per_node: int = 1
    cpus_per_gpu: int = 0
    mem: str = ""
    partition: str = ""
    account: str = ""
    qos: str = ""
    constraint: str = ""
    exclude: str = ""
    max_parallel: int = 0
    setup: tuple[str, ...] = ()
    grace: int = 120
    sbatch: Mapping[str, str | bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        least = math.ceil((self.grace + _EARLY + _START_UP) / 60)
        if self.minutes < least:
            raise UserError(
                f"--time of {self.minutes} min leaves no time for the checkpoint: SLURM warns {self.grace} s "
                f"before its end and up to {_EARLY} s early; give {least} min or more, or a shorter --grace"
            )
        if self.nodes < 1:
            raise UserError(f"--nodes must be at least 1, not {self.nodes}")
        if self.grace <= _LEFT:
            raise UserError(f"--grace must be more than {_LEFT} s, not {self.grace}: requeueing takes time")


def parse_minutes(time: str) -> int:
    """A time limit as SLURM has it, in minutes, rounded up.

    ``90``, ``90:00`` (minutes:seconds), ``1:30:00``, ``2-12`` (days-hours), ``2-12:30``, ``2-12:30:00``.

    Raises:
        UserError: of no such form.
    """
    found = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", time.strip())
    if not found:
        raise UserError(f"--time {time} is no time limit: give minutes, HH:MM:SS or D-HH:MM:SS")
    days, first, second, third = (None if part is None else int(part) for part in found.groups())
    assert first is not None
    if days is not None:
        seconds = days * 86400 + first * 3600 + (second or 0) * 60 + (third or 0)
    elif third is not None:
        seconds = first * 3600 + (second or 0) * 60 + third
    else:
        seconds = first * 60 + (second or 0)
    if not seconds:
        raise UserError(f"--time {time} is no time at all: give minutes, HH:MM:SS or D-HH:MM:SS")
    return math.ceil(seconds / 60)


# --- submitting ---------------------------------------------------------------------------------------------


class _Executor(submitit.SlurmExecutor):
    """submitit's, that can also be made where there is no SLURM, to show what it would submit."""

    @classmethod
    def affinity(cls) -> int:
        return 2


def _executor(folder: SweepFolder, name: str, resources: Resources, after: str) -> _Executor:
    """An executor for jobs of one name and one dependency (``after``: the id of a job, or "")."""
    executor = _Executor(folder.jobs, max_num_timeout=_REQUEUES)
    extra: dict[str, str | bool] = {"chdir": str(folder.code), "requeue": True}
    if after:
        extra |= {"dependency": f"afterok:{after}", "kill-on-invalid-dep": "yes"}
    parameters: dict[str, Any] = {
        "job_name": name,
        "time": resources.minutes,
        "nodes": resources.nodes,
        "ntasks_per_node": max(1, resources.gpus_per_node),
        "signal_delay_s": resources.grace,
        "srun_args": ["--kill-on-bad-exit=1"],
        "setup": list(resources.setup),
        "teardown": list(_AFTER),
        "array_parallelism": resources.max_parallel or 10_000,
        "additional_parameters": {**extra, **resources.sbatch},
        "wckey": None,  # submitit's own would be charged to
    }
    named = {
        "cpus_per_task": resources.cpus_per_gpu,
        "gpus_per_node": resources.gpus_per_node,
        "mem": resources.mem,
        "partition": resources.partition,
        "account": resources.account,
        "qos": resources.qos,
        "constraint": resources.constraint,
        "exclude": resources.exclude,
    }
    executor.update_parameters(**parameters, **{key: value for key, value in named.items() if value})
    return executor


def sbatch_text(folder: SweepFolder, name: str, resources: Resources, jobs: int, after: str = "") -> str:
    """The script that ``submit`` would hand to sbatch for so many jobs."""
    executor = _executor(folder, name, resources, after)
    if jobs > 1:
        executor.parameters["map_count"] = jobs
    return executor._make_submission_file_text(executor._submitit_command_str, "")


def check(folder: SweepFolder, name: str, resources: Resources, jobs: int) -> None:
    """Ask sbatch whether it would take such jobs; submits nothing.

    Raises:
        UserError: it would not, or there is no SLURM.
    """
    if shutil.which("sbatch") is None:
        raise UserError("there is no SLURM here (no sbatch): take --cluster local, or log in to the cluster")
    with _outside_of_any_job(), tempfile.NamedTemporaryFile("w", suffix=".sh") as file:
        file.write(sbatch_text(folder, name, resources, jobs))
        file.flush()
        command = ["sbatch", "--test-only", "--chdir=/", file.name]  # the snapshot is not made yet
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode:
        raise UserError(f"SLURM refuses: {_reason(answer.stderr)}")


def submit(
    folder: SweepFolder, name: str, jobs: Sequence[Job], resources: Resources, after: str = ""
) -> list[str]:
    """Submit jobs as one array.

    Args:
        folder: the sweep's; its snapshot is there.
        name: that SLURM shows.
        jobs: of the same resources.
        resources: of each.
        after: id of a job that must end well before; where it does not, SLURM drops these.

    Returns:
        SLURM's id of each job.

    Raises:
        UserError: SLURM refuses them.
    """
    executor = _executor(folder, name, resources, after)
    tasks = [SlurmTask(job, resources.grace - _LEFT) for job in jobs]
    try:
        with _outside_of_any_job():
            return [str(job.job_id) for job in executor.submit_array(tasks)]
    except FailedJobError as error:
        raise UserError(f"SLURM refuses: {_reason(str(error))}") from None


@contextlib.contextmanager
def _outside_of_any_job() -> Iterator[None]:
    """Without the variables of a job that this process may run in: sbatch would take them for options."""
    cluster = os.environ.get("SLURM_CONF")
    with submitit.helpers.clean_env():
        if cluster is not None:
            os.environ["SLURM_CONF"] = cluster  # names the cluster, not the job
        yield


def _reason(text: str) -> str:
    """What sbatch complains of, in one line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    named = [re.sub(r"^.*?sbatch: (error: )?", "", line) for line in lines if "sbatch: " in line]
    return "; ".join(dict.fromkeys(named)) or " ".join(lines[-1:]) or "sbatch gave no reason"


# --- asking -------------------------------------------------------------------------------------------------


def queued(job_ids: Collection[str]) -> dict[str, tuple[str, str]]:
    """Those of the jobs that wait or run: their state (PENDING, RUNNING, ...) and the reason they wait.

    Raises:
        UserError: squeue does not answer.
    """
    if not job_ids:
        return {}
    # not --jobs: it fails where one id is too old
    answer = _ask("squeue", "--noheader", "--array", "--me", "--states=all", "--format=%i|%T|%r")
    found = {}
    for line in answer.splitlines():
        job_id, state, reason = line.strip().split("|", 2)
        if job_id in job_ids and state not in _ENDED:
            found[job_id] = (state, reason)
    return found


_ENDED = {
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED"),
    *("NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "TIMEOUT", "REVOKED"),
}


def ended(job_ids: Collection[str]) -> dict[str, str]:
    """How jobs ended that are no longer queued (CANCELLED, TIMEOUT, OUT_OF_MEMORY, ...); {} without sacct."""
    if not job_ids or shutil.which("sacct") is None:
        return {}
    ids = ",".join(sorted(job_ids))
    command = ["sacct", "--noheader", "--parsable2", "--allocations", f"--jobs={ids}", "--format=JobID,State"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    pairs = [line.split("|", 1) for line in answer.stdout.splitlines() if "|" in line]
    return {job_id: state.split()[0] for job_id, state in pairs if state}


def cancel(job_ids: Collection[str]) -> None:
    """Take jobs out of the queue; running ones write their checkpoint and end.

    Raises:
        UserError: SLURM refuses.
    """
    if job_ids:
        _ask("scancel", *sorted(job_ids))


def _ask(*command: str) -> str:
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(
            f"{command[0]} does not answer ({error}): is this a machine of the cluster?"
        ) from None
    if answer.returncode:
        raise UserError(f"{command[0]}: {' '.join(answer.stderr.split())}")
    return answer.stdout
