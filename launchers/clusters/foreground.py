"""Clusters whose jobs end with the process that submits them: the driver, in the foreground on this machine.

It holds the sweep folder's lock, and ``jobs/driver.json`` says which process it is.
"""

from __future__ import annotations

import os
import signal
import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from fastssl.run.summary import summary_if_whole
from launchers.clusters.cluster import Cluster
from launchers.sweeps.attempts import read_attempts
from launchers.sweeps.folder import SweepFolder
from launchers.sweeps.job import Job
from launchers.sweeps.json_file import object_if_whole
from launchers.sweeps.state import ACTIVE, Answer, JobState, Submission, write_submission
from pipelines.command.errors import UserError
from pipelines.files.atomic import write_json
from pipelines.files.folder_lock import is_held_here


class Foreground(Cluster):
    """Base of clusters whose jobs run in the foreground."""

    in_foreground = True

    @abstractmethod
    def drive(self, folder: SweepFolder, jobs: Sequence[Job], job_id: str) -> int:
        """Run jobs, evaluations after their training; ``job_id`` is the id of all of them.

        Returns:
            exit status: 0, 1 if a job failed, or 128 + the signal that stopped it.
        """

    def submit(
        self, folder: SweepFolder, study: str, jobs: Sequence[Job], states: Mapping[str, JobState]
    ) -> int:
        """Run jobs to their end."""
        under_way = {name for name, state in states.items() if state.name in ACTIVE}
        jobs = [job for job in jobs if job.run not in under_way]
        job_id = f"{self.kind}-{os.getpid()}-{int(time.time())}"
        write_driver(folder, job_id, os.getpid())
        for job in jobs:
            write_submission(folder, Submission(job, self.kind, job_id))
        return self.drive(folder, jobs, job_id)

    def states(self, folder: SweepFolder, submissions: Sequence[Submission]) -> dict[str, Answer]:
        """While the driver lives, what has not begun is queued.

        A sweep's driver holds the sweep's lock, and a search's one per run.
        """
        driver = _read_driver(folder).get("job_id") if is_held_here(folder.path) else None
        answers = {}
        for submission in submissions:
            name = submission.job.name
            if submission.job_id != driver and not is_held_here(folder.driver(submission.job.run)):
                continue
            mine = read_attempts(folder.attempts(name), submission.job_id)
            if not mine:
                answers[name] = Answer("queued")
            elif mine[-1].outcome == "running":
                answers[name] = Answer("running")
        return answers

    def cancel(self, folder: SweepFolder, submissions: Sequence[Submission], whole: bool) -> None:
        """Stop the driver, and with it all jobs."""
        if not whole:
            name = submissions[0].job.name
            raise UserError(f"{name} runs on this machine: stop the whole sweep there, without naming runs")
        pid = _read_driver(folder).get("pid")
        try:
            if pid is None or not is_held_here(folder.path):
                raise ProcessLookupError
            os.kill(pid, signal.SIGTERM)
        except ProcessLookupError:
            raise UserError(f"nothing drives {folder.path} any more") from None


def write_driver(folder: SweepFolder, job_id: str, pid: int) -> None:
    """Write down which process drives the sweep's jobs on this machine."""
    write_json(folder.jobs / "driver.json", {"job_id": job_id, "pid": pid})


def _read_driver(folder: SweepFolder) -> dict[str, Any]:
    """``job_id`` and ``pid`` of the last driver; {} if there was none."""
    values = object_if_whole(folder.jobs / "driver.json")
    pid = values.get("pid")  # one process: 0 and below name groups of them
    return values if isinstance(pid, int) and pid > 1 else {}


def finished_words(job: Job) -> str:
    """Message on a finished job: with its accuracy and speed where it trained."""
    summary = {} if job.evaluation else summary_if_whole(job.folder.run(job.run))
    found = f": kNN top-1 {summary['knn_top1']:.3f}" if summary.get("knn_top1") is not None else ""
    speed = f", {summary['images_per_s']:.0f} images/s" if summary.get("images_per_s") else ""
    return f"finished{found}{speed}"
