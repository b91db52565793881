"""The driver: runs on this machine, n at a time over its GPUs, or its cores; it stays in the foreground.

Ctrl-C (or TERM) stops every run after a checkpoint; the same command resumes. A run that fails is tried again
and then left; the others do not notice.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from fastssl.run.interrupt import Interrupt
from launchers.clusters.child import Child
from launchers.clusters.foreground import finished_words
from launchers.sweeps import attempts
from launchers.sweeps.attempts import Outcome
from launchers.sweeps.events import job_ended
from launchers.sweeps.folder import SweepFolder
from launchers.sweeps.job import Job
from launchers.sweeps.progress import progress
from pipelines.command.errors import UserError
from pipelines.command.progress import duration
from pipelines.command.text import visible

_POLL = 0.1  # seconds
_TOLD_EVERY = 30.0  # seconds between two lines of progress
_ASKED_EVERY = 2.0  # seconds between two questions for more jobs, where none came

More = Callable[[Collection[str], int], Sequence[Job] | None]
"""Asked while a share is free: given the runs under way and the free shares, the jobs to add; None: no more
will come."""


@dataclass(frozen=True)
class Slot:
    """A share of this machine: a GPU ("" without) and cores. Several may have the same."""

    number: int
    gpu: str
    cores: frozenset[int]


class _Running(NamedTuple):
    """A job, its process, and the number of its attempt."""

    job: Job
    child: Child
    attempt: int


def slots(max_parallel: int) -> list[Slot]:
    """The machine in shares: one per GPU, or all cores as one; ``max_parallel`` says how many otherwise.

    More shares than GPUs share these; cores are dealt out evenly.
    """
    import torch  # only where jobs run

    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    visible = torch.cuda.device_count()
    gpus = named.split(",")[:visible] if named else [str(index) for index in range(visible)]
    count = max_parallel or len(gpus) or 1
    cores = sorted(os.sched_getaffinity(0))
    share = max(1, len(cores) // count)
    return [
        Slot(
            index,
            gpus[index % len(gpus)] if gpus else "",
            frozenset(cores[(index * share + core) % len(cores)] for core in range(share)),
        )
        for index in range(count)
    ]


class Driver:
    """The jobs that wait, those that run, and what became of the others.

    Args:
        jobs: to run; those that measure a run start after its training.
        free: the shares of this machine, each for one job at a time.
        more: further jobs, as shares become free; None: there are none.
    """

    def __init__(
        self,
        folder: SweepFolder,
        jobs: Sequence[Job],
        job_id: str,
        free: list[Slot],
        more: More | None = None,
    ) -> None:
        self.folder = folder
        self.waiting = list(jobs)
        self.free = free
        self.running: dict[Slot, _Running] = {}
        self.failed: set[str] = set()
        self.total, self.ended, self.stopped = len(jobs), 0, 0
        self.job_id = job_id
        self._more, self._asks_at = more, 0.0

    def run(self) -> int:
        """Run the jobs. Returns the exit status: 0, 1 if one failed, or 128 + the signal that stopped it."""
        with Interrupt() as interrupt:
            try:
                told = time.monotonic()
                while not interrupt.signal and self._has_work():
                    self._start_what_can()
                    self._gather()
                    if time.monotonic() - told > _TOLD_EVERY and self.running:
                        told = time.monotonic()
                        _say(f"[{self.ended}/{self.total}] {', '.join(self._progress())}")
                    time.sleep(_POLL)
                if interrupt.signal and self.running:
                    _say("stopping: each run writes its checkpoint; a second Ctrl-C kills them")
                for one in self.running.values():
                    one.child.stop()
                while self.running:
                    self._gather()
                    time.sleep(_POLL)
            finally:
                for one in self.running.values():
                    one.child.kill()
        if interrupt.signal:
            left = len(self.waiting) + self.stopped
            _say(f"stopped with {left} jobs to do; the same command resumes")
            return interrupt.exit_status
        return 1 if self.failed else 0

    def _has_work(self) -> bool:
        """True while jobs wait, run, or may still come; takes those that come."""
        may_ask = self.free and time.monotonic() >= self._asks_at
        if self._more and may_ask and not any(map(self._is_ready, self.waiting)):
            jobs = self._more({one.job.run for one in self.running.values()}, len(self.free))
            self._asks_at = time.monotonic() + _ASKED_EVERY
            if jobs is None:
                self._more = None
            else:
                self.waiting += jobs
                self.total += len(jobs)
        return bool(self.waiting or self.running or self._more)

    def _start_what_can(self) -> None:
        for job in list(self.waiting):
            if job.evaluation and job.run in self.failed:
                self.waiting.remove(job)
                self._count(job, "not measured: its run failed")
            elif self.free and self._is_ready(job):
                self.waiting.remove(job)
                self._start(job)

    def _is_ready(self, job: Job) -> bool:
        """True unless its run is to be trained first, or encoded by another evaluation: once is enough."""
        if not job.evaluation:
            return True
        running = [one.job for one in self.running.values()]
        if any(other.name == job.run for other in (*self.waiting, *running)):
            return False
        return bool(job.task) or not any(other.run == job.run and not other.task for other in running)

    def _start(self, job: Job) -> None:
        self.failed.discard(job.name)  # of an earlier start
        number = attempts.begin(self.folder.attempts(job.name), self.job_id, job.steps_done())
        try:
            command = job.command()
        except UserError as error:
            self._end(job, number, "mistake", None, str(error))
            return
        slot = self.free.pop(0)
        environment = dict(os.environ) | ({"CUDA_VISIBLE_DEVICES": slot.gpu} if slot.gpu else {})
        child = Child(command, self.folder.code, self.folder.log(job.name), environment)
        child.confine(slot.cores)
        self.running[slot] = _Running(job, child, number)

    def _gather(self) -> None:
        for slot, one in list(self.running.items()):
            if one.child.ended():
                del self.running[slot]
                self.free.append(slot)
                outcome = one.child.outcome()
                error = one.child.error() if outcome in ("mistake", "crashed") else ""
                self._end(one.job, one.attempt, outcome, one.child.status(), error)

    def _end(self, job: Job, number: int, outcome: Outcome, status: int | None, error: str) -> None:
        attempts.end(self.folder.attempts(job.name), number, outcome, status, error)
        if outcome == "crashed" and job.why_not_again(self.job_id) is None:
            _say(f"{job.name} crashed, and is started again: {error}")
            self.waiting.insert(0, job)
        elif outcome in ("mistake", "crashed"):
            self.failed.add(job.name)
            self._count(job, f"failed: {error}  (log: {self.folder.log(job.name)})")
            job_ended(job, error)
        elif outcome == "finished":
            self._count(job, finished_words(job))
            job_ended(job)
        else:
            self.failed.add(job.name)  # stopped from elsewhere, or with all the others
            self.stopped += 1
            self._count(job, "stopped")

    def _progress(self) -> Iterator[str]:
        """Each job that runs; of a training its share, speed and time left."""
        for one in self.running.values():
            if one.job.evaluation:
                yield one.job.name
                continue
            found = progress(self.folder, one.job.run)
            words = [f"{found.share:.0%}"] if found.share is not None else ["starts"]
            words += [f"{found.images_per_s:.0f} images/s"] if found.images_per_s else []
            words += [f"ETA {duration(found.seconds_left)}"] if found.seconds_left is not None else []
            yield f"{one.job.name} {' '.join(words)}"

    def _count(self, job: Job, what: str) -> None:
        self.ended += 1
        self._asks_at = 0.0
        _say(f"[{self.ended}/{self.total}] {job.name} {what}")


def _say(text: str) -> None:
    print(visible(text), file=sys.stderr, flush=True)
