import numpy as np
import pytest

from fastssl.metrics.average_precision import average_precision_11_points, average_precision_interpolated


@pytest.mark.parametrize(
    ("marks", "interpolated", "points"),  # answers by falling score: a positive or a negative
    [
        ("++--", 1, 1),
        # recalls 1/3, 2/3, 1 at precisions 1, 2/3, 1/2: four points, three, four
        ("+-+--+", (1 + 2 / 3 + 1 / 2) / 3, (4 * 1 + 3 * 2 / 3 + 4 * 1 / 2) / 11),
        # the first of ten at precision 1, so recalls 0 and 0.1; the last at 10/11, the best of the rest
        ("+-" + "+" * 9, (1 + 9 * 10 / 11) / 10, (2 + 9 * 10 / 11) / 11),
        ("--+", 1 / 3, 1 / 3),
        # recall 3/10 is one of 0.3, though 3 / 10 and 0.1 * 3 differ in the last bit
        ("+++" + "-" * 7 + "+" * 7, (3 + 7 * 10 / 17) / 10, (4 + 7 * 10 / 17) / 11),
    ],
)
def test_rankings_by_hand(marks: str, interpolated: float, points: float) -> None:
    answers, scores = np.array([mark == "+" for mark in marks]), -np.arange(len(marks), dtype=float)
    assert average_precision_interpolated(answers, scores) == pytest.approx(interpolated, abs=1e-12)
    assert average_precision_11_points(answers, scores) == pytest.approx(points, abs=1e-12)


def test_equal_scores_are_taken_together() -> None:
    alike = np.zeros(4)
    positive = np.array([True, False, False, False])
    assert average_precision_interpolated(positive, alike) == pytest.approx(0.25)
    assert average_precision_11_points(positive, alike) == pytest.approx(0.25)
