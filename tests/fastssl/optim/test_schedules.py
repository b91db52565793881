import math
from itertools import pairwise

import pytest

from fastssl.optim import SGD
from fastssl.optim.schedules import learning_rate, teacher_momentum

# batch 1024 of a base of 0.03 peaks at 0.12; 10 epochs of 5 steps warm up, 100 of the 150 steps decay
CONFIG = SGD.Config(base_lr=0.03, warmup_epochs=10)


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (0, 0.0),
        (1, 0.0024),
        (25, 0.06),
        (50, 0.12),
        (75, 0.06 * (1 + math.sqrt(0.5))),
        (100, 0.06),
        (150, 0.0),
    ],
)
def test_warm_up_then_cosine(step: int, expected: float) -> None:
    assert learning_rate(step, CONFIG, 1024, 5, 150) == pytest.approx(expected, abs=1e-12)


def test_warm_up_as_long_as_the_run() -> None:
    rates = [learning_rate(step, CONFIG, 256, 5, 50) for step in range(50)]
    assert rates == pytest.approx([0.03 * step / 50 for step in range(50)])


@pytest.mark.parametrize(("epochs", "step", "expected"), [(0.5, 2, 0.1 * 2 / 5), (0, 0, 0.1)])
def test_part_epochs_of_warm_up_and_none(epochs: float, step: int, expected: float) -> None:
    config = SGD.Config(base_lr=0.1, warmup_epochs=epochs)
    assert learning_rate(step, config, 256, 10, 100) == pytest.approx(expected)


def test_steps_divide_by_ten_at_each_drop() -> None:
    # MoCo v1: 0.03, a tenth from epoch 120 and a hundredth from epoch 160 of 200; 5 steps an epoch
    config = SGD.Config(base_lr=0.03, warmup_epochs=0, schedule="steps", drops=(0.6, 0.8))
    rates = [learning_rate(step, config, 256, 5, 1000) for step in range(1000)]
    assert rates == pytest.approx([0.03] * 600 + [0.003] * 200 + [0.0003] * 200)


def test_steps_after_a_warm_up() -> None:
    config = SGD.Config(base_lr=0.1, warmup_epochs=2, schedule="steps", drops=(0.5,))
    rates = [learning_rate(step, config, 512, 2, 10) for step in range(10)]
    assert rates == pytest.approx([0, 0.05, 0.1, 0.15, 0.2, 0.02, 0.02, 0.02, 0.02, 0.02])


def test_linear_falls_straight_to_its_end() -> None:
    # 0 -> 1e-3 at epoch 5 -> 1e-6 at epoch 600, as Newell and Deng's code draws it; 2 steps an epoch
    config = SGD.Config(base_lr=5e-4, warmup_epochs=5, schedule="linear", end_share=1e-3)
    rates = [learning_rate(step, config, 512, 2, 1200) for step in range(1201)]
    assert rates[:11] == pytest.approx([1e-4 * step for step in range(11)])
    assert rates[605] == pytest.approx((1e-3 + 1e-6) / 2)
    assert rates[1200] == pytest.approx(1e-6)
    falls = [before - after for before, after in pairwise(rates[10:])]
    assert falls == pytest.approx([(1e-3 - 1e-6) / 1190] * 1190)


@pytest.mark.parametrize(("step", "expected"), [(0, 0.99), (50, 0.995), (100, 1.0)])
def test_ascending_teacher_momentum(step: int, expected: float) -> None:
    assert teacher_momentum(step, total_steps=100, base=0.99, ascending=True) == pytest.approx(
        expected, abs=1e-15
    )
    assert teacher_momentum(step, total_steps=100, base=0.99, ascending=False) == 0.99
