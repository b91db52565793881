"""Two pictures of a run: views.png, what the encoder was shown, and curves.png, how the run went."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont, ImageOps

from fastssl.run.drawing import new_figure, to_png
from fastssl.run.metrics import read_metrics
from pipelines.backends.decode_sample import decode_sample
from pipelines.batch import Batch
from pipelines.decode.bad_images import BadImages
from pipelines.files.atomic import write_atomically
from pipelines.sources import Source
from pipelines.views import ViewGroup

_GAP = 4  # white pixels between two tiles
_LINE = 20  # height of a line of text, pixels
_FEWEST_ROWS, _MOST_ROWS = 4, 8  # as many as there are columns, within these
_LEAST_WIDTH = 600  # of the whole sheet, pixels
_SMALLEST_TILE = 64  # smaller views are enlarged by a whole factor, so that a person can see them


def save_views(path: Path, batch: Batch, groups: tuple[ViewGroup, ...], source: Source) -> None:
    """Draw all views of the first samples of a batch, each row the original and its views, under captions.

    Raises:
        UserError: an original cannot be read.
    """
    columns = 1 + sum(group.num_views for group in groups)
    rows = min(len(batch), max(_FEWEST_ROWS, min(_MOST_ROWS, columns)))
    least = max(_SMALLEST_TILE, -(-_LEAST_WIDTH // columns))
    sides = [group.spec.size * max(1, -(-least // group.spec.size)) for group in groups]
    side = max(sides)
    shares = [group.num_views * (own + _GAP) for group, own in zip(groups, sides, strict=True)]
    head = 2 * _LINE
    sheet = Image.new("RGB", (side + 2 * _GAP + sum(shares), head + rows * (side + _GAP)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)

    draw.text((_GAP, _LINE), "original", "black", font)
    for row, original in enumerate(_originals(source, batch.sample_ids[:rows])):
        if original is not None:
            sheet.paste(Image.fromarray(_fitted(original, side)), (_GAP, head + row * (side + _GAP)))
    left, number = side + 2 * _GAP, 0
    for place, (views, group, own) in enumerate(zip(batch.views, groups, sides, strict=True)):
        draw.text((left, 0), _caption(place, group, draw, font, own * group.num_views), "black", font)
        for view in views.split(len(batch)):
            number += 1
            draw.text((left, _LINE), f"view {number}", "black", font)
            for row, tile in enumerate(to_tiles(view[:rows], group, least)):
                sheet.paste(Image.fromarray(tile), (left, head + row * (side + _GAP)))
            left += own + _GAP
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    write_atomically(path, buffer.getvalue())


def _originals(source: Source, sample_ids: torch.Tensor) -> list[np.ndarray | None]:
    """Images of samples, uint8 [H, W, 3]; None of one that cannot be decoded."""
    indices = [int(np.flatnonzero(source.index.sample_ids == sample)[0]) for sample in sample_ids.tolist()]
    return [decode_sample(source, index, BadImages(None, len(indices))) for index in indices]


def _fitted(image: np.ndarray, side: int) -> np.ndarray:
    """An image in a square: enlarged by a whole factor, or reduced."""
    factor = side // max(image.shape[:2])
    if factor:
        return image.repeat(factor, axis=0).repeat(factor, axis=1)
    return np.asarray(ImageOps.contain(Image.fromarray(image), (side, side)))


def _caption(
    place: int,
    group: ViewGroup,
    draw: ImageDraw.ImageDraw,
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
    width: int,
) -> str:
    """Name of a group, as options have it, and its size where there is room."""
    color = "" if group.spec.color_space == "rgb" else f", {group.spec.color_space}"
    whole = f"views.{place}: {group.spec.size} px{color}"
    return whole if draw.textlength(whole, font) <= width else f"views.{place}"


def to_tiles(views: torch.Tensor, group: ViewGroup, least: int = _SMALLEST_TILE) -> np.ndarray:
    """Views [N, 3, S, S] back to uint8 [N, S', S', 3]: S' is the first multiple of S from ``least`` on."""
    spec = group.spec
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (spec.mean, spec.std))
    colors = (views.float().cpu() * std + mean).clamp(0, 1) * 255
    tiles = colors.round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    factor = max(1, -(-least // spec.size))
    return tiles.repeat(factor, axis=1).repeat(factor, axis=2)


def save_curves(path: Path, metrics: Path, title: str, baselines: dict[str, float]) -> None:
    """Draw loss, learning rate and kNN of a metrics.jsonl over epochs; ``baselines`` are level lines.

    The legend stands above its axes, where it hides nothing.
    """
    from matplotlib.ticker import MaxNLocator  # here, as matplotlib is slow to import

    rows = read_metrics(metrics)
    figure = new_figure(12, 3.6, title)
    loss_axes, rate_axes, knn_axes = figure.subplots(1, 3, sharex=True)
    for axes, name, label in (
        (loss_axes, "loss", "loss"),
        (rate_axes, "learning_rate", "learning rate"),
        (knn_axes, "knn_top1", "kNN top-1"),
    ):
        points = [(row["epoch"], row[name]) for row in rows if _are_numbers(row, "epoch", name)]
        if points:
            axes.plot(*zip(*points, strict=True), marker="o" if name == "knn_top1" else None, label="encoder")
        axes.set(xlabel="epoch", ylabel=label)
        axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
        axes.grid(alpha=0.3)
    loss_axes.set_xlim(left=0)  # of all three; a short run has too few whole epochs after its first line
    for (name, value), style in zip(baselines.items(), ("--", ":"), strict=False):
        knn_axes.axhline(value, linestyle=style, color="gray", label=f"{name} ({value:.3f})")
    if baselines:
        knn_axes.legend(fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, frameon=False)
    write_atomically(path, to_png(figure))


def _are_numbers(row: dict[str, Any], *names: str) -> bool:
    """True if a line of metrics.jsonl, which may be damaged, has numbers of these names."""
    return all(isinstance(row.get(name), int | float) for name in names)
