"""Picture of a transfer: test images beside their labels and what the network predicts."""

from __future__ import annotations

import colorsys
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fastssl.transfer.network import Prediction
from pipelines.files.atomic import write_atomically
from pipelines.targets import IGNORED, Targets

_SIDE = 320  # longer side of a tile, pixels
_GAP, _LINE = 6, 20  # white pixels between tiles; height of a line of text
_LEAST_SCORE = 0.5  # of the objects that are drawn
_MOST_OBJECTS = 20  # per tile
_NO_CLASS, _NO_DEPTH = (0, 0, 0), (96, 0, 96)
_FONT = ImageFont.load_default(13)

_NAME = 15  # height of a name, pixels

Color = tuple[int, int, int]
Box = tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True, eq=False)
class Example:
    """A test image with its labels and the prediction for it, all in the image's pixels."""

    image: np.ndarray
    """uint8 [H, W, 3]."""
    targets: Targets
    prediction: Prediction


def save_predictions(path: Path, examples: Sequence[Example], class_names: Sequence[str]) -> None:
    """Draw a row per image: the image, and for all that is predicted the labels and the prediction.

    Objects are drawn in the color of their class, predicted ones with a score of .5 and more. Depth is
    white where it is least in the labels, black where it is most, and even in 1 / depth between. Below stand
    the classes of maps with their colors.

    Args:
        path: of the PNG.
        examples: of each the same is predicted.
        class_names: by the numbers of the classes.

    Raises:
        OSError: the file cannot be written.
    """
    rows = [list(_tiles(example, class_names)) for example in examples]
    widths = [max(tile.width for _, tile in column) for column in zip(*rows, strict=True)]
    heights = [max(tile.height for _, tile in row) for row in rows]
    legend = _legend(examples, class_names)
    width = max(sum(widths) + _GAP * (len(widths) + 1), 2 * _SIDE)
    lines = list(_broken(legend, width - 2 * _GAP))
    height = sum(heights) + (_LINE + _GAP) * len(rows) + _LINE * len(lines) + _GAP
    sheet = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(sheet)
    top = 0
    for row, row_height in zip(rows, heights, strict=True):
        left = _GAP
        for (caption, tile), column_width in zip(row, widths, strict=True):
            draw.text((left, top + 3), _fitting(caption, column_width), "black", _FONT)
            sheet.paste(tile, (left, top + _LINE))
            left += column_width + _GAP
        top += row_height + _LINE + _GAP
    for line in lines:
        for left, label in line:
            draw.rectangle((left, top + 4, left + 11, top + 15), _color(label), "black")
            draw.text((left + 16, top + 3), class_names[label], "black", _FONT)
        top += _LINE
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    write_atomically(path, buffer.getvalue())


def _tiles(example: Example, class_names: Sequence[str]) -> Iterator[tuple[str, Image.Image]]:
    """Captions and tiles of a row."""
    targets, found = example.targets, example.prediction
    yield _label_caption(example, class_names), _scaled(example.image)
    if found.boxes is not None and found.scores is not None and targets.boxes is not None:
        yield f"labels: {_count(len(targets.boxes))}", _with_objects(example.image, targets, class_names)
        seen = int(np.count_nonzero(found.scores >= _LEAST_SCORE))
        best = f", best {found.scores.max():.2f}" if len(found.scores) else ""
        caption = f"prediction: {_count(seen)}, scores from {_LEAST_SCORE:g} on{best}"
        yield caption, _with_objects(example.image, found, class_names)
    if found.segmentation is not None and targets.segmentation is not None:
        yield "labels", _with_classes(example.image, targets.segmentation)
        agreed = targets.segmentation == found.segmentation
        share = (
            agreed[targets.segmentation != IGNORED].mean() if (targets.segmentation != IGNORED).any() else 0
        )
        yield f"prediction: {share:.0%} of pixels right", _with_classes(example.image, found.segmentation)
    if found.depth is not None and targets.depth is not None:
        known = targets.depth[np.isfinite(targets.depth) & (targets.depth > 0)]
        near, far = (float(known.min()), float(known.max())) if known.size else (1.0, 1.0)
        yield f"depth: {near:.2f} (white) to {far:.2f}", _gray(targets.depth, near, far)
        yield "predicted depth", _gray(found.depth, near, far)


def _label_caption(example: Example, class_names: Sequence[str]) -> str:
    found, label = example.prediction.label, example.targets.label
    if found is None or label is None:
        return "image"
    right = found == label
    return class_names[label] if right else f"{class_names[label]}, predicted {class_names[found]}"


def _count(objects: int) -> str:
    return f"{objects} object{'s' * (objects != 1)}"


def _scaled(image: np.ndarray) -> Image.Image:
    """An image whose longer side is that of tiles; small ones keep their pixels visible."""
    size = _tile_size(*image.shape[:2])
    smooth = max(image.shape[:2]) >= _SIDE
    filter_of = Image.Resampling.BOX if smooth else Image.Resampling.NEAREST
    return Image.fromarray(image).resize(size, filter_of)


