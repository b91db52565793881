"""SLURM: arrays of jobs, each of which trains a run and measures it; the sbatch text by submitit."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from submitit.core.utils import FailedJobError

from launchers.clusters.cluster import Cluster, Resources
from launchers.clusters.slurm_bundles import Bundle, Lanes, answer_for, bundled, max_array_size
from launchers.clusters.slurm_queue import ask, ended, queued
from launchers.clusters.slurm_sbatch import AFTER, Executor, outside_of_any_job, reason_of, sbatch_option
from launchers.clusters.slurm_task import SlurmTask
from launchers.clusters.time_limit import parse_minutes
from launchers.sweeps.attempts import read_attempts
from launchers.sweeps.folder import SweepFolder
from launchers.sweeps.job import Job
from launchers.sweeps.state import ACTIVE, Answer, JobState, Submission, write_submission
from pipelines.command.errors import UserError
from pipelines.command.ranges import Count, CountOrZero, check_ranges

_EARLY = 60  # seconds by which SLURM may send its signal too early
_START_UP = 30  # seconds that a job needs before it can take the signal
_LEFT = 30  # seconds of the grace time that are kept for requeueing
_REQUEUES = 10_000  # submitit would give up after so many time-outs


class _TooManyError(UserError):
    """SLURM takes no more jobs of this user or account now."""


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
        """Time limit of the evaluations of a run, in a job of their own; empty: as --time."""
        eval_gpus: int | None = None
        """GPUs of the evaluations of a run, in a job of their own: 0 or 1. Without it and --eval-time, one
        job trains and measures a run of one process."""
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
            if self.eval_gpus not in (None, 0, 1):
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
            return dict(sbatch_option(text) for text in self.sbatch)

    config: Config
    elsewhere = True

    def resources(self) -> Resources:
        """Whole nodes, or some of their GPUs."""
        return Resources(nodes=self.config.nodes, gpus_per_node=self.config.gpus_per_node)

    @property
    def measures_inside(self) -> bool:
        """True if a run is measured in the job that trains it: more GPUs would stand idle meanwhile."""
        asked = self.config.eval_time or self.config.eval_gpus is not None
        return self.resources().processes == 1 and not asked

    def for_evaluation(self) -> Slurm:
        """The same for the evaluations of a run, which are one process on one GPU."""
        asked = self.config.eval_gpus
        gpus = min(1 if asked is None else asked, self.config.gpus_per_node)
        time = self.config.eval_time or self.config.time
        config = dataclasses.replace(self.config, nodes=1, gpus_per_node=gpus, time=time)
        return Slurm(config, max_parallel=self.max_parallel)

    def sbatch_text(self, folder: SweepFolder, name: str, jobs: int, after: str = "") -> str:
        """The script that is handed to sbatch for so many jobs; ``after`` is their dependency."""
        executor = self._executor(folder, name, after, self.max_parallel)
        if jobs > 1:
            executor.parameters["map_count"] = jobs
        return executor._make_submission_file_text(executor._submitit_command_str, "")

    def outlook(self, folder: SweepFolder, study: str, jobs: Sequence[Job]) -> str:
        """The sbatch text, and what in it is seldom meant."""
        runs = [job for job in jobs if not job.evaluation]
        each = [job for job in jobs if job.evaluation and job.run == jobs[0].run]
        what = "runs, each measured in its job" if each and self.measures_inside else "runs"
        text = (
            f"--- sbatch: {len(runs)} {what} " + "-" * 40 + "\n" + self.sbatch_text(folder, study, len(runs))
        )
        if self.config.gpus_per_node and not self.config.cpus_per_gpu:
            warning = "warning: without --cpus-per-gpu SLURM gives each process one core"
            text = f"{warning}\n\n{text}"
        if not each or self.measures_inside:
            return text
        after = self.for_evaluation().sbatch_text(folder, f"{study}-evaluate", 1, "afterok:JOB_OF_THE_RUN")
        evaluations = len(jobs) - len(runs)
        head = f"--- sbatch: a job for the evaluations of each run ({evaluations} in all) " + "-" * 20
        return f"{text}\n\n{head}\n{after}"

    def check(self, folder: SweepFolder, study: str) -> None:
        """Ask sbatch whether it would take a training; of many it may take a part at a time."""
        if shutil.which("sbatch") is None:
            raise UserError(
                "there is no SLURM here (no sbatch): take --cluster local, or log in to the cluster"
            )
        if "%" in str(folder.path):
            raise UserError(f"{folder.path}: sbatch takes % for a pattern: choose another --out")
        ignored = [name for name in os.environ if name.startswith("SBATCH_")]
        if ignored:
            print(f"not used: {', '.join(ignored)}; give --sbatch NAME=VALUE", file=sys.stderr)
        with outside_of_any_job(), tempfile.NamedTemporaryFile("w", suffix=".sh") as file:
            file.write(self.sbatch_text(folder, study, 1))
            file.flush()
            command = ["sbatch", "--test-only", "--chdir=/", file.name]  # the snapshot is not made yet
            answer = subprocess.run(command, capture_output=True, text=True, check=False)
        if answer.returncode:
            raise UserError(f"SLURM refuses: {reason_of(answer.stderr)}")

    def submit(
        self, folder: SweepFolder, study: str, jobs: Sequence[Job], states: Mapping[str, JobState]
    ) -> int:
        """Arrays of bundles, as many as SLURM takes now."""
        active = {name: state for name, state in states.items() if state.name in ACTIVE}
        ours = {name: state.job_id for name, state in active.items() if state.cluster == self.kind}
        bundles = bundled(
            jobs, inside=self.measures_inside, in_training=ours.keys(), elsewhere=active.keys() - ours.keys()
        )
        evaluating, lanes = self.for_evaluation(), Lanes(self.max_parallel, ours.values())
        size = max_array_size() if len(jobs) > 1 else 1
        given: dict[str, str] = {}
        try:
            self._submit_arrays(folder, study, bundles.trainings, lanes, given, size)
            name = f"{study}-evaluate"
            evaluating._submit_arrays(folder, name, bundles.evaluations, lanes, given, size)
            if self.max_parallel:
                lanes.wait()
                evaluating._submit_arrays(folder, name, [*bundles.waiting.values()], lanes, given, size)
            else:
                for run, bundle in bundles.waiting.items():
                    after = f"afterok:{(ours | given)[run]}"
                    given |= evaluating._submit_array(folder, name, [bundle], after)
        except _TooManyError as error:
            print(f"{error}: the same command again, or with --watch, goes on with the rest", file=sys.stderr)
        runs = sum(not job.evaluation for job in jobs if job.name in given)
        under_way = len({*ours.values(), *given.values()})
        print(
            f"submitted {runs} runs and {len(given) - runs} evaluations; jobs under way: {under_way}; "
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
            job = submission.job
            mine = read_attempts(folder.attempts(job.name), submission.job_id)
            answers[job.name] = answer_for(job, answer, mine)
        return answers

    def job_log(self, folder: SweepFolder, submission: Submission) -> Path:
        """Errors of the batch script and of srun."""
        return folder.jobs / f"{submission.job_id}_0_log.err"

    def cancel(self, folder: SweepFolder, submissions: Sequence[Submission], whole: bool) -> None:
        """By scancel: SLURM signals the jobs, which write their checkpoint."""
        ask("scancel", *sorted(submission.job_id for submission in submissions))

    def _submit_arrays(
        self,
        folder: SweepFolder,
        name: str,
        bundles: Sequence[Bundle],
        lanes: Lanes,
        given: dict[str, str],
        size: int,
    ) -> None:
        """Submit bundles in arrays of at most ``size``, smaller where SLURM takes no more jobs.

        Args:
            name: that SLURM shows.
            lanes: limit to the jobs at a time.
            given: takes SLURM's id of each job, by its name.
            size: bundles per array.

        Raises:
            _TooManyError: SLURM takes no more jobs now.
            UserError: SLURM refuses them.
        """
        rest = list(bundles)
        while rest:
            piece = rest[:size]
            parallel, after = lanes.terms()
            try:
                ids = self._submit_array(folder, name, piece, after, parallel)
            except _TooManyError:
                if len(piece) == 1:
                    raise
                size = len(piece) // 2
                continue
            lanes.take(ids.values())
            given |= ids
            rest = rest[len(piece) :]

    def _submit_array(
        self, folder: SweepFolder, name: str, bundles: Sequence[Bundle], after: str = "", parallel: int = 0
    ) -> dict[str, str]:
        """Submit bundles as one array, of which ``parallel`` run at a time (0: no limit).

        Returns:
            SLURM's id of each job, by its name.

        Raises:
            _TooManyError: SLURM takes no more jobs now.
            UserError: SLURM refuses them.
        """
        tasks = [SlurmTask(bundle, self.config.grace - _LEFT) for bundle in bundles]
        said = io.StringIO()  # by sbatch; a refusal is told once
        try:
            with outside_of_any_job(), contextlib.redirect_stderr(said):
                submitted = self._executor(folder, name, after, parallel).submit_array(tasks)
        except FailedJobError as error:
            reason = reason_of(str(error))
            too_many = re.search(r"submit.?(job.?)?limit", reason, re.I)
            raise (_TooManyError if too_many else UserError)(f"SLURM refuses: {reason}") from None
        print(said.getvalue(), end="", file=sys.stderr)
        ids = {
            job.name: str(job_of_slurm.job_id)
            for bundle, job_of_slurm in zip(bundles, submitted, strict=True)
            for job in bundle
        }
        for job in (job for bundle in bundles for job in bundle):
            write_submission(folder, Submission(job, self.kind, ids[job.name]))
        return ids

    def _executor(self, folder: SweepFolder, name: str, after: str, parallel: int) -> Executor:
        config = self.config
        executor = Executor(folder.jobs, max_num_timeout=_REQUEUES)
        extra: dict[str, str | bool] = {"chdir": str(folder.code), "requeue": True}
        if after:
            extra |= {"dependency": after, "kill-on-invalid-dep": "yes"}
        parameters: dict[str, Any] = {
            "job_name": name,
            "time": config.minutes,
            "nodes": config.nodes,
            "ntasks_per_node": max(1, config.gpus_per_node),
            "signal_delay_s": config.grace,
            "srun_args": ["--kill-on-bad-exit=1"],
            # with it, `python -m` would not find the snapshot in its working folder
            "setup": ["unset PYTHONSAFEPATH", *config.setup],
            "teardown": list(AFTER),
            "array_parallelism": parallel or 10_000,
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
