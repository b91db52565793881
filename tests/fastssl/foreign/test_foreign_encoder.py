"""Encoders from files of other libraries: torchvision's own networks, saved as each of them does."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
import torchvision
from torch import Tensor, nn

import fastssl
from fastssl.foreign.encoder import foreign_encoder
from fastssl.foreign.layouts import LAYOUTS
from fastssl.models.wide_resnet import WideResNet
from pipelines.command.errors import UserError

Tensors = dict[str, Tensor]


def with_statistics(model: nn.Module) -> nn.Module:
    """A network with random batch norms."""
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.running_mean, 0, 0.1)  # type: ignore[arg-type]
            nn.init.uniform_(part.running_var, 0.5, 2)  # type: ignore[arg-type]
            nn.init.normal_(part.bias, 0, 0.1)
    return model.eval()


@pytest.fixture(scope="module")
def small() -> nn.Module:
    """torchvision's ResNet-18, an eighth as wide."""
    torch.manual_seed(0)
    return with_statistics(WideResNet(18, 0.125, "imagenet", False))


def features(model: Any, views: Tensor) -> Tensor:
    """Pooled features of torchvision's ResNet."""
    with torch.no_grad():
        x = model.maxpool(model.relu(model.bn1(model.conv1(views))))
        for layer in (model.layer1, model.layer2, model.layer3, model.layer4):
            x = layer(x)
        found: Tensor = x.mean((2, 3))
    return found


def moco(tensors: Tensors) -> Any:
    """A checkpoint of MoCo's main_moco.py, with a projector, the key encoder and the queue."""
    both = {f"module.encoder_{which}.{name}": value for name, value in tensors.items() for which in "qk"}
    state = {name: -value if "_k." in name else value for name, value in both.items()}
    state["module.encoder_q.fc.0.weight"] = state["module.queue"] = torch.ones(4, 4)
    return {
        "epoch": 200,
        "arch": "resnet50",
        "state_dict": state,
        "optimizer": {"param_groups": [{"lr": 0.03}]},
    }


def detectron2(tensors: Tensors) -> Any:
    """MoCo's detection/convert-pretrain.py, line by line."""
    model = {}
    for key, value in tensors.items():
        k = key
        if "layer" not in k:
            k = "stem." + k
        for t in [1, 2, 3, 4]:
            k = k.replace(f"layer{t}", f"res{t + 1}")
        for t in [1, 2, 3]:
            k = k.replace(f"bn{t}", f"conv{t}.norm")
        k = k.replace("downsample.0", "shortcut").replace("downsample.1", "shortcut.norm")
        model[k] = value.numpy()
    return {"model": model, "__author__": "MOCO", "matching_heuristics": True}


def c4_detector(tensors: Tensors) -> Any:
    """A checkpoint of detectron2's R50-C4 with MoCo's norm: the fourth stage lies in the head."""
    state = {
        ("roi_heads." if name.startswith("res5") else "backbone.") + name: torch.from_numpy(value)
        for name, value in detectron2(without(tensors, "num_batches"))["model"].items()
    }
    state["roi_heads.res5.norm.weight"] = state["roi_heads.box_predictor.cls_score.weight"] = torch.ones(4, 4)
    return {"model": state, "iteration": 24_000}


def write_pickle(path: Path, content: Any, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(content, protocol))
    return path


def write_torch(path: Path, content: Any, **options: Any) -> Path:
    torch.save(content, path, **options)
    return path


def write_safetensors(path: Path, tensors: Tensors) -> Path:
    safetensors.torch.save_file(tensors, path)
    return path


def behind(prefix: str, tensors: Tensors) -> Tensors:
    return {prefix + name: value for name, value in tensors.items()}


def without(tensors: Tensors, part: str) -> Tensors:
    return {name: value for name, value in tensors.items() if part not in name}


