"""Contenders take turns: each in a process of its own, one at a time, and medians of several rounds count."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from benchmarks.worker import Round
from pipelines.command.errors import UserError
from pipelines.command.progress import show_progress

ROUNDS = 5  # that count, after one that warms up
_PATIENCE_S = 10  # with a process that should end


@dataclass(frozen=True, kw_only=True)
class Case:
    """One contender at one task; see ``benchmarks.contenders``."""

    contender: str
    output: str
    views: int
    threads: int = 1
    device: str = "cpu"  # where it hands over


@dataclass(frozen=True, kw_only=True)
class Row(Case):
    """Medians of the rounds.

    Attributes:
        core_us_per_image: user and system time of all threads, microseconds a source image.
        core_us_quartiles: the first and the third, of the rounds.
        images_per_s: source images per second of wall time.
        views_per_s: times views.
        peak_mb: see ``Round``.
    """

    core_us_per_image: float
    core_us_quartiles: tuple[float, float]
    images_per_s: float
    views_per_s: float
    peak_mb: float


def measure(cases: Sequence[Case], folder: Path) -> list[Row]:
    """Let cases take turns on the images of a folder; those not installed are named on stderr and left out.

    Raises:
        UserError: a contender failed.
    """
    with ExitStack() as processes:
        started = [processes.enter_context(_start(case, folder)) for case in cases]
        workers = []
        for worker in show_progress(started, len(started), "Starting contenders"):
            missing = worker.hear().get("missing")
            if missing is None:
                workers.append(worker)
            else:
                name = f"{worker.case.contender} ({worker.case.output})"
                print(f"{name} is left out, not installed: {missing}", file=sys.stderr)
        turns = [worker for _ in range(1 + ROUNDS) for worker in workers]
        rounds: dict[Case, list[Round]] = {worker.case: [] for worker in workers}
        for worker in show_progress(turns, len(turns), "Taking turns"):
            worker.tell({})
            rounds[worker.case].append(Round(**worker.hear()))
    return [_row(case, taken[1:]) for case, taken in rounds.items()]


def _row(case: Case, rounds: Sequence[Round]) -> Row:
    core_us = [1e6 * taken.core_s / taken.images for taken in rounds]
    low, middle, high = np.percentile(core_us, [25, 50, 75]).round(1).tolist()
    images_per_s = float(np.median([taken.images / taken.wall_s for taken in rounds]))
    return Row(
        **asdict(case),
        core_us_per_image=middle,
        core_us_quartiles=(low, high),
        images_per_s=round(images_per_s, 1),
        views_per_s=round(images_per_s * case.views, 1),
        peak_mb=round(max(taken.peak_mb for taken in rounds), 1),
    )


@dataclass(frozen=True)
class _Worker:
    """A running ``benchmarks.worker``."""

    case: Case
    process: subprocess.Popen[str]
    complaints: TextIO  # its stderr, which is of interest only if it fails

    def tell(self, line: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # it has ended, which is noticed when it is listened to
            print(json.dumps(line), file=self.process.stdin, flush=True)

    def hear(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        try:
            return json.loads(self.process.stdout.readline())
        except json.JSONDecodeError:
            self.complaints.seek(0)
            sys.stderr.write(self.complaints.read())
            raise UserError(
                f"{self.case.contender} failed at {self.case.output}, K = {self.case.views}: "
                "its own message stands above; mend it, or leave it out"
            ) from None


@contextmanager
def _start(case: Case, folder: Path) -> Iterator[_Worker]:
    """A worker whose libraries start no more threads than its case has; ended with the block."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(case.threads))
    with tempfile.TemporaryFile("w+") as complaints:
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker"],
            cwd=Path(__file__).parent.parent,
            env=os.environ | threads,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
            start_new_session=True,  # Ctrl-C is for this process, which then ends them
        )
        try:
            worker = _Worker(case, process, complaints)
            worker.tell({**asdict(case), "folder": str(folder)})
            yield worker
        finally:
            try:
                process.communicate(timeout=_PATIENCE_S)  # the end of its input is a worker's end
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
