"""This process: jobs one after the other, for debuggers."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from importlib import import_module

from launchers.clusters.child import outcome_of
from launchers.clusters.foreground import Foreground, finished_words
from launchers.sweeps import attempts
from launchers.sweeps.events import job_ended
from launchers.sweeps.folder import SweepFolder
from launchers.sweeps.job import Job
from pipelines.command.errors import UserError
from pipelines.command.text import visible


class Debug(Foreground):
    """This process, one run after the other, with the code at hand."""

    def drive(self, folder: SweepFolder, jobs: Sequence[Job], job_id: str) -> int:
        """Run jobs by the functions of the training and the evaluation, in this very process."""
        failed = set()
        for job in jobs:
            if job.evaluation and job.run in failed:
                continue
            number = attempts.begin(folder.attempts(job.name), job_id, job.steps_done())
            status, error = 1, ""
            try:
                status, error = _run(job)
            finally:
                attempts.end(folder.attempts(job.name), number, outcome_of(status, False), status, error)
            if status > 128:
                return status
            if status:
                failed.add(job.name)
            words = f"failed: {error}" if status else finished_words(job)
            print(visible(f"{job.name} {words}"), file=sys.stderr, flush=True)
            job_ended(job, error)
        return 1 if failed else 0


def _run(job: Job) -> tuple[int, str]:
    """Exit status of a job, and its error in a line."""
    try:
        module, arguments = job.arguments()
        command = module if module == "fastssl.train" else f"{module}.__main__"
        return import_module(command).main(arguments), ""  # loads torch: only where jobs run
    except UserError as wrong:
        return 2, f"error: {wrong}"
    except Exception as wrong:
        traceback.print_exc()
        return 1, f"{type(wrong).__name__}: {wrong}"
