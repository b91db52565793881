"""A job on SLURM: runs on the nodes, forwards signals, and puts itself back into the queue.

It does a bundle of jobs, one after the other: the training of a run, then its evaluations. After a requeue
it goes on with the first that has no result.

One task per GPU; each starts its own process of the training, and these find each other. The first task alone
keeps the record and decides. Another one whose process fails leaves a report for it, and returns.

SLURM's ways, and what is done about them:

    USR2 before the time limit, or at preemption    the process is stopped and waited for, the job requeued
    TERM alone: preemption without USR2             the same, if SLURM still calls the job running; cancelled
                                                    and timed-out jobs are not, and end
    USR2 for every process of the job               training would die of it: it is blocked there (`Child`)
    requeueing kills its own `scontrol`             TERM is ignored from then on, and so by its children
    a process that crashes                          the job is requeued, a bounded number of times
    a node of several is lost                       those of the others crash: SLURM tells of the node;
                                                    the job is requeued as long as it gets further
    the only node lost, job killed                  SLURM requeues, or the batch script does (`slurm`); the
                                                    next attempt sees that the last one has no end, and counts
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, NoReturn

from submitit.core.utils import DelayedSubmission

from launchers.clusters.child import Child
from launchers.clusters.slurm_job import (
    JobFailedError,
    attempt_id,
    job_id,
    lost_node,
    node_count,
    rank,
    requeue,
    slurm_state,
    task_count,
)
from launchers.sweeps import attempts
from launchers.sweeps.attempts import Outcome, read_attempts
from launchers.sweeps.events import job_ended
from launchers.sweeps.job import Job
from launchers.sweeps.json_file import object_if_whole
from pipelines.command.errors import UserError
from pipelines.files.atomic import atomic_file

_REPORTS = 5.0  # seconds between two looks for reports of the other tasks
_OTHERS = 15.0  # seconds that the first task waits for the others' reports, when its own process failed
_NODES = 150.0  # the same where they may be on a lost node, of which SLURM learns late
_LOOKS = 5.0  # seconds between two questions for lost nodes


class SlurmTask:
    """Callable that submitit runs in each task, and requeues.

    Args:
        jobs: what to run, in order.
        grace: seconds that a stopped process is given to write its checkpoint.
    """

    def __init__(self, jobs: Sequence[Job], grace: float) -> None:
        self.jobs = tuple(jobs)
        self.job = self.jobs[0]
        self.grace = grace
        self._child: Child | None = None
        self._attempt = 0
        self._stopping = False

    def __getstate__(self) -> dict[str, Any]:
        return {"jobs": self.jobs, "grace": self.grace}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["jobs"], state["grace"])  # type: ignore[misc]

    # ---- in the job ---------------------------------------------------------------------------------------

    def __call__(self) -> str:
        """Run the jobs. Returns how this task ended.

        Raises:
            JobFailedError: one failed, and shall not be tried again.
            SystemExit: it was interrupted or requeued.
        """
        self._forward_signals()
        if rank():
            return self._follow()
        errors = []
        for job in self.jobs:
            self.job = job
            if not job.is_done() or len(self.jobs) == 1:
                error = self._run()
                errors += [error] if error else []
                job_ended(job, error)
            if not job.evaluation and errors:
                break  # there is nothing to measure
        if errors:
            raise JobFailedError(errors[0])
        return "finished"

    def _run(self) -> str:
        """Run the present job. Returns why it failed for good, or "".

        Raises:
            SystemExit: it was interrupted or requeued.
        """
        self._child = None
        if self.job.evaluation and not self.job.training().is_done():
            return self._give_up("its run is not trained: give the sweep's command again")
        reason = self.job.why_not_again(job_id())
        if reason:
            return self._give_up(reason)
        self._attempt = attempts.begin(self._record, job_id(), self.job.steps_done())
        try:
            self._start()
        except UserError as wrong:
            attempts.end(self._record, self._attempt, "mistake", None, str(wrong))
            return str(wrong)
        outcome, status, error = self._watch()
        self._write_end(outcome, status, error)
        if outcome == "interrupted":
            self._leave_or_requeue()
        if outcome in ("crashed", "lost"):
            reason = self.job.why_not_again(job_id())
            if reason is None:
                requeue(f"{outcome}: {error}")
        return "" if outcome == "finished" else error

    def checkpoint(self) -> DelayedSubmission:
        """Called by submitit at USR2, in the first task: stop the process; submitit requeues the job then."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # inherited by submitit's `scontrol requeue`
        if self._child is None:  # the data is still being copied
            self._write_end("interrupted", 0, "")
        else:
            self._child.stop()
            if self._child.wait(self.grace):
                self._write_end(self._child.outcome(), self._child.status(), "")
        return DelayedSubmission(SlurmTask(self.jobs, self.grace))

    def _give_up(self, reason: str) -> str:
        """Leave the present job for good; its record says so where it does not yet. Returns the reason."""
        mine = read_attempts(self._record, job_id())
        if not mine or mine[-1].outcome not in ("mistake", "crashed"):
            number = attempts.begin(self._record, job_id(), self.job.steps_done())
            attempts.end(self._record, number, "mistake", None, reason)
        return reason

    @property
    def _record(self) -> Any:
        return self.job.folder.attempts(self.job.name)

    def _start(self) -> None:
        folder = self.job.folder
        command = self.job.command()
        log = folder.log(self.job.name, rank())
        self._child = Child(command, folder.code, log, own_session=False)
        if self._stopping:  # the signal came while the data was copied
            self._child.stop()

    def _write_end(self, outcome: Outcome, status: int, error: str) -> None:
        if self._attempt:
            attempts.end(self._record, self._attempt, outcome, status, error)
            self._attempt = 0

    def _watch(self) -> tuple[Outcome, int, str]:
        """The end of the training as the first task sees it: outcome, exit status, last line."""
        assert self._child is not None
        while not self._child.wait(_REPORTS):
            failed = [report for report in self._reports() if report["outcome"] in ("mistake", "crashed")]
            if failed and not self._child.wait(_OTHERS):
                self._child.kill()
        outcome, status, error = self._child.outcome(), self._child.status(), ""
        if outcome in ("mistake", "crashed"):
            error = self._child.error()
        if outcome not in ("finished", "interrupted") or self._reports():
            return self._worst(outcome, status, error)
        return outcome, status, error

    def _worst(self, outcome: Outcome, status: int, error: str) -> tuple[Outcome, int, str]:
        """The end that counts, of all tasks: a user's mistake is told by one process, the others lose it."""
        node = self._wait_for_reports() if outcome == "crashed" else ""
        if node:
            return "lost", status, f"SLURM lost a node: {node}"
        ends: list[tuple[Outcome, int, str]] = [(outcome, status, error)]
        for report in self._reports():
            told = f"process {report['rank']}: {report['error']}"
            ends.append((report["outcome"], int(report["status"]), told))
        order = ("mistake", "crashed")

        def badness(end: tuple[Outcome, int, str]) -> tuple[int, bool]:
            killed = end[1] < 0  # the others crash as they lose it
            return order.index(end[0]) if end[0] in order else len(order), not killed

        return min(ends, key=badness)

    def _wait_for_reports(self) -> str:
        """Wait for the reports of all tasks. Returns the lost node on which one is silent, or ""."""
        several = node_count() > 1
        begun = looked = time.monotonic()
        while len(self._reports()) < task_count() - 1:
            now = time.monotonic()
            if now - begun > (_NODES if several else _OTHERS):
                break
            if several and now - looked > _LOOKS:
                looked = now
                if node := lost_node():
                    return node
            time.sleep(0.2)
        return ""

    def _reports(self) -> list[dict[str, Any]]:
        """Reports that the other tasks of this attempt left."""
        found = []
        for other in range(1, task_count()):
            report = object_if_whole(self.job.folder.rank_report(self.job.name, other))
            if report.get("attempt") == attempt_id():
                found.append(report)
        return found

    def _follow(self) -> str:
        """A task other than the first: run the process, and report how it ended."""
        try:
            self._start()
        except UserError as wrong:
            self._report("mistake", 2, str(wrong))
            return "mistake"
        assert self._child is not None
        self._child.wait(float("inf"))
        outcome = self._child.outcome()
        error = self._child.error() if outcome in ("mistake", "crashed") else ""
        self._report(outcome, self._child.status(), error)
        return outcome

    def _report(self, outcome: Outcome, status: int, error: str) -> None:
        values = {"attempt": attempt_id(), "rank": rank(), "outcome": outcome, "status": status}
        with atomic_file(self.job.folder.rank_report(self.job.name, rank())) as file:
            file.write(json.dumps({**values, "error": error}).encode())

    # ---- signals ------------------------------------------------------------------------------------------

    def _forward_signals(self) -> None:
        """TERM and USR2 stop the process; USR2 then goes to submitit, which requeues."""
        for number in (signal.SIGTERM, signal.SIGUSR2):
            signal.signal(number, self._stop_and(signal.getsignal(number)))

    def _stop_and(self, then: Any) -> Callable[[int, FrameType | None], None]:
        def handler(number: int, frame: FrameType | None) -> None:
            self._stopping = True
            if self._child is not None:
                self._child.stop()
            if callable(then):
                then(number, frame)

        return handler

    def _leave_or_requeue(self) -> NoReturn:
        """After a clean stop without USR2: preempted jobs go back into the queue, cancelled ones end."""
        if slurm_state() == "RUNNING":
            requeue("interrupted")
        sys.exit(128 + signal.SIGTERM)
