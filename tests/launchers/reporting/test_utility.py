"""Utility of made-up curves whose answers are known."""

import pytest

from launchers.reporting.utility import Bounded, scratch_labels, utility, utility_curve

STRAIGHT = {100: 0.2, 1000: 0.4, 10_000: 0.6}  # 0.2 per factor of ten


@pytest.mark.parametrize(
    ("accuracy", "labels", "bound"),
    [
        (0.4, 1000, ""),
        (0.3, 100 * 10**0.5, ""),
        (0.55, 1000 * 10**0.75, ""),
        (0.2, 100, ""),  # both ends are reached
        (0.6, 10_000, ""),
        (0.19, 100, "upper"),
        (0.61, 10_000, "lower"),
    ],
)
def test_labels_lie_on_the_line_in_log_n(accuracy: float, labels: float, bound: str) -> None:
    found = scratch_labels(accuracy, STRAIGHT)
    assert found.value == pytest.approx(labels, rel=1e-12)
    assert found.bound == bound


def test_utility_is_the_labels_saved_over_those_used() -> None:
    for labels, saved in ((100, 9.0), (1000, 0.0), (10_000, -0.9)):
        found = utility(labels, 0.4, STRAIGHT)
        assert found.value == pytest.approx(saved)
        assert not found.bound
    assert utility(1000, 0.7, STRAIGHT) == Bounded(value=9.0, bound="lower")
    assert utility(1000, 0.1, STRAIGHT) == Bounded(value=-0.9, bound="upper")


def test_the_fewest_labels_count() -> None:
    """A curve that falls counts by its best so far; of a flat piece the left end."""
    falling = {10_000: 0.5, 100: 0.2, 1000: 0.4, 5000: 0.3}  # in any order
    assert scratch_labels(0.3, falling).value == pytest.approx(100 * 10**0.5)
    assert scratch_labels(0.4, falling) == Bounded(value=1000)
    assert scratch_labels(0.45, falling).value == pytest.approx(5000 * 2**0.75)
    flat = {100: 0.3, 1000: 0.3, 10_000: 0.3}
    assert scratch_labels(0.3, flat) == Bounded(value=100)
    assert scratch_labels(0.31, flat) == Bounded(value=10_000, bound="lower")
    plateau = {100: 0.2, 1000: 0.4, 10_000: 0.4, 100_000: 0.6}
    assert scratch_labels(0.4, plateau) == Bounded(value=1000)


def test_a_curve_of_one_point_gives_bounds() -> None:
    assert scratch_labels(0.5, {1000: 0.5}) == Bounded(value=1000)
    assert scratch_labels(0.6, {1000: 0.5}) == Bounded(value=1000, bound="lower")
    assert scratch_labels(0.4, {1000: 0.5}) == Bounded(value=1000, bound="upper")


def test_each_seed_has_the_scratch_curve_of_its_own() -> None:
    """Seed 1's scratch accuracies are 0.1 lower: the same accuracy saves more labels."""
    scratch = {0: STRAIGHT, 1: {labels: accuracy - 0.1 for labels, accuracy in STRAIGHT.items()}}
    pretrained = {seed: {100: 0.4, 10_000: 0.5} for seed in (0, 1, 2)}  # seed 2 has none from scratch
    few, many = utility_curve(pretrained, scratch)
    values = 10 - 1, 10**1.5 - 1
    assert (few.x, few.count, few.bound) == (100, 2, "")
    assert (few.y, few.low, few.high) == pytest.approx((sum(values) / 2, *values))
    assert many.y == pytest.approx((10**-0.5 + 1) / 2 - 1)


def test_three_seeds_have_a_t_interval() -> None:
    scratch = dict.fromkeys(range(3), STRAIGHT)
    pretrained = {seed: {1000: 0.4 + 0.2 * shift} for seed, shift in enumerate((0.0, 0.301029995664, -1.0))}
    (point,) = utility_curve(pretrained, scratch)  # U = 0, 1 and -0.9
    assert point.y == pytest.approx(0.1 / 3)
    half = 4.302652729911275 * 0.9504384952922168 / 3**0.5  # t of two degrees of freedom, standard deviation
    assert point.high == pytest.approx(0.1 / 3 + half)
    assert point.low == -1.0  # no utility is below


def test_a_mean_of_bounds_is_a_bound_and_of_opposite_ones_nothing() -> None:
    scratch = {0: STRAIGHT, 1: STRAIGHT}
    first, second = {1000: 0.7, 2000: 0.7, 3000: 0.7}, {1000: 0.4, 2000: 0.8, 3000: 0.1}
    both = utility_curve({0: first, 1: second}, scratch)
    assert [(point.x, point.bound) for point in both] == [(1000, "lower"), (2000, "lower")]
    assert [point.y for point in both] == pytest.approx([4.5, 4.0])
    assert utility_curve({0: {1000: 0.7}}, {}) == []
