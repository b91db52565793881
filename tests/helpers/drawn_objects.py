"""Images with objects, labeled and found, drawn on a coarse grid, so that ties and equal IoUs occur."""

from dataclasses import dataclass, replace

import numpy as np
from hypothesis import strategies as st

from fastssl.transfer.network import Prediction
from pipelines.targets import Targets

CLASSES = ("cat", "dog")
CELL, CELLS = 12, 10  # pixels, so that objects are small, medium and large
SIDE = CELL * CELLS


@dataclass(frozen=True, kw_only=True)
class Thing:
    """An object, labeled or found."""

    box: tuple[int, int, int, int]
    """Left, top, right, bottom, pixels."""
    label: int
    mask: np.ndarray
    """bool [SIDE, SIDE]."""
    score: float = 0.0
    crowd: bool = False
    difficult: bool = False

    @property
    def filled(self) -> np.ndarray:
        """The pixels of its box, bool [SIDE, SIDE]."""
        return box_mask(self.box)


Picture = tuple[list[Thing], list[Thing]]
"""Labeled and found objects of an image."""


def box_mask(box: tuple[int, int, int, int]) -> np.ndarray:
    left, top, right, bottom = box
    mask = np.zeros((SIDE, SIDE), bool)
    mask[top:bottom, left:right] = True
    return mask


@st.composite
def things(draw: st.DrawFn, *, found: bool) -> Thing:
    """An object whose mask is its box without the box's left column of cells, or all of it."""
    left, top = draw(st.integers(0, 3)), draw(st.integers(0, 3))
    right, bottom = left + draw(st.integers(1, 6)), top + draw(st.integers(1, 6))
    box = (CELL * left, CELL * top, CELL * right, CELL * bottom)
    cut = draw(st.booleans()) and right - left > 1
    return Thing(
        box=box,
        label=draw(st.integers(0, len(CLASSES) - 1)),
        mask=box_mask((box[0] + CELL * cut, *box[1:])),
        score=draw(st.sampled_from((0.2, 0.5, 0.7, 0.9))) if found else 0.0,
        crowd=not found and draw(st.integers(0, 5)) == 0,
        difficult=not found and draw(st.integers(0, 5)) == 0,
    )


def pictures() -> st.SearchStrategy[list[Picture]]:
    labeled, found = (st.lists(things(found=each), max_size=5) for each in (False, True))
    return st.lists(st.tuples(labeled, found), min_size=1, max_size=3)


def targets_of(labeled: list[Thing]) -> Targets:
    return Targets(
        height=SIDE,
        width=SIDE,
        boxes=np.array([thing.box for thing in labeled], np.float32).reshape(-1, 4),
        classes=np.array([thing.label for thing in labeled], np.int64),
        areas=np.array([thing.mask.sum() for thing in labeled], np.float32),
        difficult=np.array([thing.difficult for thing in labeled], bool),
        crowd=np.array([thing.crowd for thing in labeled], bool),
        masks=np.array([thing.mask for thing in labeled], bool).reshape(-1, SIDE, SIDE),
    )


def prediction_of(found: list[Thing]) -> Prediction:
    falling = sorted(found, key=lambda thing: -thing.score)
    return Prediction(
        boxes=np.array([thing.box for thing in falling], np.float32).reshape(-1, 4),
        scores=np.array([thing.score for thing in falling], np.float32),
        classes=np.array([thing.label for thing in falling], np.int64),
        masks=np.array([thing.mask for thing in falling], bool).reshape(-1, SIDE, SIDE),
    )


def boxes_only(*boxes: tuple[float, ...], **more: np.ndarray) -> Targets:
    """Boxes of the first class; ``more``: areas, crowd, difficult."""
    targets = Targets(height=200, width=200, boxes=_rows(boxes), classes=np.zeros(len(boxes), np.int64))
    return replace(targets, **more)  # type: ignore[arg-type]  # by their names


def found_boxes(*boxes: tuple[float, ...], best: float = 0.9) -> Prediction:
    """Boxes of the first class, with scores from ``best`` down to .1."""
    scores = np.linspace(best, 0.1, len(boxes), dtype=np.float32)
    return Prediction(boxes=_rows(boxes), scores=scores, classes=np.zeros(len(boxes), np.int64))


def _rows(boxes: tuple[tuple[float, ...], ...]) -> np.ndarray:
    return np.array(boxes, np.float32).reshape(-1, 4)
