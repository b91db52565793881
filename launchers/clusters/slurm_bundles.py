"""Bundles: jobs of a run that one job of SLURM does, one after the other; how many of them run at a time."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from launchers.clusters.slurm_queue import ask
from launchers.sweeps.attempts import Attempt
from launchers.sweeps.job import Job
from launchers.sweeps.state import Answer
from pipelines.command.errors import UserError

Bundle = tuple[Job, ...]

_ARRAY_SIZE = 1000  # SLURM's usual limit is 1001


@dataclass(frozen=True, kw_only=True)
class Bundles:
    """All bundles of a submission."""

    trainings: Sequence[Bundle]
    """Each trains a run, and measures it where no resources of its own are asked for that."""
    evaluations: Sequence[Bundle]
    """Each measures a trained run."""
    waiting: Mapping[str, Bundle]
    """By run: each measures it once it is trained."""


def bundled(
    jobs: Sequence[Job], *, inside: bool, in_training: Collection[str], elsewhere: Collection[str]
) -> Bundles:
    """The jobs in bundles.

    Args:
        inside: measure a run in the job that trains it.
        in_training: runs that SLURM trains already.
        elsewhere: runs that another cluster trains: their evaluations are left out.
    """
    trainings: list[Bundle] = []
    evaluations: list[Bundle] = []
    waiting: dict[str, Bundle] = {}
    by_run: dict[str, list[Job]] = {}
    for job in jobs:
        by_run.setdefault(job.run, []).append(job)
    for run, of_run in by_run.items():
        training = tuple(job for job in of_run if not job.evaluation)
        measuring = tuple(job for job in of_run if job.evaluation)
        if training:
            trainings.append(training + measuring if inside else training)
            if not inside and measuring:
                waiting[run] = measuring
        elif run in in_training:
            waiting[run] = measuring
        elif run not in elsewhere:
            tasks = [(job,) for job in measuring if job.task]  # each as long as a training
            measuring = tuple(job for job in measuring if not job.task)
            evaluations += [measuring, *tasks] if measuring else tasks
    return Bundles(trainings=trainings, evaluations=evaluations, waiting=waiting)


class Lanes:
    """A limit to the jobs of a sweep that run at a time, over all its arrays.

    An array is given what the earlier ones leave; one for which nothing is left waits for all of them.

    Args:
        limit: jobs at a time; 0: none.
        active: SLURM's ids of the sweep's jobs that wait or run.
    """

    def __init__(self, limit: int, active: Collection[str]) -> None:
        self._limit = limit
        self._arrays = {_array(job_id) for job_id in active}
        self._taken = min(limit, len(set(active)))
        self._waits = False

    def terms(self) -> tuple[int, str]:
        """Parallelism of the next array (0: no limit), and what it depends on ("": nothing)."""
        room = self._limit - self._taken
        if not self._limit or (room and not self._waits):
            return room, ""
        return self._limit, f"afterany:{':'.join(sorted(self._arrays))}"

    def wait(self) -> None:
        """Let each further array wait for all before it: they measure what these train."""
        self._waits = True

    def take(self, job_ids: Collection[str]) -> None:
        """Count an array that was submitted on these terms."""
        parallel, after = self.terms()
        self._taken = min(self._limit, (0 if after else self._taken) + min(parallel, len(set(job_ids))))
        self._arrays |= {_array(job_id) for job_id in job_ids}


def max_array_size() -> int:
    """Jobs of the longest array that this SLURM takes; 1000 where it does not say."""
    try:
        found = re.search(r"^MaxArraySize\s*=\s*(\d+)", ask("scontrol", "show", "config"), re.M)
    except UserError:
        found = None
    return max(1, int(found[1])) if found else _ARRAY_SIZE


def answer_for(job: Job, answer: Answer, attempts: Sequence[Attempt]) -> Answer:
    """SLURM's answer about a job of a bundle, by its answer about the bundle and the job's attempts there."""
    last = attempts[-1].outcome if attempts else None
    if answer.name in ("queued", "running") and last == "mistake":
        return Answer("gone")  # the bundle goes on with others
    if answer.name == "running" and job.evaluation:
        if last == "crashed":
            return Answer("gone")
        return answer if last == "running" else Answer("queued", "its run comes first")
    if answer.name == "gone" and job.evaluation and not attempts and not job.training().is_done():
        return Answer("gone", answer.detail)  # the log tells of the training
    return answer


def _array(job_id: str) -> str:
    return job_id.partition("_")[0]
