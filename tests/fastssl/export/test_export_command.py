"""``python -m fastssl.export``: each file loads into the library it is for, with equal features."""

import json
import os
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
from PIL import Image
from torch import Tensor, nn

import fastssl
from fastssl.export.__main__ import main
from fastssl.export.writers import EXPORTS
from fastssl.models import ResNet9, Timm
from fastssl.models.wide_resnet import WideResNet
from pipelines.command.errors import UserError
from tests.fastssl.export.test_encoder_file import save
from tests.fastssl.foreign.test_foreign_encoder import with_statistics
from tests.helpers.image_folder import write_colors
from tests.helpers.view_checks import photographs


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """torchvision's ResNet-18 with random weights, as a state_dict, beside JPEGs."""
    folder = tmp_path_factory.mktemp("export")
    torch.manual_seed(0)
    torch.save(with_statistics(torchvision.models.resnet18()).state_dict(), folder / "resnet18.pth")
    write_colors(folder / "images", 1, side=90)
    return folder / "resnet18.pth"


@pytest.fixture(scope="module")
def narrow(origin: Path) -> Path:
    """The same at an eighth of the width."""
    path = origin.with_name("narrow.pth")
    torch.save(with_statistics(WideResNet(18, 0.125, "imagenet", False)).state_dict(), path)
    return path


def views_and_features(path: Path) -> tuple[Tensor, Tensor]:
    """Views of the JPEGs, and their features by this package."""
    encoder = fastssl.load_encoder(path)
    views = torch.stack([encoder.transform(image) for image in sorted(path.parent.rglob("*.jpg"))])
    with torch.no_grad():
        return views, encoder(views)


def in_torchvision(out: Path, views: Tensor) -> Tensor:
    model = torchvision.models.resnet18()
    found = model.load_state_dict(torch.load(out), strict=False)
    assert (set(found.missing_keys), found.unexpected_keys) == ({"fc.weight", "fc.bias"}, [])
    model.fc = nn.Identity()
    return model.eval()(views)


def in_timm(out: Path, views: Tensor) -> Tensor:
    return timm.create_model("resnet18", num_classes=0, checkpoint_path=str(out)).eval()(views)


def in_detectron2(out: Path, views: Tensor) -> Tensor:
    names = ("checkpoint", "config", "modeling")
    checkpoint, configs, modeling = (
        pytest.importorskip(f"detectron2.{name}", reason="detectron2 is not installed") for name in names
    )
    config = configs.get_cfg()
    entries = json.loads(out.with_suffix(".json").read_text())["detectron2"]
    config.merge_from_list([part for name, value in entries.items() for part in (name, value)])
    config.MODEL.RESNETS.OUT_FEATURES = ["res5"]
    backbone = modeling.build_backbone(config).eval()
    checkpoint.DetectionCheckpointer(backbone).load(str(out))
    return backbone(views)["res5"].mean((2, 3))


def in_transformers(out: Path, views: Tensor) -> Tensor:
    library = pytest.importorskip("transformers", reason="transformers is not installed")
    model, found = library.AutoModel.from_pretrained(out, output_loading_info=True)
    assert not found["missing_keys"]
    assert not found["unexpected_keys"]
    return model.eval()(views).pooler_output.flatten(1)


def in_safetensors(out: Path, views: Tensor) -> Tensor:
    return fastssl.load_encoder(out)(views)


def in_onnx(out: Path, views: Tensor) -> Tensor:
    library = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    (found,) = library.InferenceSession(str(out)).run(None, {"views": views.numpy()})
    return torch.from_numpy(found)


LIBRARIES: dict[str, Callable[[Path, Tensor], Tensor]] = {
    "torchvision": in_torchvision,
    "timm": in_timm,
    "detectron2": in_detectron2,
    "transformers": in_transformers,
    "safetensors": in_safetensors,
    "onnx": in_onnx,
}


