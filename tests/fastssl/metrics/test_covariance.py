import numpy as np
import pytest
import torch

from fastssl.metrics import covariance


def test_covariance_from_blocks_is_numpy_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(covariance, "_BLOCK", 8)
    generator = np.random.default_rng(0)
    first, second = generator.normal(2, 1, (50, 3)), generator.normal(-1, 2, (50, 4))
    expected = np.cov(first.T, second.T, bias=True)
    pair = torch.from_numpy(first), torch.from_numpy(second)
    np.testing.assert_allclose(covariance.cross_covariance(*pair), expected[:3, 3:], rtol=1e-10)
    directions = generator.normal(size=(3, 2))
    found = covariance.projected(pair[0], torch.from_numpy(directions))
    np.testing.assert_allclose(found, (first - first.mean(0)) @ directions, atol=1e-12)
