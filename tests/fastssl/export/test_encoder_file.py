"""A run's encoder by itself: this package, torchvision and timm load it as it is."""

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
import torchvision
from PIL import Image
from torch import nn

import fastssl
from fastssl.config import Config
from fastssl.evaluate.subject import Subject
from fastssl.export.encoder_file import layout_of, save_encoder
from fastssl.methods import build_encoder
from fastssl.models import BACKBONES, Backbone, ResNet, ResNet9, Timm
from fastssl.recipes import find_recipe, quickstart
from pipelines.command.errors import UserError
from pipelines.views import ViewGroup, ViewSpec
from tests.fastssl.evaluate.test_linear import HOW
from tests.helpers.encoded import encoded
from tests.helpers.image_folder import write_colors

RESNET18 = ResNet.Config(depth=18)


def with_backbone(backbone: Backbone.Config, size: int = 32) -> Config:
    config = quickstart()
    views = (ViewGroup(spec=ViewSpec(size=size), num_views=2),)
    experiment = replace(config.experiment, backbone=backbone, views=views, precision="fp32")
    return replace(config, experiment=experiment)


def save(folder: Path, backbone: Backbone.Config, size: int = 32) -> tuple[Backbone, list[str]]:
    """An encoder whose batch norms have statistics of their own, and what its file says."""
    torch.manual_seed(0)
    config = with_backbone(backbone, size)
    encoder = build_encoder(config.experiment.method, backbone).train()
    with torch.no_grad():
        encoder(torch.randn(8, 3, size, size))
    folder.mkdir(exist_ok=True)
    return encoder.eval(), save_encoder(folder, encoder, config, 7)


@pytest.mark.parametrize("library", ["torchvision", "timm"])
def test_torchvision_and_timm_miss_only_their_classifier(tmp_path: Path, library: str) -> None:
    encoder, _ = save(tmp_path, RESNET18)
    weights = safetensors.torch.load_file(tmp_path / "encoder.safetensors")
    model: Any = torchvision.models.resnet18() if library == "torchvision" else timm.create_model("resnet18")
    found = model.load_state_dict(weights, strict=False)
    assert set(found.missing_keys) == {"fc.weight", "fc.bias"}
    assert not found.unexpected_keys
    model.fc = nn.Identity()
    views = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(views), encoder(views))


def test_timms_model_takes_its_own_names(tmp_path: Path) -> None:
    encoder, _ = save(tmp_path, Timm.Config(name="test_resnet"))
    model: Any = timm.create_model("test_resnet", num_classes=0)
    model.load_state_dict(safetensors.torch.load_file(tmp_path / "encoder.safetensors"))
    views = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(views), encoder(views))


@pytest.mark.parametrize(
    ("backbone", "layout"),
    [
        (RESNET18, "torchvision"),
        (find_recipe("moco-v2-plus-imagenet").experiment.backbone, "torchvision"),
        (ResNet.Config(depth=50, width=2), "fastssl"),
        (ResNet.Config(depth=18, stem="cifar"), "fastssl"),
        (ResNet9.Config(), "fastssl"),
        (Timm.Config(), "timm"),
    ],
)
def test_the_layout_is_that_of_the_network_s_library(backbone: Backbone.Config, layout: str) -> None:
    assert layout_of(backbone) == layout


@pytest.mark.parametrize("kind", BACKBONES)
def test_every_backbone_comes_back_to_the_bit(tmp_path: Path, kind: type[Backbone]) -> None:
    encoder, _ = save(tmp_path, kind.Config().small())
    for path in (tmp_path, tmp_path / "encoder.safetensors", str(tmp_path)):
        again = fastssl.load_encoder(path)
        assert not again.training
        for name, value in encoder.state_dict().items():
            assert torch.equal(again.state_dict()[name], value)
        assert again.transform(np.zeros((50, 40, 3), np.uint8)).shape == (3, 32, 32)


def test_the_file_says_what_it_is(tmp_path: Path) -> None:
    save(tmp_path, RESNET18)
    about = json.loads((tmp_path / "encoder.json").read_text())
    assert (about["layout"], about["architecture"], about["features"]) == ("torchvision", "resnet18", 512)
    assert about["transform"]["size"] == 32
    assert about["transform"]["mean"] == [0.485, 0.456, 0.406]
    assert about["origin"]["recipe"] == "quickstart"
    assert about["origin"]["step"] == 7
    assert {"torch", "safetensors"} <= about["versions"].keys()


