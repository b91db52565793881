"""Interface of a cluster, on which jobs run: all that ``launchers.sweep`` and ``launchers.status`` see.

::

    class Local(Cluster):
        @dataclass(frozen=True, kw_only=True)
        class Config(Cluster.Config): ...    # the options that only this cluster has

    CLUSTERS = (Local, Slurm, Debug)         # launchers/clusters/__init__.py: the one line

Its kind is the class's name in lower case: the word of ``--cluster`` and of each job's record. So a sweep
folder may hold jobs of several clusters, and each answers for its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from launchers.sweeps.folder import SweepFolder
from launchers.sweeps.job import Job
from launchers.sweeps.state import Answer, JobState, Submission


@dataclass(frozen=True, kw_only=True)
class Resources:
    """The share of a cluster that one training job is given."""

    nodes: int = 1
    gpus_per_node: int = 1
    """One process per GPU trains; 0: one process per node, without GPU."""

    @property
    def processes(self) -> int:
        """Processes that train one run."""
        return self.nodes * max(1, self.gpus_per_node)


class Cluster(ABC):
    """Base of all clusters. The first line of a cluster's docstring is its line in ``--help``.

    Args:
        config: its own options; None: their defaults, enough to ask for states and to cancel.
        max_parallel: jobs of a sweep at a time; 0: as many as it has room for.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """Options of the command line; their names are no other cluster's."""

    kind: ClassVar[str]
    elsewhere: ClassVar[bool] = False
    """True if its nodes may see data that this machine does not."""
    in_foreground: ClassVar[bool] = False
    """True if jobs end with the process that submits them, which holds the sweep folder's lock meanwhile."""

    config: Config

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        cls.kind = cls.__name__.lower()

    def __init__(self, config: Config | None = None, *, max_parallel: int = 0) -> None:
        self.config = self.Config() if config is None else config
        self.max_parallel = max_parallel

    def resources(self) -> Resources:
        """Resources of a training job."""
        return Resources()

    def device_for(self, device: str) -> str:
        """Device of jobs whose config has ``device``; "" leaves it to the config.

        Where GPUs were asked for, a job without one fails: it would take days.
        """
        return "cuda" if self.elsewhere and self.resources().gpus_per_node and device == "auto" else ""

    def check(self, folder: SweepFolder, study: str) -> None:  # noqa: B027
        """Ask whether the cluster would take a training; submits and writes nothing.

        Raises:
            UserError: it would not.
        """

    def outlook(self, folder: SweepFolder, study: str, jobs: Sequence[Job]) -> str:
        """Text that ``--dry-run`` shows of a submission of these jobs; "" for nothing."""
        return ""

    @abstractmethod
    def submit(
        self, folder: SweepFolder, study: str, jobs: Sequence[Job], states: Mapping[str, JobState]
    ) -> int:
        """Submit jobs, and write down each one (``write_submission``).

        An evaluation starts after its run's training has ended well. One whose training is under way on
        another cluster, or what the cluster does not take now, is left out: the same command takes it up.

        Args:
            folder: the sweep's; its snapshot of the code is there.
            study: name of the study, for people.
            jobs: to be submitted; none is queued or running.
            states: of all jobs of the sweep.

        Returns:
            exit status of the command: where jobs run in the foreground, 1 if one failed.

        Raises:
            UserError: the cluster refuses them.
        """

    @abstractmethod
    def states(self, folder: SweepFolder, submissions: Sequence[Submission]) -> dict[str, Answer]:
        """Ask the cluster for the states of jobs submitted to it, by the job's name; left out: gone.

        Raises:
            UserError: it does not answer.
        """

    def job_log(self, folder: SweepFolder, submission: Submission) -> Path | None:
        """The cluster's own error log of a job, beside the log of its process; None: it keeps none."""
        return None

    @abstractmethod
    def cancel(self, folder: SweepFolder, submissions: Sequence[Submission], whole: bool) -> None:
        """Take jobs out of the queue; running ones write their checkpoint and end.

        Args:
            submissions: of jobs that are queued or running.
            whole: these are all jobs of the sweep, not chosen ones.

        Raises:
            UserError: it cannot.
        """
