"""Jobs of one run in one process, one after the other: the costly imports are made once.

``python -m launchers.sweeps.chain JSON``, from the code snapshot. Whoever starts it has begun the attempt
of the first job; the end of each that finishes, and the begin of the next, are written down here. It leaves
with the exit status of the job that did not finish, whose attempt is left open for whoever started it.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from launchers.sweeps import attempts
from launchers.sweeps.attempts import read_attempts
from launchers.sweeps.job import Job
from pipelines.command.errors import run_command

_MODULE = "launchers.sweeps.chain"


def chain_command(jobs: Sequence[Job], job_id: str) -> list[str]:
    """The command that does these jobs; ``job_id`` is the id of their submission."""
    told = {"job_id": job_id, "jobs": [_told(job) for job in jobs]}
    return [sys.executable, "-m", _MODULE, json.dumps(told)]


def _told(job: Job) -> dict[str, Any]:
    """The fields of a job that are not at their defaults: an older snapshot may not know the others."""
    values = {field.name: getattr(job, field.name) for field in fields(job)}
    usual = {field.name: field.default for field in fields(job)}
    return {name: value for name, value in values.items() if value != usual[name]} | {"sweep": str(job.sweep)}


def _job(values: Mapping[str, Any]) -> Job:
    return Job(**{**values, "sweep": Path(values["sweep"]), "task": tuple(values.get("task", ()))})


def is_known_to(code: Path) -> bool:
    """True if a code snapshot, which may be older than this code, has chains."""
    return (code / _MODULE.replace(".", "/")).with_suffix(".py").exists()


def main() -> int:
    """Do the jobs; exit status of the first that did not finish, or 0."""
    told = json.loads(sys.argv[1])
    jobs = [_job(values) for values in told["jobs"]]
    for place, job in enumerate(jobs):
        record = job.folder.attempts(job.name)
        if place:
            _log_to(job.folder.log(job.name))
            attempts.begin(record, told["job_id"], job.steps_done())
        status = _run(job)
        if status:
            return status
        attempts.end(record, read_attempts(record)[-1].number, "finished", 0)
    return 0


def _run(job: Job) -> int:
    """Run a job as ``python -m`` would, here; its exit status."""
    module, arguments = job.arguments()
    sys.argv = [module, *arguments]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if isinstance(end.code, str):  # as Python does it
            print(end.code, file=sys.stderr)
            return 1
        return end.code or 0
    return 0


def _log_to(log: Path) -> None:
    """Append whatever this process prints from now on to a log."""
    sys.stdout.flush()
    sys.stderr.flush()
    with log.open("ab") as file:
        for number in (1, 2):
            os.dup2(file.fileno(), number)


if __name__ == "__main__":
    run_command(main)
