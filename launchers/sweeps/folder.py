"""Paths of a sweep's files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class SweepFolder:
    """The paths of a sweep folder. A job is named RUN where it trains, RUN.EVALUATION where it measures."""

    path: Path

    @property
    def plan(self) -> Path:
        """The plan: study, runs, command."""
        return self.path / "sweep.json"

    @property
    def code(self) -> Path:
        """The snapshot of the packages that the jobs run."""
        return self.path / "code"

    @property
    def jobs(self) -> Path:
        """Submissions, attempts and all logs."""
        return self.path / "jobs"

    def config(self, run: str) -> Path:
        """The complete config of a run, as ``python -m fastssl.train`` takes it."""
        return self.path / "configs" / f"{run}.json"

    def run(self, run: str) -> Path:
        """Its run folder."""
        return self.path / "runs" / run

    def evaluation(self, run: str, evaluation: str) -> Path:
        """The result of an evaluation: ``linear``, or ``linear-epoch-0050`` of a kept checkpoint."""
        return self.run(run) / "eval" / f"{evaluation}.json"

    def transfer(self, run: str, result: str) -> Path:
        """Run folder of a transfer of a run's encoder, named after its result."""
        return self.run(run) / "transfer" / result

    def record(self, job: str) -> Path:
        """The last submission of a job."""
        return self.jobs / f"{job}.json"

    def driver(self, run: str) -> Path:
        """Folder whose lock is held by the driver of a search that trains a run on its own machine."""
        return self.jobs / f"{run}.driver"

    def attempts(self, job: str) -> Path:
        """Attempts of a job, and how each ended."""
        return self.jobs / f"{job}.attempts.jsonl"

    def log(self, job: str, rank: int = 0) -> Path:
        """Output of all its attempts, one after the other; each process of a job has its own log."""
        return self.jobs / (f"{job}.rank{rank}.log" if rank else f"{job}.log")

    def rank_report(self, job: str, rank: int) -> Path:
        """End of a process other than the first; read by the first."""
        return self.jobs / f"{job}.rank{rank}.json"
