"""AlexNet's color noise equals its formula in numpy on every renderer; its amounts are normal."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pipelines.ops import NEUTRAL, Lighting
from pipelines.render import reference
from pipelines.render.cpu import Workspace, render_constants
from pipelines.render.cpu import render_views as render_on_cpu
from pipelines.views import ViewSpec
from tests.helpers.gpu_views import ON_GPU, packed, render_views
from tests.helpers.view_checks import SIGNIFICANCE, draw_many

pytestmark = [pytest.mark.usefixtures("interpreter"), *([pytest.mark.gpu] if ON_GPU else [])]
# Typed anew: ImageNet's principal components, a row each, and what AlexNet scales them by.
COMPONENTS = np.array([[-0.5675, -0.5808, -0.5836], [0.7192, -0.0045, -0.6948], [0.4009, -0.8140, 0.4203]])
VARIANCES = np.array([0.2175, 0.0188, 0.0045])
SIZE = 8


@settings(max_examples=40, deadline=None)
@given(
    alphas=st.lists(st.floats(-8, 8), min_size=3, max_size=3),
    grayscale=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_every_renderer_adds_what_the_formula_says(alphas: list[float], grayscale: bool, seed: int) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
    table = np.full((1, 1), NEUTRAL)
    table["height"] = table["width"] = SIZE
    table["grayscale"] = grayscale
    table["lighting"] = (np.array(alphas) * VARIANCES) @ COMPONENTS
    colors = image / 255
    if grayscale:
        colors = (colors @ [0.2989, 0.587, 0.114])[..., None].repeat(3, axis=2)
    for alpha, variance, component in zip(alphas, VARIANCES, COMPONENTS, strict=True):
        colors = colors + alpha * variance * component
    expected = 255 * np.clip(colors, 0, 1)

    spec = ViewSpec(size=SIZE, mean=(0, 0, 0), std=(1, 1, 1))
    ours = reference.render(image, table[0, 0], spec).permute(1, 2, 0).numpy()
    assert np.abs(255 * ours - expected).max() < 0.001
    out = np.zeros((1, 1, SIZE, SIZE, 3), np.float32)
    render_on_cpu(image, table, 0, render_constants(spec, "float32"), out, Workspace())
    assert np.abs(255 * out[0, 0] - expected).max() < 0.1
    on_gpu = render_views(packed([image]), table, spec, torch.float32)[0].permute(1, 2, 0).cpu().numpy()
    assert np.abs(255 * on_gpu - expected).max() < 0.05


def test_amounts_along_the_components_are_normal_and_independent() -> None:
    shifts = draw_many(ViewSpec(lighting=Lighting(p=1.0, std=0.1)), seed=1)["lighting"].astype(float)
    alphas = shifts @ np.linalg.inv(COMPONENTS) / VARIANCES
    for alpha in alphas.T:
        assert stats.kstest(alpha / 0.1, "norm").pvalue > SIGNIFICANCE
    correlations = np.corrcoef(alphas.T)[np.triu_indices(3, 1)]
    assert np.abs(correlations).max() < 4 / np.sqrt(len(alphas))
