import warnings

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from fastssl.evaluate.logistic import Logistic
from pipelines.command.errors import UserError
from tests.fastssl.evaluate.conftest import Part, measure


def clusters(count: int, seed: int, spread: float) -> Part:
    """Points of five classes, float32 [N, 6], whose coordinates have very different scales."""
    generator = np.random.default_rng(seed)
    centers = np.random.default_rng(99).normal(size=(5, 6))
    labels = np.arange(count) % 5
    points = centers[labels] + spread * generator.normal(size=(count, 6))
    return (points * 10.0 ** np.arange(-3, 3) + 5).astype(np.float32), labels


@pytest.mark.parametrize("c", [1e-3, 0.1, 10.0])
def test_it_is_scikit_learn_s_on_standardized_features(c: float) -> None:
    train, test = clusters(300, 0, 1.0), clusters(200, 1, 1.0)
    scaler = StandardScaler().fit(train[0])
    plain = LogisticRegression(C=c, max_iter=1000).fit(scaler.transform(train[0]), train[1])
    expected = plain.score(scaler.transform(test[0]), test[1])
    assert 0.3 < expected < 0.95  # neither chance nor certainty
    result = measure(Logistic(c=(c,)), train, test)
    assert result["top1"] == pytest.approx(expected, abs=1e-12)
    assert (result["settings"]["chosen_c"], result["settings"]["converged"]) == (c, True)
    assert result["train_held_out_top1"] == {}  # nothing to choose from


def test_c_is_the_best_on_held_out_training_images() -> None:
    """With more coordinates than images, labels half wrong: a weak penalty learns the noise by heart."""
    generator = np.random.default_rng(0)
    points = generator.normal(size=(120, 200)).astype(np.float32)
    spoilt = generator.random(120) < 0.3
    labels = np.where(spoilt, generator.integers(2, size=120), points[:, 0] > 0).astype(np.int64)
    points[:, 0] *= 3
    result = measure(Logistic(c=(1e-3, 1e-1, 1e3)), (points, labels), (points, labels))
    scores = result["train_held_out_top1"]
    best = max(scores.values())
    assert result["settings"]["chosen_c"] == min(float(c) for c, score in scores.items() if score == best)
    assert len(scores) == 3


def test_it_repeats_and_the_test_images_have_no_say() -> None:
    train, test = clusters(100, 0, 1.0), clusters(60, 1, 1.0)
    first = measure(Logistic(), train, test)
    assert measure(Logistic(), train, test) == first
    shuffled = measure(Logistic(), train, (test[0][::-1].copy(), test[1]))
    assert shuffled["settings"] == first["settings"]
    assert shuffled["train_held_out_top1"] == first["train_held_out_top1"]
    others = [measure(Logistic(seed=seed), train, test)["train_held_out_top1"] for seed in (1, 2, 3)]
    assert any(other != first["train_held_out_top1"] for other in others)


def test_a_fit_that_has_not_converged_says_so() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = measure(Logistic(c=(1.0,), max_iterations=1), clusters(100, 0, 1.0), clusters(20, 1, 1.0))
    assert result["settings"]["converged"] is False


def test_too_few_images_are_one_line() -> None:
    points = np.zeros((4, 2), np.float32)
    with pytest.raises(UserError, match="one class"):
        measure(Logistic(), (points, np.zeros(4, np.int64)), (points, np.zeros(4, np.int64)))
    labels = np.array([0, 1, 1, 1])
    with pytest.raises(UserError, match="too few to hold some out"):
        measure(Logistic(held_out=0.01), (points, labels), (points, labels))
