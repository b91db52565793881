"""Damaged files of a sweep folder, named beside what the others say."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from fastssl.run.summary import read_summary
from launchers.sweeps.attempts import check_attempts
from launchers.sweeps.folder import SweepFolder
from launchers.sweeps.json_file import unless_damaged
from launchers.sweeps.plan import planned_jobs
from launchers.sweeps.state import read_record


def damaged_files(folder: SweepFolder, plan: Mapping[str, Any]) -> list[str]:
    """A line per damaged summary, record or list of attempts: what, where, how to mend it."""
    damaged: list[str] = []
    for job in planned_jobs(folder, plan):
        if job.own_folder:
            unless_damaged(partial(read_summary, job.own_folder), damaged)
        unless_damaged(partial(read_record, folder, job), damaged)
        unless_damaged(partial(check_attempts, folder.attempts(job.name)), damaged)
    return damaged