def _tile_size(height: int, width: int) -> tuple[int, int]:
    factor = _SIDE / max(height, width)
    return max(1, round(width * factor)), max(1, round(height * factor))


def _color(label: int) -> Color:
    """Color of a class: hues a golden section apart."""
    red, green, blue = colorsys.hsv_to_rgb((label * 0.618034) % 1, 0.85, 0.95)
    return round(255 * red), round(255 * green), round(255 * blue)


def _ink(label: int) -> str:
    """Color of letters that can be read on the color of a class."""
    red, green, blue = _color(label)
    return "white" if 0.299 * red + 0.587 * green + 0.114 * blue < 90 else "black"


# --- objects ------------------------------------------------------------------------------------------------


def _with_objects(
    image: np.ndarray, objects: Targets | Prediction, class_names: Sequence[str]
) -> Image.Image:
    """The image under masks, boxes and names; those of predictions with their scores."""
    assert objects.boxes is not None
    assert objects.classes is not None
    scores = None if isinstance(objects, Targets) else objects.scores
    shown = range(len(objects.boxes)) if scores is None else np.flatnonzero(scores >= _LEAST_SCORE).tolist()
    shown = list(shown)[:_MOST_OBJECTS]
    pixels = image.copy()
    if objects.masks is not None:
        for index in shown:
            mask = objects.masks[index]
            pixels[mask] = (pixels[mask] + np.array(_color(int(objects.classes[index])), np.uint16)) // 2
    tile = _scaled(pixels)
    draw = ImageDraw.Draw(tile)
    factor = _SIDE / max(image.shape[:2])
    boxes = [tuple(float(edge) * factor for edge in objects.boxes[index]) for index in shown]
    for index, (left, top, right, bottom) in zip(shown, boxes, strict=True):
        color = _color(int(objects.classes[index]))
        draw.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), outline=color, width=2)
    taken: list[Box] = []
    for index, (left, top, _, _) in zip(shown, boxes, strict=True):  # names above all boxes
        score = "" if scores is None else f" {scores[index]:.2f}"
        label = int(objects.classes[index])
        text = f"{class_names[label]}{score}"
        place = _free_place(tile.size, (left, top), draw.textlength(text, _FONT) + 4, taken)
        taken.append(place)
        draw.rectangle(place, fill=_color(label))
        draw.text((place[0] + 2, place[1]), text, _ink(label), _FONT)
    return tile


def _free_place(
    size: tuple[int, int], corner: tuple[float, float], width: float, taken: Sequence[Box]
) -> Box:
    """A place for a name above the corner of a box, within the tile, below those that are taken."""
    left = max(0.0, min(corner[0], size[0] - width))
    top = max(0.0, corner[1] - _NAME)
    while top + _NAME < size[1] and any(
        left < right and other < left + width and top < bottom and high < top + _NAME
        for other, high, right, bottom in taken
    ):
        top += 1
    return left, top, left + width, top + _NAME


# --- maps ---------------------------------------------------------------------------------------------------


def _with_classes(image: np.ndarray, segmentation: np.ndarray) -> Image.Image:
    """The image under the colors of its pixels' classes, three parts to one."""
    labels = np.unique(segmentation).tolist()
    colors = np.zeros((256, 3), np.uint16)
    colors[labels] = [_NO_CLASS if label == IGNORED else _color(label) for label in labels]
    return _scaled(((image + 3 * colors[segmentation]) // 4).astype(np.uint8))


def _gray(depth: np.ndarray, near: float, far: float) -> Image.Image:
    """A depth map: white at ``near``, black at ``far``; purple where it is not known."""
    known = np.isfinite(depth) & (depth > 0)
    inverse = 1 / np.where(known, depth, far)
    share = (inverse - 1 / far) / max(1 / near - 1 / far, 1e-12)
    gray = np.round(255 * np.clip(share, 0, 1)).astype(np.uint8)
    return _scaled(np.where(known[..., None], gray[..., None], np.array(_NO_DEPTH, np.uint8)))


def _legend(examples: Sequence[Example], class_names: Sequence[str]) -> list[int]:
    """Classes that occur in the maps of labels and predictions."""
    maps = [
        each
        for example in examples
        for each in (example.targets.segmentation, example.prediction.segmentation)
        if example.prediction.segmentation is not None and each is not None
    ]
    found = {label for each in maps for label in np.unique(each).tolist()}
    return sorted(label for label in found if label < len(class_names))


def _broken(labels: Sequence[int], width: int) -> Iterator[list[tuple[int, int]]]:
    """Lines of a legend: left edges and classes, as many per line as columns of equal width have room."""
    column = 150
    per_line = max(1, width // column)
    for start in range(0, len(labels), per_line):
        line = labels[start : start + per_line]
        yield [(_GAP + column * index, label) for index, label in enumerate(line)]


def _fitting(text: str, width: int) -> str:
    """The text, cut where it is wider than its column."""
    cut = text
    while _FONT.getlength(cut) > width and len(cut) > 4:
        cut = f"{cut[:-4]}..."
    return cut
