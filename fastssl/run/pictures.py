"""Two pictures of a run: views.png, what the encoder was shown, and curves.png, how the run went."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from fastssl.run.metrics import read_metrics
from pipelines.batch import Batch
from pipelines.files.atomic import write_atomically
from pipelines.views import ViewGroup

_GAP = 2  # white pixels between two views
_ROWS = 8
_SMALLEST_TILE = 64  # smaller views are enlarged by a whole factor, so that a person can see them


def to_tiles(views: torch.Tensor, group: ViewGroup) -> np.ndarray:
    """Views [N, 3, S, S] back to uint8 [N, S', S', 3]."""
    spec = group.spec
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (spec.mean, spec.std))
    colors = (views.float().cpu() * std + mean).clamp(0, 1) * 255
    factor = max(1, -(-_SMALLEST_TILE // spec.size))
    tiles = colors.round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return tiles.repeat(factor, axis=1).repeat(factor, axis=2)


def save_views(path: Path, batch: Batch, groups: tuple[ViewGroup, ...]) -> None:
    """Draw all views of the first samples of a batch, one row per sample, views of one group side by side."""
    rows = min(_ROWS, len(batch))
    columns: list[np.ndarray] = []
    for views, group in zip(batch.views, groups, strict=True):
        for view in views.split(len(batch)):
            columns.append(to_tiles(view[:rows], group))
    width = sum(column.shape[2] + _GAP for column in columns) + _GAP
    height = max(column.shape[1] for column in columns) + _GAP
    sheet = np.full((rows * height + _GAP, width, 3), 255, np.uint8)
    left = _GAP
    for column in columns:
        for row, tile in enumerate(column):
            top = row * height + _GAP
            sheet[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
        left += column.shape[2] + _GAP
    buffer = io.BytesIO()
    Image.fromarray(sheet).save(buffer, "PNG")
    write_atomically(path, buffer.getvalue())


def save_curves(path: Path, metrics: Path, title: str, baselines: dict[str, float]) -> None:
    """Draw loss, learning rate and kNN of a metrics.jsonl over epochs; ``baselines`` are level lines."""
    # here, as matplotlib is slow to import, and most commands draw nothing
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = read_metrics(metrics)
    figure = Figure(figsize=(11, 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    loss_axes, rate_axes, knn_axes = figure.subplots(1, 3)
    figure.suptitle(title, fontsize=11)
    for axes, name, label in (
        (loss_axes, "loss", "loss"),
        (rate_axes, "learning_rate", "learning rate"),
        (knn_axes, "knn_top1", "kNN top-1"),
    ):
        points = [(row["epoch"], row[name]) for row in rows if _are_numbers(row, "epoch", name)]
        if points:
            axes.plot(*zip(*points, strict=True), marker="o" if name == "knn_top1" else None, label="encoder")
        axes.set(xlabel="epoch", ylabel=label)
        axes.grid(alpha=0.3)
    for (name, value), style in zip(baselines.items(), ("--", ":"), strict=False):
        knn_axes.axhline(value, linestyle=style, color="gray", label=f"{name} ({value:.3f})")
    if baselines:
        knn_axes.legend(fontsize=8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    write_atomically(path, buffer.getvalue())


def _are_numbers(row: dict[str, Any], *names: str) -> bool:
    """True if a line of metrics.jsonl, which may be damaged, has numbers of these names."""
    return all(isinstance(row.get(name), int | float) for name in names)
