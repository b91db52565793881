"""sbatch: the script that it is handed, the environment it sees, its answers."""

from __future__ import annotations

import contextlib
import os
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import submitit
from submitit.core.utils import DelayedSubmission, JobPaths

from launchers.clusters.slurm_job import LOST_NODE
from pipelines.command.errors import UserError

_STEPLESS = "srun: error: Unable to create step"
_STEPLESS_STARTS = 5  # of one job that are tried again

# Lines of the batch script after srun. If the whole step was killed (out of memory, a signal), or if SLURM
# lost a node (srun then fails with any status), nobody was left to requeue it; the next attempt counts it as
# lost. The start after a lost node may fail, too: SLURM allocates nodes without their GPUs, and srun finds an
# "Invalid generic resource". A job that SLURM itself ended is not RUNNING then.
AFTER = (
    "status=$?",
    "unset ${!SQUEUE_@} ${!SINFO_@}",
    "again= log=$(readlink /proc/$$/fd/2)",
    'if [ "$status" -ne 0 ] && [ "$status" -ne 255 ]; then',
    '    [ "$status" -gt 128 ] && again=yes',
    '    sinfo --noheader --Node --nodes="$SLURM_JOB_NODELIST" --format=%T \\',
    f"        | grep --extended-regexp --quiet '{LOST_NODE}' && again=yes",
    f'    [ "${{SLURM_RESTART_COUNT:-0}}" -gt 0 ] && tail -n 5 "$log" | grep --quiet \'{_STEPLESS}\' \\',
    f'        && [ "$(grep --count \'{_STEPLESS}\' "$log")" -le {_STEPLESS_STARTS} ] && again=yes',
    "fi",
    'if [ "$again" ] && [ "$(squeue --noheader --jobs="$SLURM_JOB_ID" --format=%T)" = RUNNING ]; then',
    '    scontrol requeue "$SLURM_JOB_ID" && sleep 60',
    "fi",
    'exit "$status"',
)


class Executor(submitit.SlurmExecutor):
    """submitit's, that can also be made where there is no SLURM, to show what it would submit."""

    @classmethod
    def affinity(cls) -> int:
        """Above that of submitit's own, which asks for SLURM."""
        return 2

    def _internal_process_submissions(
        self, delayed_submissions: list[DelayedSubmission]
    ) -> list[submitit.core.core.Job[Any]]:
        """As submitit's, whose arrays would be of its own class, and read sbatch's answer in its own way."""
        if len(delayed_submissions) == 1:
            return super()._internal_process_submissions(delayed_submissions)
        folder = JobPaths.get_first_id_independent_folder(self.folder)
        folder.mkdir(parents=True, exist_ok=True)
        pickles = [folder / f"{uuid.uuid4().hex}.pkl" for _ in delayed_submissions]
        for delayed, pickle in zip(delayed_submissions, pickles, strict=True):
            delayed.set_timeout(self.parameters["time"], self.max_num_timeout)
            delayed.dump(pickle)
        self.parameters["map_count"] = len(pickles)
        first: submitit.core.core.Job[Any] = self._submit_command(self._submitit_command_str)
        tasks = list(range(first.num_tasks))
        jobs = [
            submitit.SlurmJob[Any](folder=self.folder, job_id=f"{first.job_id}_{place}", tasks=tasks)
            for place in range(len(pickles))
        ]
        for job, pickle in zip(jobs, pickles, strict=True):
            job.paths.move_temporary_file(pickle, "submitted_pickle")
        return list(jobs)

    def _make_submission_command(self, submission_file_path: Path) -> list[str]:
        return ["sbatch", "--parsable", str(submission_file_path)]

    @staticmethod
    def _get_job_id_from_submission_command(string: bytes | str) -> str:
        """The id in the last line that is one (``12`` or ``12;cluster``): a site may print a banner."""
        text = string if isinstance(string, str) else string.decode(errors="replace")
        found = re.findall(r"^(\d+)(?:;\S*)?\s*$", text, re.M)
        if not found:
            raise UserError(f"sbatch named no job; it said: {' '.join(text.split())[:200]}")
        return str(found[-1])


@contextlib.contextmanager
def outside_of_any_job() -> Iterator[None]:
    """Without the variables of a job that this process may run in: sbatch would take them for options.

    Nor those of the user's that would win over the options of the script, ``SBATCH_PARTITION`` and the like.
    """
    cluster = os.environ.get("SLURM_CONF")
    with submitit.helpers.clean_env([name for name in os.environ if name.startswith("SBATCH_")]):
        if cluster is not None:
            os.environ["SLURM_CONF"] = cluster  # names the cluster, not the job
        yield


def reason_of(text: str) -> str:
    """Complaint of sbatch, in one line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    named = [re.sub(r"^.*?sbatch: (error: )?", "", line) for line in lines if "sbatch: " in line]
    return "; ".join(dict.fromkeys(named)) or " ".join(lines[-1:]) or "sbatch gave no reason"


def sbatch_option(text: str) -> tuple[str, str | bool]:
    """Name and value of a further option, ``NAME=VALUE`` or ``NAME``, whose value is True.

    Raises:
        UserError: it is neither.
    """
    name, equals, value = text.lstrip("-").partition("=")
    if not re.fullmatch(r"[a-z][a-z0-9-]*", name) or (equals and not value):
        raise UserError(
            f"--sbatch {text}: give sbatch's options as NAME=VALUE or NAME, such as reservation=night"
        )
    return name, value if equals else True