@pytest.mark.parametrize("library", EXPORTS)
def test_the_library_gives_equal_features(tmp_path: Path, origin: Path, library: str) -> None:
    if library == "onnx":
        pytest.importorskip("onnx", reason="onnx is not installed")
    out = tmp_path / f"a{EXPORTS[library][1]}"
    assert main([str(origin), str(out), "--to", library]) == 0
    views, expected = views_and_features(origin)
    with torch.no_grad():
        found = LIBRARIES[library](out, views)
    difference, largest = (found - expected).abs().max().item(), expected.abs().max().item()
    print(f"{library}: features differ by {difference:.2g} of {largest:.3g}")
    assert difference <= 1e-5 * largest


@pytest.mark.slow
def test_torchvision_s_layout_round_trips_on_photographs(tmp_path: Path, origin: Path) -> None:
    """Features of torchvision's model from the file equal ours of the file it came from.

    On the photographs of the folder FASTSSL_PHOTOGRAPHS, of any sizes; without one, on scikit-learn's two.
    """
    folder = Path(os.environ.get("FASTSSL_PHOTOGRAPHS", tmp_path / "photographs"))
    if not folder.exists():
        for number, pixels in enumerate(photographs()):
            (folder / str(number)).mkdir(parents=True)
            Image.fromarray(pixels).save(folder / str(number) / "a.jpg", quality=95)
    out = tmp_path / "a.pth"
    assert main([str(origin), str(out), "--to", "torchvision"]) == 0
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    expected = torch.from_numpy(fastssl.embed(origin, paths))
    transform = fastssl.load_encoder(out).transform
    with torch.no_grad():
        parts = [paths[start : start + 30] for start in range(0, len(paths), 30)]
        found = torch.cat([in_torchvision(out, torch.stack([*map(transform, part)])) for part in parts])
    difference, largest = (found - expected).abs().max().item(), expected.abs().max().item()
    print(f"torchvision, {len(paths)} photographs: features differ by {difference:.2g} of {largest:.3g}")
    assert difference <= 1e-5 * largest


def test_the_file_says_how_it_is_loaded(
    tmp_path: Path, origin: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a.pth"
    assert main([str(origin), str(out), "--to", "torchvision"]) == 0
    about = json.loads((tmp_path / "a.json").read_text())
    assert (about["architecture"], about["features"]) == ("resnet18", 512)
    assert about["transform"]["mean"] == [0.485, 0.456, 0.406]
    assert (about["transform"]["size"], about["transform"]["center_fraction"]) == (224, 0.875)
    assert about["origin"] == {"file": str(origin), "layout": "torchvision"}
    line = capsys.readouterr().out.splitlines()[-1]
    assert "missing_keys=['fc.weight', 'fc.bias']" in str(
        eval(line, {"torch": torch, "torchvision": torchvision})
    )


def test_detectron2_gets_mocos_map_and_config(
    tmp_path: Path, narrow: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(narrow), str(tmp_path / "a.pkl"), "--to", "detectron2"]) == 0
    content = pickle.loads((tmp_path / "a.pkl").read_bytes())
    assert content["matching_heuristics"] is True
    weights = torch.load(narrow)
    for ours, theirs in {
        "conv1.weight": "stem.conv1.weight",
        "bn1.running_var": "stem.conv1.norm.running_var",
        "layer2.1.conv2.weight": "res3.1.conv2.weight",
        "layer4.0.downsample.1.bias": "res5.0.shortcut.norm.bias",
    }.items():
        assert np.array_equal(content["model"][theirs], weights[ours].numpy())
    assert len(content["model"]) == len(weights)
    said = capsys.readouterr().out
    assert "MODEL.PIXEL_MEAN: [123.675, 116.28, 103.53]" in said
    assert "MODEL.PIXEL_STD: [58.395, 57.12, 57.375]" in said
    assert "MODEL.RESNETS.STRIDE_IN_1X1: False" in said
    assert "MODEL.RESNETS.RES2_OUT_CHANNELS: 8" in said


@pytest.mark.parametrize(("library", "suffix"), [("detectron2", ".pkl"), ("transformers", "")])
def test_what_is_written_comes_back(tmp_path: Path, narrow: Path, library: str, suffix: str) -> None:
    out = tmp_path / f"a{suffix}"
    assert main([str(narrow), str(out), "--to", library]) == 0
    views, expected = views_and_features(narrow)
    again = fastssl.load_encoder(out if suffix else out / "model.safetensors", library)
    with torch.no_grad():
        assert torch.equal(again(views), expected)


