"""Spread of features, by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fastssl.evaluate.spread import Spread
from fastssl.evaluate.subject import open_subject
from tests.helpers.figures_by_hand import embedding_figures_by_hand


def test_figures_are_those_of_the_test_images(run: Path) -> None:
    subject = open_subject(run)
    found = Spread().measure(subject)
    rows = subject.features("test")[0].double().numpy()
    values = np.linalg.svd(rows, compute_uv=False)
    shares = values / values.sum()
    assert found["rank_me"] == pytest.approx(np.exp(-(shares * np.log(shares + 1e-7)).sum()), rel=1e-3)
    unit = rows / np.sqrt((rows**2).sum(1, keepdims=True))
    for name, expected in embedding_figures_by_hand(unit, unit).items():
        assert name == "alignment" or found[name] == pytest.approx(expected, rel=1e-4), name


def test_fewer_images_may_be_taken(run: Path) -> None:
    subject = open_subject(run)
    few = Spread(images=2).measure(subject)
    assert 1 <= few["rank_me"] <= 2.001
    assert few != Spread().measure(subject)
    assert replace(Spread(), images=18).measure(subject) == Spread().measure(subject)
