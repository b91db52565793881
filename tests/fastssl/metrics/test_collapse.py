import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from fastssl.methods import BYOL, Method
from fastssl.metrics.collapse import collapse_warning
from fastssl.metrics.spread import effective_rank, feature_std
from pipelines.batch import Batch
from tests.helpers.batches import make_batch, tiny_method
from tests.helpers.methods import finish_step, narrow


def figures_at(std: float) -> dict[str, float]:
    """Of many unit vectors at a standard deviation about one direction."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(2000, 64)) * std / math.sqrt(64)
    rows[:, 0] += 1
    rows /= np.sqrt((rows**2).sum(1, keepdims=True))
    vectors = torch.from_numpy(rows)
    return {"effective_rank": effective_rank(vectors).item(), "feature_std": feature_std(vectors).item()}


@pytest.mark.parametrize(("std", "collapsed"), [(0.0, True), (0.05, True), (0.2, False), (1.0, False)])
def test_only_embeddings_that_are_nearly_alike_are_warned_of(std: float, collapsed: bool) -> None:
    values = figures_at(std)
    # far from the origin by 1: second moment 1 in one direction and std^2 in all together
    assert values["effective_rank"] == pytest.approx((1 + std**2) ** 2 / (1 + std**4 / 63), rel=0.01)
    warning = collapse_warning(values, step=500, total_steps=1000)
    assert (warning is not None) == collapsed
    if warning is not None:
        assert f"step 500 (effective rank {values['effective_rank']:.3f}" in warning
        assert "\n" not in warning


def test_nothing_is_said_at_the_start_or_without_the_figure() -> None:
    collapsed = figures_at(0.01)
    steps = (1, 99, 100, 499, 500)
    said = {step: collapse_warning(collapsed, step, 10_000) is not None for step in steps}
    assert said == {1: False, 99: False, 100: False, 499: False, 500: True}
    assert collapse_warning(collapsed, 99, 1000) is None
    assert collapse_warning(collapsed, 100, 1000) is not None
    assert collapse_warning({"loss": 1.0}, 500, 1000) is None
    assert collapse_warning({"effective_rank": math.nan}, 500, 1000) is None


def test_two_opposite_points_are_a_collapse() -> None:
    vectors = torch.tensor([[0.6, 0.8], [-0.6, -0.8]]).repeat(10, 1)
    values = {"effective_rank": effective_rank(vectors).item(), "feature_std": feature_std(vectors).item()}
    assert values["feature_std"] > 0.9
    assert collapse_warning(values, 500, 1000) is not None


def two_views(step: int) -> Batch:
    """Of 16 images of noise, each seen twice through a little more of it."""
    images, *noise = (make_batch(1000 * part + step, size=16, views=1).views[0] for part in range(3))
    views = torch.cat([images + 0.3 * more for more in noise])
    return replace(make_batch(step, size=16), views=(views,))


def train(method: Method, steps: int) -> dict[str, float]:
    """The metrics of the last step."""
    optimizer = torch.optim.SGD(method.student.parameters(), lr=0.03, momentum=0.9)
    for step in range(steps):
        loss, metrics = method(two_views(step), step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        finish_step(method, step)
    return {name: value.item() for name, value in metrics.items()}


def test_byol_without_a_predictor_is_seen_to_collapse_and_byol_is_not() -> None:
    config = narrow(BYOL, {"teacher.momentum": 0.5}, hidden_dim=64, out_dim=32)
    byol, collapsing = (tiny_method(config, total_steps=100) for _ in range(2))
    collapsing.student.predictor = nn.Identity()
    assert collapse_warning(train(byol, 100), 100, 100) is None
    assert collapse_warning(train(collapsing, 100), 100, 100) is not None
