"""Views of any size against torchvision's operations on float images."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms.v2 import functional as F

from pipelines.dense.resize import compile_resize, normalization, resize
from pipelines.views import IMAGENET_MEAN, IMAGENET_STD

LEVEL = 1 / 255
COLORS = normalization(IMAGENET_MEAN, IMAGENET_STD)
Four = tuple[int, int, int, int]


def rendered(
    image: np.ndarray, box: Four, resized: tuple[int, int], window: Four, flip: bool, pad: int = 0
) -> np.ndarray:
    """A view in a batch that is ``pad`` pixels larger, float32 [H_b, W_b, 3]."""
    compile_resize()
    out = np.full((window[2] + pad, window[3] + pad, 3), 7, np.float32)
    words = np.empty(
        resize(image, box, resized, window, flip, COLORS, np.empty(0, np.uint16), out), np.uint16
    )
    assert (out == 7).all()
    assert resize(image, box, resized, window, flip, COLORS, words, out) == 0
    return out


def by_torchvision(
    image: np.ndarray, box: Four, resized: tuple[int, int], window: Four, flip: bool
) -> torch.Tensor:
    view = F.crop(torch.from_numpy(image.copy()).permute(2, 0, 1).float() / 255, *box)[None]
    # of one column to one column torch 2.15's other layout repeats the first pixel
    view = F.resize(view.contiguous(memory_format=torch.channels_last), list(resized), antialias=True)[0]
    view = F.crop(view, *window)
    view = F.horizontal_flip(view) if flip else view
    return F.normalize(view, list(IMAGENET_MEAN), list(IMAGENET_STD))


def largest_difference(view: np.ndarray, expected: torch.Tensor) -> float:
    """In levels of 255."""
    difference = torch.from_numpy(view).permute(2, 0, 1) - expected
    return float((difference * torch.tensor(IMAGENET_STD).view(3, 1, 1)).abs().max()) / LEVEL


@st.composite
def part(draw: st.DrawFn, height: int, width: int) -> Four:
    """Top, left, height and width of a box in a box."""
    top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
    return top, left, draw(st.integers(1, height - top)), draw(st.integers(1, width - left))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.data())
def test_views_are_torchvisions_within_a_quarter_level(data: st.DataObject) -> None:
    height, width = data.draw(st.integers(1, 200)), data.draw(st.integers(1, 200))
    seed = data.draw(st.integers(0, 1000))
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    box = (0, 0, height, width) if data.draw(st.booleans()) else data.draw(part(height, width))
    resized = data.draw(st.integers(1, 300)), data.draw(st.integers(1, 300))
    if data.draw(st.booleans()):
        resized = box[2:]
    window = (0, 0, *resized) if data.draw(st.booleans()) else data.draw(part(*resized))
    flip, pad = data.draw(st.booleans()), data.draw(st.integers(0, 3))
    view = rendered(image, box, resized, window, flip, pad)
    expected = by_torchvision(image, box, resized, window, flip)
    assert largest_difference(view[: window[2], : window[3]], expected) <= 0.25
    assert (view[window[2] :] == 0).all()
    assert (view[:, window[3] :] == 0).all()


def test_a_window_is_the_same_as_in_the_whole_view_to_the_bit() -> None:
    image = np.random.default_rng(0).integers(0, 256, (90, 130, 3), dtype=np.uint8)
    for resized in ((60, 87), (200, 289), (90, 130)):
        whole = rendered(image, (0, 0, 90, 130), resized, (0, 0, *resized), False)
        view = rendered(image, (0, 0, 90, 130), resized, (7, 11, 40, 50), False)
        np.testing.assert_array_equal(view, whole[7:47, 11:61])
        mirrored = rendered(image, (0, 0, 90, 130), resized, (7, 11, 40, 50), True)
        np.testing.assert_allclose(mirrored, view[:, ::-1], atol=1e-6)


def test_an_image_that_is_not_resized_keeps_its_levels() -> None:
    image = np.random.default_rng(1).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    image.setflags(write=False)
    view = rendered(image, (0, 0, 20, 30), (20, 30), (0, 0, 20, 30), False)
    levels = (view * np.array(IMAGENET_STD) + np.array(IMAGENET_MEAN)) * 255
    np.testing.assert_allclose(levels, image, rtol=0, atol=0.01)  # a weight of 1 is 65535 / 65536
