"""A sweep on the test cluster: its commands as a user types them, and what its folder says meanwhile."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from launchers.clusters import job_states
from launchers.sweeps.attempts import Attempt, read_attempts
from launchers.sweeps.folder import SweepFolder
from launchers.sweeps.job import Job
from launchers.sweeps.state import JobState
from tests.helpers import ROOT
from tests.helpers.real_search import processes

SHORT, LONG = 2, 2000  # epochs: some seconds, and longer than a test waits
IMAGES = 400  # of each of 3 classes
STEPS_PER_EPOCH = 150  # so many that a run is always disturbed within its first epoch
PATIENCE = 600  # seconds that a test waits at most: other work may share the machine

# Runs that differ in nothing but in a field that has no say in the result: any one is the others' measure.
# One sweep serves all tests, so that its snapshot's kernels are compiled once.
GRID = [
    *("--recipe", "quickstart", "--grid", f"epochs={SHORT},{LONG}"),
    "max_bad_images=0,1,2,3,4,5,6,7,8,9,10,11,12",
    *("--set", "batch_size=8", "views.0.spec.size=16", "backbone.width=0.0625", "num_negatives=64"),
    *("projector.hidden_dim=32", "predictor.hidden_dim=32", "projector.out_dim=16", "predictor.out_dim=16"),
    *("threads=1", "workers=2", "log_every=3", "monitor_every=0"),
    "device=cpu",  # the cluster's GPUs are pretended
]


def name(number: int, epochs: int = SHORT) -> str:
    return f"epochs-{epochs}-max-bad-images-{number}-s0"


def run_command(*command: str | Path) -> "subprocess.CompletedProcess[str]":
    words = [str(part) for part in command]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False)


def wait_until(what: Callable[[], object], seconds: float, why: str) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, f"waited {seconds} s until {why}"
        time.sleep(0.1)


@dataclass(frozen=True)
class Sweep:
    """One sweep folder and the data of its runs."""

    path: Path
    data: Path

    @property
    def folder(self) -> SweepFolder:
        return SweepFolder(self.path)

    def submit(
        self, *options: str, only: Sequence[str], settings: Sequence[str] = ()
    ) -> "subprocess.CompletedProcess[str]":
        words = (*GRID, *settings, "--cluster", "slurm", "--only", *only, *options)
        places = ("--data", self.data, "--out", self.path)
        return run_command(sys.executable, "-m", "launchers.sweep", *places, *words)

    def train(self, *options: str, only: Sequence[str], settings: Sequence[str] = ()) -> None:
        """Submit runs without their evaluations."""
        done = self.submit(*options, "--no-eval", only=only, settings=settings)
        assert done.returncode == 0, done.stderr

    def job_id(self, job: str) -> str:
        job_id: str = json.loads(self.folder.record(job).read_text())["job_id"]
        return job_id

    def state(self, run: str, evaluation: str = "") -> JobState:
        job = Job(sweep=self.path, run=run, data="", evaluation=evaluation)
        return job_states(self.folder, [job])[job.name]

    def attempts(self, job: str) -> list[Attempt]:
        return read_attempts(self.folder.attempts(job))

    def losses(self, run: str) -> list[tuple[int, float]]:
        path = self.folder.run(run) / "metrics.jsonl"
        rows = [json.loads(line) for line in path.read_text().split("\n")[:-1]] if path.exists() else []
        return [(row["step"], row["loss"]) for row in rows if "loss" in row]

    def step(self, run: str) -> int:
        return max((step for step, _ in self.losses(run)), default=0)

    def wait_for_step(self, run: str, step: int) -> None:
        wait_until(
            lambda: self.step(run) >= step,
            PATIENCE,
            f"{run} reaches step {step}; its log: {self.folder.log(run)}",
        )

    def wait_for(self, run: str, *names: str, evaluation: str = "", seconds: float = PATIENCE) -> None:
        """Until a job's state is one of ``names``; a finished job's end is written down by then."""
        job = f"{run}.{evaluation}" if evaluation else run

        def there() -> bool:
            state = self.state(run, evaluation).name
            return state in names and (state != "finished" or self.attempts(job)[-1].outcome == "finished")

        wait_until(there, seconds, f"{job} becomes {' or '.join(names)}; its log: {self.folder.log(job)}")

    def signal_processes(self, run: str, number: signal.Signals) -> None:
        """Signal the training processes of a run."""
        for pid in processes(self.folder.config(run)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