@pytest.mark.parametrize("backbone", [RESNET18, Timm.Config(name="test_resnet"), ResNet9.Config(width=0.125)])
@pytest.mark.usefixtures("own_cache")
def test_the_lines_that_load_it_do(
    tmp_path: Path, backbone: Backbone.Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_colors(tmp_path / "FOLDER_OF_IMAGES", 3)
    monkeypatch.chdir(tmp_path)
    encoder, (head, *lines) = save(tmp_path / "run", backbone)
    assert f"{tmp_path / 'run' / 'encoder.safetensors'}" in head
    assert len(lines) == (4 if isinstance(backbone, ResNet9.Config) else 5)
    known = {"image": Image.new("RGB", (40, 50)), "torchvision": torchvision, "timm": timm}
    known["safetensors"] = safetensors
    for line in lines:
        exec(line.strip().removeprefix("torchvision: ").removeprefix("timm: "), known)
    assert known["features"].shape == (9, encoder.feature_dim)


# --- the transform and embed --------------------------------------------------------------------------------


@pytest.mark.usefixtures("own_cache")
def test_the_transform_shows_what_evaluations_see(tmp_path: Path) -> None:
    """Features of files by embed and of arrays by the transform are those of a Subject."""
    from fastssl.evaluate.data import labeled_data

    write_colors(tmp_path / "data" / "train", 6, side=45)
    write_colors(tmp_path / "data" / "test", 2, side=45)
    encoder, _ = save(tmp_path / "run", ResNet9.Config(width=0.125))
    data = labeled_data(str(tmp_path / "data"))
    loaded = fastssl.load_encoder(tmp_path / "run")
    how = replace(HOW, spec=loaded.transform.spec)
    expected, _ = Subject(encoder=encoder, data=data, feature_config=how).features("train")
    by_folder = fastssl.embed(tmp_path / "run", tmp_path / "data")
    paths = [data.train.describe(i) for i in range(18)]
    pictures: list[Any] = [Image.open(paths[0]), np.asarray(Image.open(paths[1])), *paths[2:]]
    by_list = fastssl.embed(tmp_path / "run", pictures, batch_size=4)
    assert by_folder.dtype == np.float32
    np.testing.assert_allclose(by_folder, expected.numpy(), atol=1e-5)
    np.testing.assert_allclose(by_list, expected.numpy(), atol=0.02 * expected.abs().max().item())


def test_the_transform_is_torchvisions(tmp_path: Path) -> None:
    from torchvision.transforms import v2

    save(tmp_path, RESNET18, size=64)
    transform = fastssl.load_encoder(tmp_path).transform
    mean, std = transform.spec.mean, transform.spec.std
    pixels = np.random.default_rng(0).integers(0, 256, (80, 80, 3), np.uint8)
    expected = v2.Compose(
        [
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Resize(64, antialias=True),
            v2.Normalize(mean, std),
        ]
    )(pixels)
    torch.testing.assert_close(transform(pixels), expected, rtol=1e-4, atol=1e-4)


def test_pictures_are_turned_upright(tmp_path: Path) -> None:
    save(tmp_path, RESNET18)
    transform = fastssl.load_encoder(tmp_path).transform
    upright = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 20, 3), np.uint8))
    data = encoded(upright.transpose(Image.Transpose.ROTATE_90), "PNG", orientation=6)  # clockwise again
    turned = Image.open(io.BytesIO(data))
    torch.testing.assert_close(transform(turned), transform(upright))


@pytest.mark.parametrize("thing", [3, np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), "absent", __file__])
def test_what_is_no_image_is_one_line(tmp_path: Path, thing: Any) -> None:
    save(tmp_path, ResNet9.Config(width=0.125))
    with pytest.raises(UserError) as error:
        fastssl.embed(tmp_path, [thing])
    assert "\n" not in str(error.value)


def test_damage_is_one_line(tmp_path: Path) -> None:
    save(tmp_path, ResNet9.Config(width=0.125))
    whole = (tmp_path / "encoder.safetensors").read_bytes()
    about = (tmp_path / "encoder.json").read_text()
    (tmp_path / "encoder.safetensors").write_bytes(whole[:1000])
    with pytest.raises(UserError, match="cannot read"):
        fastssl.load_encoder(tmp_path)
    (tmp_path / "encoder.safetensors").write_bytes(whole)
    for text in ("", "[]", '{"layout": "fastssl"}', about.replace('"width": 0.125', '"width": 0.25')):
        (tmp_path / "encoder.json").write_text(text)
        with pytest.raises(UserError) as error:
            fastssl.load_encoder(tmp_path)
        assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="absent"):
        fastssl.load_encoder(tmp_path / "absent")
