"""Rotation against turns by NumPy and the cross entropy written out."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fastssl.methods import Rotation
from fastssl.methods.rotation import quarter_turns, turned
from tests.helpers.batches import tiny_method
from tests.helpers.one_step import assert_step, in_float64


def test_a_step_is_the_formulas() -> None:
    method, batch = in_float64(Rotation.Config())
    (view,) = batch.each_view()
    turns = quarter_turns(0, batch.step, len(batch))
    images = np.stack(
        [np.rot90(image, -turn, (1, 2)) for image, turn in zip(view.numpy(), turns, strict=True)]
    )

    def loss_of(student: Any) -> Tensor:
        logits = student(torch.from_numpy(images))
        shares = logits.exp() / logits.exp().sum(1, keepdim=True)
        return -torch.stack([shares[row, turn].log() for row, turn in enumerate(turns)]).sum() / len(turns)

    logits = tiny_method(Rotation.Config()).student.double()(torch.from_numpy(images)).detach().numpy()
    metrics = assert_step(method, batch, loss_of)
    assert metrics["accuracy"].item() == pytest.approx((logits.argmax(1) == turns).mean())


@pytest.mark.parametrize("images", [8, 64, 30])
def test_a_quarter_of_the_batch_is_turned_by_each(images: int) -> None:
    counts = np.bincount(quarter_turns(0, 5, images), minlength=4)
    assert counts.max() - counts.min() == (images % 4 > 0)


def test_turns_follow_from_seed_and_step_and_are_even_for_every_image() -> None:
    first = quarter_turns(1, 2, 64)
    assert np.array_equal(first, quarter_turns(1, 2, 64))
    assert not np.array_equal(first, quarter_turns(2, 2, 64))
    drawn = np.stack([quarter_turns(1, step, 8) for step in range(2000)])
    for turn in range(4):  # 2000 draws of a quarter: a standard deviation of 0.01
        assert np.abs((drawn == turn).mean(0) - 0.25).max() < 0.045


def test_images_are_turned_clockwise() -> None:
    image = torch.tensor([[[[1.0, 2], [3, 4]]]]).repeat(4, 1, 1, 1)
    found = turned(image, np.arange(4))
    assert found[:, 0].tolist() == [[[1, 2], [3, 4]], [[3, 1], [4, 2]], [[4, 3], [2, 1]], [[2, 4], [1, 3]]]
    assert torch.equal(image[3], image[0])  # untouched
