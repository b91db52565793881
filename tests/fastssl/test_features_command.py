"""``python -m fastssl.features``: features with paths and labels, whole or not there, resumable."""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fastssl
from fastssl import features as command
from fastssl.evaluate import features as extraction
from fastssl.features import main
from fastssl.models import ResNet9
from fastssl.models.wide_resnet import WideResNet
from pipelines.command.errors import UserError
from tests.fastssl.export.test_encoder_file import save
from tests.helpers.image_folder import write_colors


@pytest.fixture
def folder(tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run and images of three classes, parts of 4 images."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "PART", 4)
    write_colors(tmp_path / "data", 3)
    save(tmp_path / "run", ResNet9.Config(width=0.125))
    return tmp_path


def test_features_are_those_of_embed_beside_their_paths(folder: Path) -> None:
    assert main(["run", "a.npz", "--data", "data"]) == 0
    with np.load("a.npz", allow_pickle=False) as found:
        paths = [Path(path) for path in found["paths"]]
        assert found["features"].dtype == np.float32
        np.testing.assert_allclose(found["features"], fastssl.embed("run", "data", device="cpu"), atol=1e-5)
        assert [path.parent.name for path in paths] == [found["class_names"][i] for i in found["labels"]]
        assert [path.resolve() for path in paths] == sorted((folder / "data").rglob("*.jpg"))
    assert not Path("a.npz.parts").exists()


def test_a_folder_of_the_user_s_is_left_alone(folder: Path) -> None:
    Path("a.npz.parts").mkdir()
    Path("a.npz.parts/mine.npz").write_bytes(b"precious")
    assert main(["run", "a.npz", "--data", "data"]) == 0
    assert [path.name for path in Path("a.npz.parts").iterdir()] == ["mine.npz"]


def test_a_stopped_command_goes_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images: list[int] = []
    encode = extraction.encode

    def stop_in_the_last_part(encoder: torch.nn.Module, views: torch.Tensor, *more: Any) -> torch.Tensor:
        images.append(len(views))
        if sum(images) == 9:
            raise KeyboardInterrupt
        return encode(encoder, views, *more)

    monkeypatch.setattr(extraction, "encode", stop_in_the_last_part)
    with pytest.raises(KeyboardInterrupt):
        main(["run", "a.npz", "--data", "data"])
    assert not Path("a.npz").exists()
    assert main(["run", "a.npz", "--data", "data"]) == 0
    assert images == [4, 4, 1, 1]
    monkeypatch.setattr(extraction, "encode", encode)
    assert main(["run", "b.npz", "--data", "data"]) == 0
    with np.load("a.npz") as resumed, np.load("b.npz") as whole:
        assert all(np.array_equal(resumed[name], whole[name]) for name in whole)


def test_foreign_weights_and_unlabeled_images(folder: Path) -> None:
    torch.save(WideResNet(18, 0.125, "cifar", False).state_dict(), "weights.pth")
    (folder / "plain").mkdir()
    for number, path in enumerate(sorted((folder / "data").rglob("*.jpg"))):
        path.rename(folder / "plain" / f"{number}.jpg")
    assert main(["weights.pth", "a.npz", "--data", "plain", "--layout", "torchvision"]) == 0
    with np.load("a.npz") as found:
        assert found["features"].shape == (9, 64)
        assert found["labels"].tolist() == 9 * [-1]
        assert not len(found["class_names"])


def test_parquet_has_the_same_rows(folder: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    assert main(["run", "a.parquet", "--data", "data"]) == 0
    assert main(["run", "a.npz", "--data", "data"]) == 0
    rows = parquet.read_table("a.parquet").to_pydict()
    with np.load("a.npz") as found:
        assert np.array_equal(np.array(rows["features"], np.float32), found["features"])
        assert rows["path"] == found["paths"].tolist()
        assert rows["class"] == [found["class_names"][label] for label in rows["label"]]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["run", "a.csv", "--data", "data"], "a.csv must end in .npz or .parquet"),
        (["run", "there.npz", "--data", "data"], "there.npz exists, and nothing is overwritten"),
        (["run", "absent/a.npz", "--data", "data"], "there is no folder absent"),
        (["absent", "a.npz", "--data", "data"], "absent does not exist"),
        (["run", "a.npz", "--data", "absent"], "no such folder"),
        (["run", "a.npz", "--data", "data", "--split", "test"], "test"),
        (
            ["run", "a.npz", "--data", "data", "--workers", "-1"],
            "--workers must be at least 0 and at most 1024, not -1",
        ),
        (["run", "a.npz"], "--data"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(folder: Path, words: list[str], reason: str) -> None:
    Path("there.npz").write_bytes(b"precious")
    with pytest.raises(UserError, match=reason) as error:
        main(words)
    assert "\n" not in str(error.value)
    assert Path("there.npz").read_bytes() == b"precious"
    assert not list(folder.glob("a.*"))


def test_parquet_is_asked_for_before_anything_is_computed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "pyarrow" else find(name))
    with pytest.raises(UserError, match=r"pip install pyarrow, or write an \.npz"):
        main(["run", "a.parquet", "--data", "data"])


def test_a_damaged_image_ends_it(folder: Path) -> None:
    (folder / "data/red/000.jpg").write_bytes(b"no image")
    with pytest.raises(UserError) as error:
        main(["run", "a.npz", "--data", "data"])
    assert "000.jpg" in str(error.value)
    assert not Path("a.npz").exists()
