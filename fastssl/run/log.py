"""Log of a run: metrics.jsonl, TensorBoard, Weights & Biases, and the lines on the terminal."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import ClassVar

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from fastssl.config import Config
from fastssl.run.board import Board
from fastssl.run.metrics import read_metrics
from fastssl.run.wandb_board import WandbBoard
from pipelines.command.progress import duration
from pipelines.files.atomic import write_atomically

_SECONDS_BETWEEN_GLANCES = 3.0


class MetricMeans:
    """Means of metrics that stay on the device until they are read."""

    def __init__(self) -> None:
        self._sums: dict[str, torch.Tensor] = {}
        self._count = 0

    def add(self, metrics: dict[str, torch.Tensor]) -> None:
        """Take in the 0-dim tensors of one step."""
        for name, value in metrics.items():
            value = value.detach().float()
            self._sums[name] = self._sums[name] + value if name in self._sums else value
        self._count += 1

    def peek(self) -> dict[str, float]:
        """The means since the last ``read``. Waits for the device."""
        values = torch.stack(list(self._sums.values())).tolist()
        return {name: value / self._count for name, value in zip(self._sums, values, strict=True)}

    def read(self) -> dict[str, float]:
        """Same as ``peek``, and begin anew."""
        values = self.peek()
        self._sums, self._count = {}, 0
        return values

    def state_dict(self) -> dict[str, object]:
        """State for a checkpoint."""
        return {"sums": dict(self._sums), "count": self._count}

    def load_state_dict(self, state: dict[str, object], device: torch.device) -> None:
        """Resume from a checkpoint."""
        sums, count = state["sums"], state["count"]
        assert isinstance(sums, dict)
        assert isinstance(count, int)
        self._sums, self._count = {name: value.to(device) for name, value in sums.items()}, count


class RunLog:
    """The log of one run, opened at the step to come.

    Lines of ``metrics.jsonl`` beyond ``first_step`` are of a stretch that is about to be done again: they are
    cut, so that every step is logged once. On a terminal a live line shows the last step, and each epoch
    leaves a line; elsewhere each call of ``metrics`` does. Lines have the metrics of ``shown``.

    Attributes:
        last: the last value of each metric that this process logged.
    """

    def __init__(
        self, folder: Path, first_step: int, total_steps: int, shown: tuple[str, ...] = ("loss", "knn_top1")
    ) -> None:
        self._shown = shown
        path = folder / "metrics.jsonl"
        kept = [row for row in read_metrics(path) if row["step"] <= first_step]
        write_atomically(path, "".join(json.dumps(row) + "\n" for row in kept).encode())
        self._board = Board(folder / "tb", first_step)
        self._wandb: WandbBoard | None = None
        self._file = path.open("a")
        self._progress: Progress | None = None
        self._total_steps = total_steps
        self._console = Console(stderr=True)
        self.last: dict[str, float] = {}
        self._step = first_step  # of the last values
        self._glanced_at = 0.0
        self._first: tuple[int, float] | None = None  # step and time from which steps are timed
        if self._console.is_terminal:
            columns = (
                TextColumn("step"),
                BarColumn(),
                TextColumn("{task.description}"),
                TimeRemainingColumn(),
            )
            self._progress = Progress(*columns, console=self._console, transient=True)
            self._task = self._progress.add_task("", total=total_steps, completed=first_step)
            self._progress.start()

    def metrics(self, step: int, epoch: float, values: dict[str, float]) -> None:
        """Log the values of one step (counted from 1)."""
        self._file.write(json.dumps({"step": step, "epoch": round(epoch, 4), **values}) + "\n")
        self._file.flush()
        for board in self._boards():
            board.scalars(step, values)
        self.last |= values
        self._step = step
        self.glance(step, epoch, values)

    def describe(self, config: Config) -> None:
        """Show the config of a run that begins on TensorBoard."""
        self._board.describe(config)

    def use_wandb(self, config: Config) -> None:
        """Show the run on Weights & Biases as well."""
        with self.other_work():  # the library may take its time
            self._wandb = WandbBoard(config, self.say)

    def _boards(self) -> list[Board | WandbBoard]:
        return [self._board, *([self._wandb] if self._wandb is not None else [])]

    def baselines(self, step: int, values: Mapping[str, float]) -> None:
        """Show the accuracies that ``knn_top1`` is measured against on the boards, as level lines."""
        for board in self._boards():
            board.scalars(step, {f"knn_top1_{name}": value for name, value in values.items()})

    def picture(self, path: Path) -> None:
        """Show a picture of the run folder on the boards."""
        for board in self._boards():
            board.picture(path)

    def wants_glance(self, step: int) -> bool:
        """Count a step; True where its metrics should be shown between two lines of ``metrics``.

        That is after the first step of this process, and on a terminal every few seconds.
        """
        now = time.monotonic()
        first = self._first is None
        if self._first is None:
            self._first = step, now
        if self._progress is not None:
            self._progress.update(self._task, completed=step)
        return first or (self._progress is not None and now - self._glanced_at > _SECONDS_BETWEEN_GLANCES)

    def epoch(self, step: int, epoch: float) -> None:
        """Leave a line of the last values above the live one, at the end of an epoch."""
        if self._progress is not None and self.last:
            self.say(self._line(step, epoch, self.last))

    def glance(self, step: int, epoch: float, values: dict[str, float]) -> None:
        """Show the values of a step, and keep them nowhere."""
        self._glanced_at = time.monotonic()
        if self._progress is not None:
            self._progress.update(self._task, completed=step, description=self._line(step, epoch, values))
            return
        left = ""
        if self._first is not None and self._first[0] < step < self._total_steps:
            rate = (time.monotonic() - self._first[1]) / (step - self._first[0])
            left = f"  ETA {duration(rate * (self._total_steps - step))}"
        self.say(self._line(step, epoch, values) + left)

    def _line(self, step: int, epoch: float, values: dict[str, float]) -> str:
        parts = [f"{step}/{self._total_steps}", f"epoch {epoch:.1f}"]
        parts += [f"{name} {values[name]:.3f}" for name in self._shown if name in values]
        if values.get("images_per_s"):
            rate = values["images_per_s"]
            parts.append(f"{rate:.{0 if rate >= 10 else 1}f} img/s, data wait {values['data_wait']:.0%}")
        return "  ".join(parts)

    def say(self, text: str) -> None:
        """One line for the person who watches."""
        if self._progress is not None:
            self._console.print(text, markup=False, highlight=False)
        else:
            print(text, file=sys.stderr, flush=True)

    @contextmanager
    def other_work(self) -> Iterator[None]:
        """Take the live line away while something else shows its own progress."""
        if self._progress is not None:
            self._progress.stop()
        yield
        if self._progress is not None:
            self._progress.start()

    def __enter__(self) -> RunLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()
        self._file.close()
        self._board.close()
        if self._wandb is not None:
            self._wandb.close(finished=self._step >= self._total_steps)


class SilentLog(nullcontext[None]):
    """The log of a rank other than 0: no output."""

    last: ClassVar[dict[str, float]] = {}

    def describe(self, config: Config) -> None:
        """No-op."""

    def use_wandb(self, config: Config) -> None:
        """No-op."""

    def baselines(self, step: int, values: Mapping[str, float]) -> None:
        """No-op."""

    def picture(self, path: Path) -> None:
        """No-op."""

    def wants_glance(self, step: int) -> bool:
        """No."""
        return False

    def glance(self, step: int, epoch: float, values: dict[str, float]) -> None:
        """No-op."""

    def epoch(self, step: int, epoch: float) -> None:
        """No-op."""

    def metrics(self, step: int, epoch: float, values: dict[str, float]) -> None:
        """No-op."""

    def say(self, text: str) -> None:
        """No-op."""

    def other_work(self) -> nullcontext[None]:
        """No-op."""
        return nullcontext()
