"""Parameters drawn on the host: color maps do as torchvision's operations do, and chances are the spec's."""

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as F

from benchmarks.contenders.host_draws import FROM_YIQ, YIQ, HostDraws, draw_on_host
from pipelines.ops import ColorJitter, Flip, GaussianBlur, Grayscale, Solarize
from pipelines.views import ViewSpec

COUNT = 400
COLORS = np.random.default_rng(3).uniform(90, 150, (3, 50))  # levels that no factor takes out of range


def drawn(spec: ViewSpec) -> HostDraws:
    return draw_on_host(spec, COUNT, np.random.default_rng(0))


def mapped(spec: ViewSpec) -> np.ndarray:
    """The colors after each of the maps, [B, 3, N]."""
    colors = drawn(spec).colors
    assert colors.dtype == np.float32
    assert colors.shape == (COUNT, 3, 4)
    return colors[:, :, :3].astype(float) @ COLORS + colors[:, :, 3:]


def by_torchvision(function: object, *arguments: float) -> np.ndarray:
    image = torch.from_numpy(COLORS / 255)[:, None]
    assert callable(function)
    return 255 * function(image, *arguments)[:, 0].numpy()


def certain(**strengths: float) -> ViewSpec:
    return ViewSpec(jitter=ColorJitter(p=1.0, **strengths), grayscale=Grayscale(p=0.0))


def test_brightness_is_a_factor() -> None:
    factors = mapped(certain(brightness=0.4)) / COLORS
    np.testing.assert_allclose(factors, np.broadcast_to(factors[:, :1, :1], factors.shape), rtol=1e-5)
    assert 0.6 <= factors.min() < 0.65
    assert 1.35 < factors.max() <= 1.4
    wanted = by_torchvision(F.adjust_brightness, factors[7, 0, 0])
    np.testing.assert_allclose(mapped(certain(brightness=0.4))[7], wanted, atol=1e-2)


def test_contrast_is_about_mid_gray() -> None:
    factors = (mapped(certain(contrast=0.4)) - 127.5) / (COLORS - 127.5)
    np.testing.assert_allclose(factors, np.broadcast_to(factors[:, :1, :1], factors.shape), rtol=1e-3)
    assert 0.6 <= factors.min() + 1e-3 < 0.65
    assert 1.35 < factors.max() <= 1.4 + 1e-3


def test_saturation_is_torchvisions() -> None:
    views = mapped(certain(saturation=0.4))
    gray = by_torchvision(F.rgb_to_grayscale)[0]
    factors = ((views - gray) / (COLORS - gray))[:, 0, int(np.abs(COLORS[0] - gray).argmax())]
    assert 0.6 <= factors.min() + 1e-2 < 0.66
    assert 1.34 < factors.max() <= 1.4 + 1e-2
    for view, factor in list(zip(views, factors, strict=True))[:20]:
        np.testing.assert_allclose(view, by_torchvision(F.adjust_saturation, factor), atol=0.1)


def test_hue_turns_chroma_and_keeps_luma() -> None:
    luma, *chroma = YIQ @ COLORS
    turned = YIQ @ mapped(certain(hue=0.1))
    np.testing.assert_allclose(turned[:, 0], np.broadcast_to(luma, (COUNT, len(luma))), atol=1e-2)
    angles = np.angle((turned[:, 1] + 1j * turned[:, 2]) / (chroma[0] + 1j * chroma[1])) / (2 * np.pi)
    np.testing.assert_allclose(angles, np.broadcast_to(angles[:, :1], angles.shape), atol=1e-3)
    assert -0.1 <= angles.min() + 1e-3 < -0.09
    assert 0.09 < angles.max() <= 0.1 + 1e-3
    np.testing.assert_allclose(FROM_YIQ @ YIQ, np.eye(3), atol=1e-12)


def test_gray_comes_last_and_is_torchvisions() -> None:
    plain = ViewSpec(jitter=ColorJitter(p=0.0), grayscale=Grayscale(p=1.0))
    np.testing.assert_allclose(mapped(plain)[5], by_torchvision(F.rgb_to_grayscale, 3), atol=0.1)
    jitter = ColorJitter(p=1.0, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)
    views = mapped(ViewSpec(jitter=jitter, grayscale=Grayscale(p=1.0)))
    np.testing.assert_allclose(views, np.broadcast_to(views[:, :1], views.shape), atol=1e-2)
    assert np.ptp(views[:, 0, 0]) > 20


@pytest.mark.parametrize("chance", [0.0, 0.3, 1.0])
def test_chances_are_those_of_the_spec(chance: float) -> None:
    spec = ViewSpec(
        flip=Flip(p=chance),
        jitter=ColorJitter(p=chance, brightness=0.4),
        grayscale=Grayscale(p=0.0),
        blur=GaussianBlur(p=chance, sigma=(0.1, 2.0)),
        solarize=Solarize(p=chance),
    )
    found = drawn(spec)
    changed = ~np.isclose(found.colors, np.eye(3, 4), rtol=0, atol=1e-6).all((1, 2))
    for count in (found.flipped.sum(), changed.sum(), len(found.blurred), len(found.solarized)):
        assert abs(count - chance * COUNT) <= (50 if 0 < chance < 1 else 0)  # 5 standard deviations
    assert found.flipped.dtype == bool
    for numbers in (found.blurred, found.solarized):
        assert (np.diff(numbers) > 0).all()
        assert ((numbers >= 0) & (numbers < COUNT)).all()
    assert len(found.sigmas) == len(found.taps) == len(found.blurred)
    assert ((found.sigmas >= 0.1) & (found.sigmas <= 2)).all()
    assert (found.taps % 2 == 1).all()
    assert (found.taps // 2 >= 4 * found.sigmas).all()
    assert (found.taps // 2 < 4 * found.sigmas + 1).all()


def test_batches_are_drawn_anew() -> None:
    spec, generator = certain(brightness=0.4), np.random.default_rng(0)
    first, second = (draw_on_host(spec, 8, generator).colors for _ in range(2))
    assert (first != second).any()