def test_the_folder_of_transformers(tmp_path: Path, narrow: Path) -> None:
    assert main([str(narrow), str(tmp_path / "a"), "--to", "transformers"]) == 0
    assert {path.name for path in (tmp_path / "a").iterdir()} == {
        *("config.json", "model.safetensors", "preprocessor_config.json"),
    }
    config = json.loads((tmp_path / "a/config.json").read_text())
    assert (config["embedding_size"], config["hidden_sizes"]) == (8, [8, 16, 32, 64])
    assert (config["depths"], config["layer_type"]) == ([2, 2, 2, 2], "basic")
    processor = json.loads((tmp_path / "a/preprocessor_config.json").read_text())
    assert processor["size"] == {"shortest_edge": 256}
    assert processor["crop_size"] == {"height": 224, "width": 224}


@pytest.mark.parametrize("backbone", [ResNet9.Config(width=0.125), Timm.Config(name="test_resnet")])
def test_a_run_goes_into_safetensors_with_its_transform(tmp_path: Path, backbone: Any) -> None:
    encoder, _ = save(tmp_path / "run", backbone)
    assert main([str(tmp_path / "run"), str(tmp_path / "a.safetensors"), "--to", "safetensors"]) == 0
    again = fastssl.load_encoder(tmp_path / "a.safetensors")
    assert again.transform.spec.size == 32
    assert all(torch.equal(again.state_dict()[name], value) for name, value in encoder.state_dict().items())
    if isinstance(backbone, Timm.Config):
        assert main([str(tmp_path / "run"), str(tmp_path / "b.pth"), "--to", "timm"]) == 0
        model = timm.create_model("test_resnet", num_classes=0, checkpoint_path=str(tmp_path / "b.pth"))
        assert torch.equal(next(model.parameters()), next(encoder.parameters()))
    else:
        theirs = safetensors.torch.load_file(tmp_path / "a.safetensors")
        assert theirs.keys() == encoder.state_dict().keys()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["narrow.pth", "a.pth", "--to", "torchvision"], "torchvision names no resnet18 0.125x"),
        (["narrow.pth", "a.pth", "--to", "timm"], "timm names no resnet18 0.125x"),
        (
            ["cifar.pth", "a.pkl", "--to", "detectron2"],
            "no such network .resnet18 0.125x with the cifar stem",
        ),
        (
            ["narrow.pth", "narrow.pth", "--to", "torchvision"],
            "narrow.pth exists, and nothing is overwritten",
        ),
        (["narrow.pth", "images", "--to", "transformers"], "images exists"),
        (["narrow.pth", "a.pkl", "--to", "torchvision"], "ends in .pth: name it a.pkl.pth"),
        (["narrow.pth", "absent/a.pth", "--to", "torchvision"], "there is no folder absent"),
        (["absent", "a.pth", "--to", "torchvision"], "absent does not exist"),
        (["narrow.pth", "a.pth", "--to", "keras"], "--to"),
        (["narrow.pth", "a.pth", "--to", "torchvision", "--layout", "moko"], "did you mean moco"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(
    narrow: Path, words: list[str], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(narrow.parent)
    torch.save(WideResNet(18, 0.125, "cifar", False).state_dict(), "cifar.pth")
    before = {path: path.stat().st_mtime_ns for path in Path().rglob("*")}
    with pytest.raises(UserError, match=reason) as error:
        main(words)
    assert "\n" not in str(error.value)
    assert {path: path.stat().st_mtime_ns for path in Path().rglob("*")} == before


def test_onnx_is_asked_for(tmp_path: Path, narrow: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "onnx" else find(name, *more)
    )
    with pytest.raises(UserError, match="pip install onnx"):
        main([str(narrow), str(tmp_path / "a.onnx"), "--to", "onnx"])
    assert not list(tmp_path.iterdir())
