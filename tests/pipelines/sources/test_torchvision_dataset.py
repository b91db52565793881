"""``pipelines.pack --torchvision``: data sets written by hand as torchvision finds them on the disk."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torchvision.datasets as datasets

from pipelines.decode.decode import decode
from pipelines.pack import Options, pack
from pipelines.sources import NoSplitError, open_source
from pipelines.sources.torchvision_dataset import open_torchvision
from tests.helpers.known_labels import labels_of
from tests.helpers.refusals import refused

CLASSES = ["apple", "bear", "cattle"]


@pytest.fixture
def pixels(tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    """CIFAR-100's pickles in ``root``, 7 and 5 images; its images, uint8 [N, 32, 32, 3]."""
    folder = tmp_path / "root" / datasets.CIFAR100.base_folder
    folder.mkdir(parents=True)
    generator, images = np.random.default_rng(0), {}
    for split, count in (("train", 7), ("test", 5)):
        images[split] = generator.integers(0, 255, (count, 32, 32, 3), dtype=np.uint8)
        rows = images[split].transpose(0, 3, 1, 2).reshape(count, -1)
        labels = (np.arange(count) % 3).tolist()
        (folder / split).write_bytes(pickle.dumps({"data": rows, "fine_labels": labels}))
        monkeypatch.setattr(datasets.CIFAR100, f"{split}_list", [[split, None]])
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": CLASSES}))
    meta: dict[str, Any] = {"filename": "meta", "key": "fine_label_names", "md5": None}
    monkeypatch.setattr(datasets.CIFAR100, "meta", meta)
    return images


@pytest.mark.parametrize("container", ["shards", "beton"])
def test_pixels_labels_and_names_are_packed_without_loss(
    tmp_path: Path, pixels: dict[str, np.ndarray], container: Any
) -> None:
    pack(
        Options(
            src=str(tmp_path / "root"),
            dst=tmp_path / "packed",
            torchvision="CIFAR100",
            format=container,
            workers=1,
        )
    )
    for split in ("train", "test"):
        source = open_source(str(tmp_path / "packed"), split)
        assert labels_of(source.index) == [number % 3 for number in range(len(pixels[split]))]
        assert source.index.class_names == tuple(CLASSES)
        for number, image in enumerate(pixels[split]):
            data = source.read(number)
            np.testing.assert_array_equal(data if isinstance(data, np.ndarray) else decode(data), image)


def test_mistakes_are_one_line(tmp_path: Path, pixels: dict[str, np.ndarray]) -> None:
    for name, root, said in (
        ("CIFAR1000", "root", "torchvision has no data set 'CIFAR1000': did you mean CIFAR100"),
        ("DatasetFolder", "root", "does not hold torchvision's DatasetFolder"),
        ("CIFAR10", "root", r"does not hold torchvision's CIFAR10 \(Dataset not found"),
        ("CIFAR100", "absent", "does not hold torchvision's CIFAR100"),
    ):
        with refused(said):
            open_torchvision(name, tmp_path / root, "train")
    with pytest.raises(NoSplitError, match="ImageFolder has no test split"):
        open_torchvision("ImageFolder", tmp_path / "root", "test")
