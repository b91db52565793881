from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from benchmarks.images import generated_jpeg, image_folder
from pipelines.command.errors import UserError


def save(path: Path, mode: str = "RGB", orientation: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new(mode, (20, 10)).save(path, exif=exif)


def test_generated_images_are_as_large_as_photographs_and_always_the_same() -> None:
    files = [generated_jpeg(number) for number in range(4)]
    assert files == [generated_jpeg(number) for number in range(4)]
    assert len(set(files)) == 4
    assert 60_000 < np.mean([len(file) for file in files]) < 80_000
    pixels = simplejpeg.decode_jpeg(files[0])
    assert pixels.shape == (375, 500, 3)
    assert 35 < pixels.std() < 65


def test_a_folder_of_generated_images() -> None:
    with image_folder("generated", 2) as folder:
        paths = sorted(folder.iterdir())
        assert [path.read_bytes() for path in paths] == [generated_jpeg(0), generated_jpeg(1)]
    assert not folder.exists()


def test_images_of_a_folder_are_taken_evenly(tmp_path: Path) -> None:
    for number in range(9):
        save(tmp_path / f"class-{number // 3}" / f"{number}.jpeg")
    with image_folder(str(tmp_path), 3) as folder:
        assert [path.resolve().name for path in sorted(folder.iterdir())] == ["0.jpeg", "4.jpeg", "8.jpeg"]
    with image_folder(str(tmp_path), 100) as folder:
        assert len(list(folder.iterdir())) == 9


def test_only_upright_color_jpegs_are_taken(tmp_path: Path) -> None:
    save(tmp_path / "good.JPG")
    save(tmp_path / "gray.jpg", mode="L")
    save(tmp_path / "cmyk.jpg", mode="CMYK")
    save(tmp_path / "turned.jpg", orientation=6)
    save(tmp_path / "other.png")
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xd9")
    (tmp_path / "empty.jpg").write_bytes(b"")
    with image_folder(str(tmp_path), 10) as folder:
        assert [path.resolve().name for path in folder.iterdir()] == ["good.JPG"]


@pytest.mark.parametrize(
    ("where", "message"),
    [("missing", "no such folder"), ("", "no upright color JPEGs")],
)
def test_mistakes(tmp_path: Path, where: str, message: str) -> None:
    with pytest.raises(UserError, match=message), image_folder(str(tmp_path / where), 1):
        pass
