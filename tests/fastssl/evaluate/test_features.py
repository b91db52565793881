from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from fastssl.evaluate.features import FeatureConfig, Pixels, calibrated, extract, pixel_config
from pipelines.command.errors import UserError
from pipelines.decode.bad_images import BadImages
from pipelines.ops import CenterCrop, Flip
from pipelines.sources import Source, open_source
from pipelines.views import ViewSpec
from tests.helpers.image_folder import write_colors

SIDE = 16
WHOLE = ViewSpec(size=SIDE, crop=CenterCrop(fraction=1.0), flip=Flip(p=0.0))
HOW = FeatureConfig(
    spec=WHOLE, device=torch.device("cpu"), bad_images=BadImages(None, 10), batch_size=7, workers=2
)


@pytest.fixture
def source(tmp_path: Path, own_cache: Path) -> Source:
    write_colors(tmp_path / "data", 6, side=SIDE)
    return open_source(str(tmp_path / "data"), "train")


def normalized(source: Source) -> torch.Tensor:
    """Every image as Pillow reads it, in the source's order: [N, 3, S, S]."""
    views = []
    for number in range(len(source.index)):
        with Image.open(source.describe(number)) as image:
            pixels = np.array(image) / 255
        views.append(torch.from_numpy((pixels - WHOLE.mean) / WHOLE.std).float().permute(2, 0, 1))
    return torch.stack(views)


class Means(nn.Module):
    """The mean of each color; remembers the modes it was called in."""

    def __init__(self) -> None:
        super().__init__()
        self.modes: list[bool] = []

    def forward(self, views: torch.Tensor) -> torch.Tensor:
        self.modes.append(self.training)
        return views.mean((2, 3))


def test_features_come_in_the_order_of_the_source(source: Source) -> None:
    assert len(source.index) == 18  # the last batch of 7 is not whole
    features, labels = extract(Means(), source, HOW, "test")
    torch.testing.assert_close(features, normalized(source).mean((2, 3)), atol=0.02, rtol=0)
    assert source.index.labels is not None
    assert labels.tolist() == source.index.labels.tolist()
    assert features.dtype == torch.float32
    assert not features.is_inference()  # a classifier may be trained on them


def test_features_do_not_depend_on_batches_or_workers(source: Source) -> None:
    expected, _ = extract(Means(), source, HOW, "test")
    for batch_size, workers in ((1, 1), (18, 3), (500, 0)):
        how = replace(HOW, batch_size=batch_size, workers=workers)
        found, _ = extract(Means(), source, how, "test")
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("training", [True, False])
def test_the_encoder_evaluates_and_gets_its_mode_back(source: Source, training: bool) -> None:
    encoder = Means().train(training)
    extract(encoder, source, HOW, "test")
    assert not any(encoder.modes)
    assert encoder.training == training
    broken = nn.Sequential(nn.Conv2d(4, 1, 1)).train(training)  # for views of three colors
    with pytest.raises(RuntimeError, match="channels"):
        extract(broken, source, HOW, "test")
    assert broken.training == training


def test_autocast_is_of_the_precision(source: Source) -> None:
    seen = []

    class Head(Means):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3, 4)

        def forward(self, views: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.linear(super().forward(views))
            seen.append(out.dtype)
            return out

    for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        found, _ = extract(Head(), source, replace(HOW, precision=precision), "test")
        assert set(seen) == {dtype}
        assert found.dtype == torch.float32
        seen.clear()


def test_pixels_as_features(source: Source) -> None:
    features, _ = extract(Pixels(), source, pixel_config(HOW), "test")
    torch.testing.assert_close(features, normalized(source).flatten(1), atol=4 / 255 / 0.22, rtol=0)
    large = replace(HOW, spec=replace(WHOLE, size=48))
    assert extract(Pixels(), source, pixel_config(large), "test")[0].shape == (18, 3 * 32 * 32)


class Normalized(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(3)

    def forward(self, views: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.bn(views).mean((2, 3))
        return out


def test_calibration_gives_the_statistics_of_the_data(source: Source) -> None:
    encoder = Normalized()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    found = calibrated(encoder, source, replace(HOW, batch_size=500))
    assert isinstance(found, Normalized)
    views = normalized(source).transpose(0, 1).flatten(1)
    assert found.bn.running_mean is not None
    assert found.bn.running_var is not None
    torch.testing.assert_close(found.bn.running_mean, views.mean(1), atol=0.01, rtol=0)
    torch.testing.assert_close(found.bn.running_var, views.var(1), atol=0, rtol=0.02)
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


def test_calibration_averages_whole_batches(source: Source) -> None:
    """Of 18 images in batches of 7, two whole batches count, and the last four images do not."""
    encoder, sizes = Normalized(), []
    encoder.bn.register_forward_pre_hook(lambda _, views: sizes.append(len(views[0])))
    calibrated(encoder, source, HOW)
    assert sizes == [7, 7]
    sizes.clear()
    calibrated(encoder, source, replace(HOW, batch_size=3), batches=4)
    assert sizes == [3, 3, 3, 3]


def test_bad_images_are_tolerated_up_to_the_limit_that_is_asked_for(source: Source) -> None:
    for number in range(3):
        Path(source.describe(number)).write_bytes(b"\xff\xd8\xffspoilt")
    features, _ = extract(Means(), source, HOW, "test")
    assert len(features) == 18
    with pytest.raises(UserError, match="more than the 2 tolerated"):
        extract(Means(), source, replace(HOW, bad_images=BadImages(None, 2)), "test")
