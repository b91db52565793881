"""OpenCV, written by hand for speed, with semantics that only resemble torchvision's.

As OpenCV's documentation advises: INTER_AREA to shrink, ``transform`` for color matrices, ``LUT`` for
tables, ``GaussianBlur`` with a kernel that follows sigma. All color operations of a view, in their random
order, are one affine map of its pixels: hue turns linearly (about the gray axis, in YIQ), values are not
clamped between the operations, and contrast's mean is the map's of the mean pixel. Files are decoded by
simplejpeg, which is quicker than ``imdecode``. More threads: a pool, for OpenCV frees the GIL.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import simplejpeg

from benchmarks.contenders import Batch, Pass, Work, decode_each, random_crop
from benchmarks.contenders.host_draws import FROM_YIQ, TO_GRAY, YIQ
from pipelines.views import ViewSpec


def _views(work: Work) -> Pass:
    cv2.setNumThreads(1)
    files, spec = work.files(), work.spec
    batch = np.empty((work.views, work.batch_size, spec.size, spec.size, 3), np.uint8)
    table = np.arange(256, dtype=np.uint8)
    solarized = np.where(table >= round(255 * spec.solarize.threshold), 255 - table, table)
    pool = ThreadPoolExecutor(work.threads)

    def fill(slot: int, file: str) -> None:
        with open(file, "rb", buffering=0) as opened:
            image = simplejpeg.decode_jpeg(opened.read())
        for view in batch[:, slot]:
            view[:] = _view(image, spec, solarized)

    def run() -> Iterator[Batch]:
        for first in range(0, len(files), work.batch_size):
            some = files[first : first + work.batch_size]
            list(pool.map(fill, range(len(some)), some))
            yield batch[:, : len(some)]

    return run


def _view(image: np.ndarray, spec: ViewSpec, solarized: np.ndarray) -> np.ndarray:
    """One random view, uint8 [S, S, 3]."""
    top, left, height, width = _box(spec, *image.shape[:2])
    box = image[top : top + height, left : left + width]
    shrinks = height > spec.size and width > spec.size
    view = cv2.resize(
        box, (spec.size, spec.size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    )
    if random.random() < spec.flip.p:
        view = cv2.flip(view, 1)
    jitter, gray = random.random() < spec.jitter.p, random.random() < spec.grayscale.p
    if jitter or gray:
        view = cv2.transform(view, _color_map(view, spec, jitter, gray))
    if random.random() < spec.blur.p:
        view = cv2.GaussianBlur(view, (0, 0), random.uniform(*spec.blur.sigma))
    if random.random() < spec.solarize.p:
        view = cv2.LUT(view, solarized)
    return view


def _box(spec: ViewSpec, height: int, width: int) -> tuple[int, int, int, int]:
    """torchvision's ``RandomResizedCrop.get_params``, but for its fallback: the whole image."""
    crop = random_crop(spec)
    low, high = map(math.log, crop.ratio)
    for _ in range(10):
        area = height * width * random.uniform(*crop.scale)
        ratio = math.exp(random.uniform(low, high))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            return random.randint(0, height - h), random.randint(0, width - w), h, w
    return 0, 0, height, width


def _color_map(view: np.ndarray, spec: ViewSpec, jitter: bool, gray: bool) -> np.ndarray:
    """[3, 4]: a matrix and a shift, in levels, of all color operations of a view."""
    matrix, shift = np.eye(3), np.zeros(3)
    for part in random.sample(range(4), 4) if jitter else ():
        if part == 0:
            factor = _factor(spec.jitter.brightness)
            matrix, shift = factor * matrix, factor * shift
        elif part == 1:
            factor = _factor(spec.jitter.contrast)
            mean = TO_GRAY[0] @ (matrix @ cv2.mean(view)[:3] + shift)
            matrix, shift = factor * matrix, factor * shift + (1 - factor) * mean
        else:
            turn = _saturation(spec) if part == 2 else _hue(spec)
            matrix, shift = turn @ matrix, turn @ shift
    if gray:
        matrix, shift = TO_GRAY @ matrix, TO_GRAY @ shift
    return np.column_stack([matrix, shift])


def _factor(strength: float) -> float:
    return random.uniform(max(0, 1 - strength), 1 + strength)


def _saturation(spec: ViewSpec) -> np.ndarray:
    factor = _factor(spec.jitter.saturation)
    return factor * np.eye(3) + (1 - factor) * TO_GRAY


def _hue(spec: ViewSpec) -> np.ndarray:
    angle = 2 * math.pi * random.uniform(-spec.jitter.hue, spec.jitter.hue)
    sine, cosine = math.sin(angle), math.cos(angle)
    return FROM_YIQ @ np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]]) @ YIQ


def _decode(work: Work) -> Pass:
    cv2.setNumThreads(1)
    return decode_each(work, _decoded)


def _decoded(data: bytes) -> np.ndarray:
    """An image's pixels, uint8 [H, W, 3]. Raises ValueError where OpenCV refuses it."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    if image is None:
        raise ValueError("OpenCV cannot decode an image")
    return image


OUTPUTS = {"views": _views, "decode": _decode}
