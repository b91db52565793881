import math
from itertools import permutations

import numpy as np
import pytest
import torch

from fastssl.metrics.cka import MinibatchCka, gram, linear_cka, unbiased_hsic


def features(count: int, dim: int, seed: int = 0) -> torch.Tensor:
    generator = np.random.default_rng(seed)
    rows = generator.normal(size=(count, dim)) * np.arange(1, dim + 1) + 3
    return torch.from_numpy(rows)


def rotation(dim: int) -> torch.Tensor:
    return torch.from_numpy(np.linalg.qr(np.random.default_rng(5).normal(size=(dim, dim)))[0])


def cka_by_kernels(first: np.ndarray, second: np.ndarray) -> float:
    """Kornblith et al. (2019), equation 3, by centered Gram matrices."""
    center = np.eye(len(first)) - 1 / len(first)
    one, other = (center @ rows @ rows.T @ center for rows in (first, second))
    return float((one * other).sum() / math.sqrt((one * one).sum() * (other * other).sum()))


def hsic_by_quadruples(one: np.ndarray, other: np.ndarray) -> float:
    """The U-statistic that unbiased HSIC is (Song et al., 2012, theorem 3), over all quadruples."""
    quadruples = permutations(range(len(one)), 4)
    return float(
        np.mean([one[i, j] * (other[i, j] + other[q, r] - 2 * other[i, q]) for i, j, q, r in quadruples])
    )


def test_rotated_scaled_and_shifted_features_have_a_cka_of_1() -> None:
    rows = features(40, 6)
    assert linear_cka(rows, 0.01 * rows @ rotation(6) + 7) == pytest.approx(1, abs=1e-12)
    assert linear_cka(rows.float(), rows.float() @ rotation(6).float()) == pytest.approx(1, abs=1e-6)


def test_cka_is_that_of_centered_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastssl.metrics.covariance._BLOCK", 16)
    rows, noise = features(50, 6), features(50, 9, seed=1)
    other = torch.cat([rows[:, :3], noise[:, :4]], 1)
    expected = cka_by_kernels(rows.numpy(), other.numpy())
    assert 0.1 < expected < 0.9
    assert linear_cka(rows, other) == pytest.approx(expected, rel=1e-10)
    assert linear_cka(rows.float(), other.float()) == pytest.approx(expected, rel=1e-5)
    assert math.isnan(linear_cka(rows, torch.full((50, 2), 0.1)))


def test_unbiased_hsic_is_the_mean_over_quadruples() -> None:
    grams = [torch.stack([rows @ rows.T for rows in pair]) for pair in (
        (features(6, 3), features(6, 2, 1)), (features(6, 4, 2), features(6, 5, 3)),
    )]  # fmt: skip
    found = unbiased_hsic(*grams)
    for i in range(2):
        for j in range(2):
            expected = hsic_by_quadruples(grams[0][i].numpy(), grams[1][j].numpy())
            assert found[i, j].item() == pytest.approx(expected, rel=1e-9)
    centered = torch.stack([gram(features(6, 3).float())])
    torch.testing.assert_close(unbiased_hsic(centered, grams[1]), found[:1], rtol=1e-4, atol=1e-4)


def test_minibatches_tend_to_the_cka_of_all() -> None:
    rows, noise = features(4000, 5), features(4000, 5, seed=1)
    layers = [(rows, noise), (rows @ rotation(5) * 3, rows + noise, torch.full((4000, 2), 0.1))]
    sums = MinibatchCka()
    for start in range(0, 4000, 100):
        first, second = (torch.stack([gram(layer[start : start + 100]) for layer in each]) for each in layers)
        sums.add(first, second)
    found = sums.matrix()
    expected = linear_cka(rows, rows + noise)
    assert found[0, 0].item() == pytest.approx(1, abs=1e-4)
    assert found[0, 1].item() == pytest.approx(expected, abs=0.03)
    assert found[1, 0].item() == pytest.approx(0, abs=0.03)  # the biased estimate of 100 is about 0.05
    assert found[:, 2].isnan().all()  # a layer that tells no images apart
