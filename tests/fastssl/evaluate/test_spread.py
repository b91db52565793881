"""Spread of features, by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fastssl.evaluate.spread import Spread
from fastssl.evaluate.subject import open_subject


def test_figures_are_those_of_the_test_images(run: Path) -> None:
    subject = open_subject(run)
    found = Spread().measure(subject)
    rows = subject.features("test")[0].double().numpy()
    values = np.linalg.svd(rows, compute_uv=False)
    shares = values / values.sum()
    assert found["rank_me"] == pytest.approx(np.exp(-(shares * np.log(shares + 1e-7)).sum()), rel=1e-3)
    unit = rows / np.sqrt((rows**2).sum(1, keepdims=True))
    squares = np.linalg.svd(unit, compute_uv=False) ** 2
    assert found["effective_rank"] == pytest.approx(squares.sum() ** 2 / (squares**2).sum(), rel=1e-4)
    assert found["feature_std"] == pytest.approx(unit.std(0).mean() * rows.shape[1] ** 0.5, rel=1e-3)
    distances = ((unit[:, None] - unit[None]) ** 2).sum(2)[~np.eye(18, dtype=bool)]
    assert found["uniformity"] == pytest.approx(np.log(np.exp(-2 * distances).mean()), abs=1e-4)


def test_fewer_images_may_be_taken(run: Path) -> None:
    subject = open_subject(run)
    few = Spread(images=2).measure(subject)
    assert 1 <= few["rank_me"] <= 2.001
    assert few != Spread().measure(subject)
    assert replace(Spread(), images=18).measure(subject) == Spread().measure(subject)
