import numpy as np
import pytest

from fastssl.evaluate.class_draw import balanced_counts, draw_per_class, long_tailed_counts


@pytest.mark.parametrize(
    ("factor", "counts"),
    [
        (100, [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]),  # CIFAR-10-LT's
        (10, [5000, 3871, 2997, 2320, 1796, 1391, 1077, 834, 645, 500]),
        (1, [5000] * 10),
    ],
)
def test_counts_of_a_long_tailed_cifar_10(factor: float, counts: list[int]) -> None:
    assert long_tailed_counts(np.full(10, 5000), factor).tolist() == counts


@pytest.mark.parametrize(("factor", "total", "last"), [(100, 10_847, 5), (50, 12_608, 10), (10, 19_573, 50)])
def test_counts_of_a_long_tailed_cifar_100(factor: float, total: int, last: int) -> None:
    counts = long_tailed_counts(np.full(100, 500), factor)
    assert (counts.sum(), counts[0], counts[-1]) == (total, 500, last)


def test_every_class_has_enough_for_a_long_tail_and_keeps_one() -> None:
    assert long_tailed_counts(np.array([9, 400, 30]), 3).tolist() == [9, 5, 3]
    assert long_tailed_counts(np.full(3, 10), 1000).tolist() == [10, 1, 1]


def test_so_many_of_each_class_are_drawn_by_key() -> None:
    labels = np.random.default_rng(0).integers(0, 4, 200)
    few, more = np.array([1, 5, 0, 7]), np.array([2, 5, 3, 20])
    chosen = draw_per_class(labels, few, "test", 3)
    assert np.bincount(labels[chosen], minlength=4).tolist() == few.tolist()
    assert chosen.tolist() == sorted(set(chosen.tolist()))
    assert set(chosen) <= set(draw_per_class(labels, more, "test", 3))
    assert chosen.tolist() == draw_per_class(labels, few, "test", 3).tolist()
    assert chosen.tolist() != draw_per_class(labels, few, "test", 4).tolist()
    assert chosen.tolist() != draw_per_class(labels, few, "other", 3).tolist()


def test_an_even_deal_leaves_no_class_out() -> None:
    counts = balanced_counts(np.full(1000, 1281), 12_811, "test", 0)  # 1 % of ImageNet
    assert counts.sum() == 12_811
    assert set(counts.tolist()) == {12, 13}
    assert balanced_counts(np.full(5, 9), 1, "test", 0).tolist() == [1] * 5
    assert balanced_counts(np.array([9, 0, 2]), 8, "test", 0).tolist() == [4, 0, 2]
    deals = [balanced_counts(np.full(20, 9), 30, "test", seed).tolist() for seed in (0, 0, 1)]
    assert deals[0] == deals[1] != deals[2]
