"""Progress of a run, from the last lines of its metrics."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fastssl.run.metrics import read_metrics
from fastssl.run.summary import summary_if_whole
from launchers.sweeps.folder import SweepFolder
from launchers.sweeps.json_file import is_number, object_if_whole

_TAIL = 64 * 1024  # bytes of metrics.jsonl that hold its last lines


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Progress of a run.

    Attributes:
        epoch: epochs done.
        share: of all steps, from 0 to 1.
        seconds_left: at the speed of its last lines; None before that is known.
    """

    epoch: float | None = None
    share: float | None = None
    images_per_s: float | None = None
    seconds_left: float | None = None
    knn_top1: float | None = None


def progress(folder: SweepFolder, run: str) -> Progress:
    """Progress by the last lines of metrics.jsonl, and by summary.json where these are missing."""
    path = folder.run(run)
    rows = [summary_if_whole(path), *read_metrics(path / "metrics.jsonl", _TAIL)]
    found = {name: value for row in rows for name, value in row.items()}  # the last one of each
    last = {name: value for name, value in found.items() if is_number(value)}
    step, total = last.get("step", last.get("steps_done")), last.get("total_steps")
    rate = last.get("images_per_s") or None
    left = None
    if rate and total and step is not None and (size := _batch_size(folder.config(run))):
        left = (total - step) * size / rate
    return Progress(
        epoch=last.get("epoch", last.get("epochs_done")),
        share=step / total if total and step is not None else None,
        images_per_s=rate,
        seconds_left=left,
        knn_top1=last.get("knn_top1"),
    )


def _batch_size(config: Path) -> int | None:
    """The run's batch size; None where its config is damaged."""
    try:
        size = object_if_whole(config)["config"]["experiment"]["batch_size"]
    except (KeyError, TypeError):
        return None
    return size if isinstance(size, int) else None
