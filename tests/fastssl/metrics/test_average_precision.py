import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from fastssl.metrics.average_precision import (
    average_precision,
    average_precision_11_points,
    average_precision_interpolated,
)


def ranking(marks: str) -> tuple[np.ndarray, np.ndarray]:
    """Answers and falling scores: ``+-+`` is a positive, a negative, a positive."""
    return np.array([mark == "+" for mark in marks]), -np.arange(len(marks), dtype=float)


@pytest.mark.parametrize(
    ("marks", "area", "interpolated", "points"),
    [
        ("++--", 1, 1, 1),
        # recalls 1/3, 2/3, 1 at precisions 1, 2/3, 1/2: four points, three, four
        ("+-+--+", (1 + 2 / 3 + 1 / 2) / 3, (1 + 2 / 3 + 1 / 2) / 3, (4 * 1 + 3 * 2 / 3 + 4 * 1 / 2) / 11),
        # the first of ten at precision 1, so recalls 0 and 0.1; the last at 10/11, the best of the rest
        (
            "+-" + "+" * 9,
            (1 + sum(k / (k + 1) for k in range(2, 11))) / 10,
            (1 + 9 * 10 / 11) / 10,
            (2 + 9 * 10 / 11) / 11,
        ),
        ("--+", 1 / 3, 1 / 3, 1 / 3),
        # recall 3/10 is one of 0.3, though 3 / 10 and 0.1 * 3 differ in the last bit
        (
            "+++" + "-" * 7 + "+" * 7,
            (3 + sum((3 + k) / (10 + k) for k in range(1, 8))) / 10,
            (3 + 7 * 10 / 17) / 10,
            (4 + 7 * 10 / 17) / 11,
        ),
    ],
)
def test_rankings_by_hand(marks: str, area: float, interpolated: float, points: float) -> None:
    answers, scores = ranking(marks)
    assert average_precision(answers, scores) == pytest.approx(area, abs=1e-12)
    assert average_precision_interpolated(answers, scores) == pytest.approx(interpolated, abs=1e-12)
    assert average_precision_11_points(answers, scores) == pytest.approx(points, abs=1e-12)


def test_the_area_is_scikit_learn_s_and_equal_scores_are_taken_together() -> None:
    generator = np.random.default_rng(0)
    answers, scores = generator.random(200) < 0.2, generator.integers(0, 30, 200) / 30
    assert average_precision(answers, scores) == average_precision_score(answers, scores)
    alike = np.zeros(4)
    positive = np.array([True, False, False, False])
    assert average_precision_interpolated(positive, alike) == pytest.approx(0.25)
    assert average_precision_11_points(positive, alike) == pytest.approx(0.25)
