"""This machine: n jobs at a time over its GPUs, or its cores."""

from __future__ import annotations

from collections.abc import Sequence

from launchers.clusters.driver import Driver, More, slots
from launchers.clusters.foreground import Foreground
from launchers.sweeps.folder import SweepFolder
from launchers.sweeps.job import Job


class Local(Foreground):
    """This machine, as many runs at a time as it has GPUs."""

    def drive(self, folder: SweepFolder, jobs: Sequence[Job], job_id: str, more: More | None = None) -> int:
        """Run jobs in processes of their own; Ctrl-C (or TERM) stops each after a checkpoint.

        ``more`` gives further ones: see ``More``.
        """
        return Driver(folder, jobs, job_id, slots(self.max_parallel), more).run()
