"""One step of a method in float64, beside the same step by formulas of a test's own."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from fastssl.methods import Method
from pipelines.batch import Batch
from tests.helpers.batches import make_batch, tiny_method

RATE = 0.05


def in_float64(config: Method.Config, size: int = 8) -> tuple[Method, Batch]:
    """A tiny method and a batch for it, networks and views in float64."""
    method = tiny_method(config)
    method.student.double()
    batch = make_batch(3, size=size, views=config.num_views)
    return method, replace(batch, views=tuple(view.double() for view in batch.views))


def assert_step(method: Method, batch: Batch, loss_of: Callable[[Any], Tensor]) -> dict[str, Tensor]:
    """Check loss, gradients and moved weights of one step of SGD against a formula.

    Args:
        method: of ``in_float64``; it is moved.
        batch: its batch.
        loss_of: the loss, 0-dim float64, from a copy of the method's student.

    Returns:
        The method's metrics.
    """
    twin = copy.deepcopy(method.student)
    expected = loss_of(twin)
    expected.backward()
    loss, metrics = method(batch, batch.step)
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert metrics["loss"].item() == loss.item()
    torch.optim.SGD(method.student.parameters(), lr=RATE).step()
    for weight, other in zip(method.student.parameters(), twin.parameters(), strict=True):
        assert weight.grad is not None
        assert other.grad is not None
        torch.testing.assert_close(weight.grad, other.grad, rtol=1e-5, atol=1e-7)
        moved = other.detach() - RATE * other.grad
        torch.testing.assert_close(weight.detach(), moved, rtol=1e-6, atol=1e-8)
    return metrics
