"""Run lengths against pycocotools, and those that it would misread."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.sources.coco.run_lengths import (
    covered_pixels,
    decode_masks,
    encode_mask,
    encode_segmentation,
)


def decoded(runs: list[bytes], height: int, width: int) -> np.ndarray:
    offsets = np.cumsum([0, *map(len, runs)])
    return decode_masks(np.frombuffer(b"".join(runs), np.uint8), offsets, height, width)


def test_masks_come_back_as_they_were() -> None:
    generator = np.random.default_rng(0)
    for share in (0.0, 0.001, 0.5, 1.0):
        masks = generator.random((5, 37, 300)) < share
        runs = [encode_mask(mask) for mask in masks]
        np.testing.assert_array_equal(decoded(runs, 37, 300), masks, strict=True)
        assert {covered_pixels(each) for each in runs} == {37 * 300}
    assert decoded([], 4, 5).shape == (0, 4, 5)


def test_runs_are_one_mask_in_every_form() -> None:
    mask = np.zeros((4, 6), bool)
    mask[1:3, 2:5] = True  # columns of 4: 9 off, 2 on, 2 off, 2 on, 2 off, 2 on, 5 off
    counts = [9, 2, 2, 2, 2, 2, 5]
    text = encode_mask(mask).decode()
    for given in (counts, text):
        runs = encode_segmentation({"size": [4, 6], "counts": given}, 4, 6)
        assert runs is not None
        np.testing.assert_array_equal(decoded([runs], 4, 6)[0], mask)
    runs = encode_segmentation([[2, 1, 5, 1, 5, 3, 2, 3], [7, 8]], 4, 6)
    assert runs is not None
    np.testing.assert_array_equal(decoded([runs], 4, 6)[0], mask)
    assert encode_segmentation([[2, 1, 5, 1], [7, 8, 9, 1, 2]], 4, 6) is None


def test_damaged_runs_are_refused() -> None:
    good = encode_mask(np.random.default_rng(1).random((20, 30)) < 0.2)
    for damaged in ("", "0", "zzzz", "1000000", "~~~~", "é", good[:-1].decode(), good.decode() + "5"):
        with pytest.raises(ValueError, match="run lengths are"):
            encode_segmentation({"size": [20, 30], "counts": damaged}, 20, 30)
    for counts in ([600, -1, 1], [599], [601], [6e2], "600", None):
        with pytest.raises(ValueError, match="run lengths"):
            encode_segmentation({"size": [20, 30], "counts": counts}, 20, 30)


def counts_of(text: bytes) -> list[int] | None:
    """Counts of compressed runs, as the format is told: six bits a letter, the lowest five first."""
    counts: list[int] = []
    numbers: list[list[int]] = [[]]
    for letter in text:
        numbers[-1].append(letter - 48)
        if not 0 <= letter - 48 < 64:
            return None
        if letter - 48 < 32:
            numbers.append([])
    if numbers.pop():
        return None
    for groups in numbers:
        value = sum((group % 32) << 5 * place for place, group in enumerate(groups))
        if groups[-1] & 16:
            value -= 1 << 5 * len(groups)
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        if counts[-1] < 0:
            return None
    return counts


def test_covered_pixels_are_the_sum_of_the_counts() -> None:
    generator = np.random.default_rng(2)
    good = encode_mask(generator.random((20, 30)) < 0.2)
    assert sum(counts_of(good) or []) == 600
    damaged = 0
    for _ in range(300):
        changed = bytearray(good)
        for position in generator.integers(0, len(good), generator.integers(1, 4)):
            changed[position] = generator.integers(44, 116)
        counts = counts_of(bytes(changed))
        damaged += counts is None
        assert covered_pixels(bytes(changed)) == (-1 if counts is None else sum(counts))
    assert 30 < damaged < 270
