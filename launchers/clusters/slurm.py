"""SLURM: runs as an array, their evaluations as arrays that wait for them; the sbatch text by submitit."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import submitit
from submitit.core.utils import FailedJobError

from launchers.clusters.cluster import Cluster, Resources
from launchers.clusters.slurm_job import LOST_NODE
from launchers.clusters.slurm_queue import ask, ended, queued
from launchers.clusters.slurm_task import SlurmTask
from launchers.clusters.time_limit import parse_minutes
from launchers.sweeps.folder import SweepFolder
from launchers.sweeps.job import Job
from launchers.sweeps.state import ACTIVE, Answer, JobState, Submission, write_submission
from pipelines.command.errors import UserError
from pipelines.command.ranges import Count, CountOrZero, check_ranges

_EARLY = 60  # seconds by which SLURM may send its signal too early
_START_UP = 30  # seconds that a job needs before it can take the signal
_LEFT = 30  # seconds of the grace time that are kept for requeueing
_REQUEUES = 10_000  # submitit would give up after so many time-outs

# Lines of the batch script after srun. If the whole step was killed (out of memory, a signal), or if SLURM
# lost a node (srun then fails with any status), nobody was left to requeue it; the next attempt counts it as
# lost. A job that SLURM itself ended is not RUNNING then.
_AFTER = (
    "status=$?",
    "unset ${!SQUEUE_@} ${!SINFO_@}",
    "again=",
    'if [ "$status" -ne 0 ] && [ "$status" -ne 255 ]; then',
    '    [ "$status" -gt 128 ] && again=yes',
    '    sinfo --noheader --Node --nodes="$SLURM_JOB_NODELIST" --format=%T \\',
    f"        | grep --extended-regexp --quiet '{LOST_NODE}' && again=yes",
    "fi",
    'if [ "$again" ] && [ "$(squeue --noheader --jobs="$SLURM_JOB_ID" --format=%T)" = RUNNING ]; then',
    '    scontrol requeue "$SLURM_JOB_ID" && sleep 60',
    "fi",
    'exit "$status"',
)


class Slurm(Cluster):
    """SLURM, by sbatch."""

    @dataclass(frozen=True, kw_only=True)
    class Config(Cluster.Config):
        """Options of SLURM: what a job asks for."""

        partition: str = ""
        """See sbatch for this and the next."""
        account: str = ""
        qos: str = ""
        constraint: str = ""
        exclude: str = ""
        """Nodes to leave out."""
        time: str = "24:00:00"
        """Time limit: minutes, HH:MM:SS or D-HH:MM:SS. A run that needs longer is requeued and resumes."""
        nodes: Count = 1
        gpus_per_node: CountOrZero = 1
        """Processes per node, one per GPU; 0: one process per node, without GPU."""
        cpus_per_gpu: CountOrZero = 0
        """Cores of each process."""
        mem: str = ""
        """Memory of a node: 64G."""
        eval_time: str = ""
        """Time limit of an evaluation, which starts anew after it; empty: as --time."""
        eval_gpus: int = 1
        """GPUs of an evaluation, which is one process; 0: none. Never more than a training has."""
        setup: tuple[str, ...] = ()
        """Shell lines before the job: 'module load cuda'."""
        grace: int = 120
        """Seconds before the time limit at which SLURM asks for the checkpoint."""
        sbatch: tuple[str, ...] = ()
        """Further options of sbatch without dashes: reservation=night exclusive."""

        def __post_init__(self) -> None:
            check_ranges(self)
            minutes, grace = self.minutes, self.grace
            least = math.ceil((grace + _EARLY + _START_UP) / 60)
            if minutes < least:
                raise UserError(
                    f"--time of {minutes} min leaves no time for the checkpoint: "
                    f"SLURM warns {grace} s before its end and up to {_EARLY} s early; "
                    f"give {least} min or more, or a shorter --grace"
                )
            if grace <= _LEFT:
                raise UserError(f"--grace must be more than {_LEFT} s, not {grace}: requeueing takes time")
            if self.eval_gpus not in (0, 1):
                raise UserError(f"--eval-gpus must be 0 or 1, not {self.eval_gpus}")
            if self.eval_time and parse_minutes(self.eval_time, "--eval-time") < least:
                raise UserError(f"--eval-time {self.eval_time}: give {least} min or more, as for --time")
            _ = self.further  # raises where an option is no option

        @property
        def minutes(self) -> int:
            """The time limit in minutes, rounded up."""
            return parse_minutes(self.time)

        @property
        def further(self) -> dict[str, str | bool]:
            """The further options of sbatch; a value of True stands for none."""
            return dict(_sbatch_option(text) for text in self.sbatch)

    config: Config
    elsewhere = True

    def resources(self) -> Resources:
        """Whole nodes, or some of their GPUs."""
        return Resources(nodes=self.config.nodes, gpus_per_node=self.config.gpus_per_node)

    def for_evaluation(self) -> Slurm:
        """The same for an evaluation, which is one process on one GPU."""
        gpus = min(self.config.eval_gpus, self.config.gpus_per_node)
        time = self.config.eval_time or self.config.time
        config = dataclasses.replace(self.config, nodes=1, gpus_per_node=gpus, time=time)
        return Slurm(config, max_parallel=self.max_parallel)

    def sbatch_text(self, folder: SweepFolder, name: str, jobs: int, after: str = "") -> str:
        """The script that is handed to sbatch for so many jobs."""
        executor = self._executor(folder, name, after)
        if jobs > 1:
            executor.parameters["map_count"] = jobs
        return executor._make_submission_file_text(executor._submitit_command_str, "")

    def outlook(self, folder: SweepFolder, study: str, jobs: Sequence[Job]) -> str:
        """The sbatch text, and what in it is seldom meant."""
        runs = [job for job in jobs if not job.evaluation]
        each = [job for job in jobs if job.evaluation and job.run == jobs[0].run]
        text = f"--- sbatch: {len(runs)} runs " + "-" * 40 + "\n" + self.sbatch_text(folder, study, len(runs))
        if self.config.gpus_per_node and not self.config.cpus_per_gpu:
            warning = "warning: without --cpus-per-gpu SLURM gives each process one core"
            text = f"{warning}\n\n{text}"
        if not each:
            return text
        after = self.for_evaluation().sbatch_text(folder, f"{study}-evaluate", len(each), "JOB_OF_THE_RUN")
        evaluations = len(jobs) - len(runs)
        head = f"--- sbatch: the evaluations of each run ({evaluations} in all) " + "-" * 20
        return f"{text}\n\n{head}\n{after}"

    def check(self, folder: SweepFolder, study: str, jobs: int) -> None:
        """Ask sbatch whether it would take so many trainings."""
        if shutil.which("sbatch") is None:
            raise UserError(
                "there is no SLURM here (no sbatch): take --cluster local, or log in to the cluster"
            )
        if "%" in str(folder.path):
            raise UserError(f"{folder.path}: sbatch takes % for a pattern: choose another --out")
        ignored = [name for name in os.environ if name.startswith("SBATCH_")]
        if ignored:
            print(f"not used: {', '.join(ignored)}; give --sbatch NAME=VALUE", file=sys.stderr)
        with _outside_of_any_job(), tempfile.NamedTemporaryFile("w", suffix=".sh") as file:
            file.write(self.sbatch_text(folder, study, jobs))
            file.flush()
            command = ["sbatch", "--test-only", "--chdir=/", file.name]  # the snapshot is not made yet
            answer = subprocess.run(command, capture_output=True, text=True, check=False)
        if answer.returncode:
            raise UserError(f"SLURM refuses: {_reason(answer.stderr)}")

    def submit(
        self, folder: SweepFolder, study: str, jobs: Sequence[Job], states: Mapping[str, JobState]
    ) -> int:
        """The trainings as one array, the evaluations of each run as one that waits for it."""
        trainings = [job for job in jobs if not job.evaluation]
        under_way = {name: state for name, state in states.items() if state.name in ACTIVE}
        ids = {name: state.job_id for name, state in under_way.items() if state.cluster == self.kind}
        ids |= self._submit_array(folder, study, trainings)
        by_run: dict[str, list[Job]] = {}
        for job in jobs:
            if job.evaluation and (job.run in ids or job.run not in under_way):
                # those whose run is finished need not wait, and form one array
                by_run.setdefault(job.run if job.run in ids else "", []).append(job)
        for run, evaluations in by_run.items():
            self.for_evaluation()._submit_array(folder, f"{study}-evaluate", evaluations, ids.get(run, ""))
        count = sum(map(len, by_run.values()))
        print(
            f"submitted {len(trainings)} runs and {count} evaluations; "
            f"python -m launchers.status {folder.path}"
        )
        return 0

    def states(self, folder: SweepFolder, submissions: Sequence[Submission]) -> dict[str, Answer]:
        """Ask squeue and sacct."""
        ids = {submission.job_id for submission in submissions}
        waiting = queued(ids, folder.plan.stat().st_uid if folder.plan.exists() else os.getuid())
        gone = ended(ids - waiting.keys())
        answers = {}
        for submission in submissions:
            if submission.job_id in waiting:
                state, reason = waiting[submission.job_id]
                told = [] if state in ("PENDING", "RUNNING") else [state.lower()]  # SUSPENDED, COMPLETING
                detail = ", ".join([*told, *([] if reason == "None" else [reason])])
                answer = Answer("queued" if state == "PENDING" else "running", detail)
            else:
                ending = gone.get(submission.job_id, "")
                log = self.job_log(folder, submission)
                answer = Answer("cancelled" if ending == "CANCELLED" else "gone", ending, log)
            answers[submission.job.name] = answer
        return answers

    def job_log(self, folder: SweepFolder, submission: Submission) -> Path:
        """Errors of the batch script and of srun."""
        return folder.jobs / f"{submission.job_id}_0_log.err"

    def cancel(self, folder: SweepFolder, submissions: Sequence[Submission], whole: bool) -> None:
        """By scancel: SLURM signals the jobs, which write their checkpoint."""
        ask("scancel", *sorted(submission.job_id for submission in submissions))

    def _submit_array(
        self, folder: SweepFolder, name: str, jobs: Sequence[Job], after: str = ""
    ) -> dict[str, str]:
        """Submit jobs as one array.

        Args:
            folder: the sweep's.
            name: that SLURM shows.
            jobs: of it.
            after: id of a job that must end well before; where it does not, SLURM drops these. "": none.

        Returns:
            SLURM's id of each job, by its name.

        Raises:
            UserError: SLURM refuses them.
        """
        if not jobs:
            return {}
        tasks = [SlurmTask(job, self.config.grace - _LEFT) for job in jobs]
        try:
            with _outside_of_any_job():
                submitted = self._executor(folder, name, after).submit_array(tasks)
        except FailedJobError as error:
            raise UserError(f"SLURM refuses: {_reason(str(error))}") from None
        ids = {job.name: str(given.job_id) for job, given in zip(jobs, submitted, strict=True)}
        for job in jobs:
            write_submission(folder, Submission(job, self.kind, ids[job.name]))
        return ids

    def _executor(self, folder: SweepFolder, name: str, after: str) -> _Executor:
        config = self.config
        executor = _Executor(folder.jobs, max_num_timeout=_REQUEUES)
        extra: dict[str, str | bool] = {"chdir": str(folder.code), "requeue": True}
        if after:
            extra |= {"dependency": f"afterok:{after}", "kill-on-invalid-dep": "yes"}
        parameters: dict[str, Any] = {
            "job_name": name,
            "time": config.minutes,
            "nodes": config.nodes,
            "ntasks_per_node": max(1, config.gpus_per_node),
            "signal_delay_s": config.grace,
            "srun_args": ["--kill-on-bad-exit=1"],
            # with it, `python -m` would not find the snapshot in its working folder
            "setup": ["unset PYTHONSAFEPATH", *config.setup],
            "teardown": list(_AFTER),
            "array_parallelism": self.max_parallel or 10_000,
            "additional_parameters": {**extra, **config.further},
            "wckey": None,  # submitit's own would be charged to
        }
        named = {
            "cpus_per_task": config.cpus_per_gpu,
            "gpus_per_node": config.gpus_per_node,
            "mem": config.mem,
            "partition": config.partition,
            "account": config.account,
            "qos": config.qos,
            "constraint": config.constraint,
            "exclude": config.exclude,
        }
        executor.update_parameters(**parameters, **{key: value for key, value in named.items() if value})
        return executor


class _Executor(submitit.SlurmExecutor):
    """submitit's, that can also be made where there is no SLURM, to show what it would submit."""

    @classmethod
    def affinity(cls) -> int:
        return 2

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
def _outside_of_any_job() -> Iterator[None]:
    """Without the variables of a job that this process may run in: sbatch would take them for options.

    Nor those of the user's that would win over the options of the script, ``SBATCH_PARTITION`` and the like.
    """
    cluster = os.environ.get("SLURM_CONF")
    with submitit.helpers.clean_env([name for name in os.environ if name.startswith("SBATCH_")]):
        if cluster is not None:
            os.environ["SLURM_CONF"] = cluster  # names the cluster, not the job
        yield


def _reason(text: str) -> str:
    """Complaint of sbatch, in one line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    named = [re.sub(r"^.*?sbatch: (error: )?", "", line) for line in lines if "sbatch: " in line]
    return "; ".join(dict.fromkeys(named)) or " ".join(lines[-1:]) or "sbatch gave no reason"


def _sbatch_option(text: str) -> tuple[str, str | bool]:
    name, equals, value = text.lstrip("-").partition("=")
    if not re.fullmatch(r"[a-z][a-z0-9-]*", name) or (equals and not value):
        raise UserError(
            f"--sbatch {text}: give sbatch's options as NAME=VALUE or NAME, such as reservation=night"
        )
    return name, value if equals else True
