"""Errors of depth, by hand."""

import math

import numpy as np
import pytest

from fastssl.transfer.network import Prediction
from fastssl.transfer.scores.depth_error import DepthError
from pipelines.targets import Targets


def add(evaluator: DepthError, truth: list[float], found: list[float]) -> None:
    evaluator.add(
        Prediction(depth=np.array([found], np.float32)),
        Targets(height=1, width=len(truth), depth=np.array([truth], np.float32)),
    )


def test_by_hand() -> None:
    """Ratios 1, 1.125, 1.25 and 2, all exact; the limit itself is not within it."""
    evaluator = DepthError(10)
    add(evaluator, [1, 8], [1, 9])
    add(evaluator, [5, 2], [4, 1])
    assert evaluator.metrics() == pytest.approx(
        {"L1": (0 + 1 + 1 + 1) / 4, "RMSE": math.sqrt(3 / 4), "delta_1_25": 2 / 4, "delta_1_1": 1 / 4}
    )


def test_a_depth_that_is_not_known_is_left_out_and_beyond_the_farthest_all_is_as_far() -> None:
    evaluator = DepthError(math.inf)
    add(evaluator, [0, math.nan, math.inf, 2], [7, 7, 7, 3])
    assert evaluator.metrics() == {"L1": 1, "RMSE": 1, "delta_1_25": 0, "delta_1_1": 0}
    near = DepthError(2)
    add(near, [0, math.nan, math.inf, 3, 1], [7, 7, 2, 2, 1])
    assert near.metrics() == {"L1": 0, "RMSE": 0, "delta_1_25": 1, "delta_1_1": 1}


def test_a_depth_found_below_zero_is_not_within_a_factor() -> None:
    evaluator = DepthError(10)
    add(evaluator, [1, 1], [-1, 0])
    assert evaluator.metrics()["delta_1_25"] == 0


def test_no_pixel_gives_no_metric() -> None:
    evaluator = DepthError(10)
    assert evaluator.metrics() == {}
    add(evaluator, [0], [1])
    assert evaluator.metrics() == {}