WRITERS: dict[str, tuple[str, Callable[[Path, Tensors], Path]]] = {
    "plain": ("torchvision", lambda at, t: write_torch(at / "a.pth", t)),
    "parallel": ("torchvision", lambda at, t: write_torch(at / "a.pt", behind("module.", t))),
    "safe": ("torchvision", lambda at, t: write_safetensors(at / "a.safetensors", t)),
    "no counters": ("torchvision", lambda at, t: write_torch(at / "a.pth", without(t, "num_batches"))),
    "moco": ("moco", lambda at, t: write_torch(at / "a.pth.tar", moco(t))),
    "moco of 2020": (
        "moco",
        lambda at, t: write_torch(at / "a.pth.tar", moco(t), _use_new_zipfile_serialization=False),
    ),
    "simsiam": ("simsiam", lambda at, t: write_torch(at / "a.pt", behind("module.encoder.", t))),
    "moco-v3": ("moco-v3", lambda at, t: write_torch(at / "a.pt", behind("base_encoder.", t))),
    "detectron2": ("detectron2", lambda at, t: write_pickle(at / "a.pkl", detectron2(t))),
    "detectron2, protocol 2": ("detectron2", lambda at, t: write_pickle(at / "a.pkl", detectron2(t), 2)),
    "detectron2, protocol 5": ("detectron2", lambda at, t: write_pickle(at / "a.pkl", detectron2(t), 5)),
    "detectron2 C4": ("detectron2", lambda at, t: write_torch(at / "model_final.pth", c4_detector(t))),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_features_are_those_of_the_network(tmp_path: Path, small: nn.Module, kind: str) -> None:
    layout, write = WRITERS[kind]
    path = write(tmp_path, small.state_dict())
    views = torch.randn(2, 3, 64, 64)
    expected = features(small, views)
    for named in (None, layout):
        found = foreign_encoder(path, named)
        assert found.layout == layout
        assert found.backbone.label == "resnet18 0.125x"
        with torch.no_grad():
            assert torch.equal(found.encoder(views), expected)


@pytest.mark.parametrize(("name", "kind"), [("resnet18", "plain"), ("resnet50", "moco")])
def test_torchvisions_own_networks(tmp_path: Path, name: str, kind: str) -> None:
    model = with_statistics(getattr(torchvision.models, name)())
    layout, write = WRITERS[kind]
    found = foreign_encoder(write(tmp_path, model.state_dict()))
    views = torch.randn(1, 3, 32, 32)
    assert (found.layout, found.backbone.label) == (layout, name)
    with torch.no_grad():
        assert torch.equal(found.encoder(views), features(model, views))


def test_names_of_transformers_are_those_of_its_model() -> None:
    """By hand from ``transformers.ResNetModel``: embedder, stages from 0, layers of a block from 0."""
    rename = LAYOUTS["transformers"].rename
    assert {name: rename(name) for name in ("conv1.weight", "bn1.running_mean")} == {
        "conv1.weight": "embedder.embedder.convolution.weight",
        "bn1.running_mean": "embedder.embedder.normalization.running_mean",
    }
    assert rename("layer3.2.conv3.weight") == "encoder.stages.2.layers.2.layer.2.convolution.weight"
    assert rename("layer1.0.bn2.bias") == "encoder.stages.0.layers.0.layer.1.normalization.bias"
    assert rename("layer4.0.downsample.0.weight") == "encoder.stages.3.layers.0.shortcut.convolution.weight"
    assert rename("layer4.0.downsample.1.weight") == "encoder.stages.3.layers.0.shortcut.normalization.weight"


@pytest.mark.parametrize(
    ("name", "prefix"), [("test_vit", ""), ("test_vit", "module.base_encoder."), ("test_resnet", "module.")]
)
def test_models_of_timm_are_timms(tmp_path: Path, name: str, prefix: str) -> None:
    torch.manual_seed(0)
    model: Any = timm.create_model(name, num_classes=5).eval()
    found = foreign_encoder(
        write_torch(tmp_path / "a.pt", behind(prefix, model.state_dict())), f"timm:{name}"
    )
    views = torch.randn(2, 3, found.spec.size, found.spec.size)
    model.reset_classifier(0)
    with torch.no_grad():
        torch.testing.assert_close(found.encoder(views), model(views))
    assert found.spec.mean == model.pretrained_cfg["mean"]


def test_load_encoder_and_embed_take_the_file(tmp_path: Path, small: nn.Module) -> None:
    path = write_torch(tmp_path / "a.pth.tar", moco(small.state_dict()))
    encoder = fastssl.load_encoder(path)
    assert not encoder.training
    image = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    centre = torch.from_numpy(image[16:240, 16:240]).permute(2, 0, 1) / 255  # 224 of 256: nothing is resized
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    expected = (centre - mean[:, None, None]) / std[:, None, None]
    torch.testing.assert_close(encoder.transform(image), expected, rtol=1e-4, atol=1e-4)
    found = fastssl.embed(path, [image], layout="moco", device="cpu")
    torch.testing.assert_close(torch.from_numpy(found), features(small, expected[None]), rtol=0.05, atol=0.05)


class Harm:
    """Deletes nothing, but could: what a pickle may call."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("harmed"),)


@pytest.mark.parametrize("name", ["a.pkl", "a.pt"])
def test_pickles_that_run_code_are_refused(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    content = {"model": {"conv1.weight": Harm()}}
    path = (
        write_pickle(tmp_path / name, content) if name == "a.pkl" else write_torch(tmp_path / name, content)
    )
    with pytest.raises(UserError, match=r"could run code: .*safetensors") as error:
        foreign_encoder(path)
    assert "\n" not in str(error.value)
    assert not Path("harmed").exists()


@pytest.mark.parametrize(
    ("change", "layout", "reason"),
    [
        (
            lambda t: without(t, "layer4.1.conv1"),
            None,
            "ResNet-18.* 1 missing .first layer4.1.conv1",
        ),
        (lambda t: t | {"layer1.2.conv1.weight": t["conv1.weight"]}, None, "1 unknown .first layer1.2.conv1"),
        (lambda t: {"a": torch.ones(2)}, None, "no known layout"),
        (lambda t: t, "moco", "not in the layout moco but in torchvision"),
        (lambda t: moco(t), "torchvision", "not in the layout torchvision but in moco"),
        (lambda t: t | {"layer2.0.conv1.weight": torch.ones(1)}, None, "1 of 120 tensors have other shapes"),
        (
            lambda t: t | {"bn1.bias": torch.full((8,), torch.nan)},
            None,
            "bn1.bias holds values that are not",
        ),
        (lambda t: {"epoch": 3}, None, "holds no tensors by name"),
        (lambda t: [1], None, "holds a list"),
        (lambda t: t, "torchvison", "did you mean torchvision"),
        (lambda t: t, "timm:resnet50", "does not fit timm's resnet50"),
        (lambda t: t, "timm:resnet51", "no model resnet51"),
        (lambda t: {"config": 1, "encoder": 1, "step": 1}, "moco", "is a checkpoint of a run"),
    ],
)
def test_what_does_not_fit_is_one_line(
    tmp_path: Path, small: nn.Module, change: Callable[[Tensors], Any], layout: str | None, reason: str
) -> None:
    path = write_torch(tmp_path / "a.pt", change(small.state_dict()))
    with pytest.raises(UserError, match=reason) as error:
        foreign_encoder(path, layout)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["a.pt", "a.pkl", "a.safetensors", "a.pth.tar"])
def test_damaged_and_missing_files_are_one_line(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with pytest.raises(UserError, match=r"cannot read .*No such file"):
        foreign_encoder(path)
    for content in (b"", b"no weights", b"\x80\x04damaged"):
        path.write_bytes(content)
        with pytest.raises(UserError, match="no file of weights, or damaged") as error:
            foreign_encoder(path)
        assert "\n" not in str(error.value)
