"""``python -m pipelines.pack``: what goes in comes out, whatever the container; and nothing half-made."""

from __future__ import annotations

import errno
import io
import lzma
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from PIL import Image, ImageOps

from pipelines.command.errors import UserError
from pipelines.decode.decode import decode
from pipelines.keys import stable_id
from pipelines.pack import Options, pack
from pipelines.sources import NoSplitError, Source, open_source
from pipelines.sources.beton.beton import BetonSource, open_beton
from tests.helpers import ROOT
from tests.helpers.encoded import encoded

pytestmark = pytest.mark.usefixtures("own_cache")


def photo(height: int, width: int, seed: int = 0) -> Image.Image:
    """Smooth colors, so that scaling and encoding lose little."""
    small = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


# By the path below the split. Only the first three are JPEGs that FFCV decodes right.
TRAIN = {
    "ant/plain.jpg": encoded(photo(50, 70)),
    "ant/gray.JPEG": encoded(photo(51, 71, 1).convert("L")),
    "cat/progressive.jpeg": encoded(photo(52, 72, 2), progressive=True, quality=97),
    "ant/really-png.jpg": encoded(photo(53, 73, 3), "PNG"),
    "bee/alpha.png": encoded(photo(54, 74, 4).convert("RGBA"), "PNG"),
    "bee/palette.png": encoded(photo(55, 75, 5).quantize(64), "PNG"),
    "bee/web.webp": encoded(photo(56, 76, 6), "WEBP", lossless=True),
    "bee/windows.bmp": encoded(photo(57, 77, 7), "BMP"),
    "cat/print.jpg": encoded(photo(58, 78, 8).convert("CMYK")),
    "cat/turned.jpg": encoded(photo(40, 60, 6), orientation=6),
    "cat/upside-down.jpg": encoded(photo(40, 60, 3), orientation=3),
    "v1.0/dot-in-the-folder.jpg": encoded(photo(59, 79, 9)),
}
FOR_FFCV = {"ant/plain.jpg", "ant/gray.JPEG", "cat/progressive.jpeg", "v1.0/dot-in-the-folder.jpg"}
VAL = {
    "bee/one.jpg": encoded(photo(20, 30, 10)),
    "dog/two.jpg": encoded(photo(21, 30, 11)),
}
CLASSES = ("ant", "bee", "cat", "dog", "v1.0")


def write_folder(root: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_folder(tmp_path / "data" / "train", TRAIN)
    write_folder(tmp_path / "data" / "val", VAL)
    return tmp_path / "data"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """An empty folder to write in."""
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def run(src: object, dst: Path, **options: object) -> None:
    pack(Options(src=str(src), dst=dst, **options))  # type: ignore[arg-type]


def key(path: str) -> str:
    return os.path.splitext(path)[0]


def upright(content: bytes) -> np.ndarray:
    """The pixels as Pillow has them, uint8 [H, W, 3]."""
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def assert_same_samples(source: Source, files: dict[str, bytes]) -> None:
    """Ids, order, upright sizes, labels and names of classes are those of a folder of these files."""
    index = source.index
    names = sorted(files)
    assert index.sample_ids.tolist() == [stable_id(key(name)) for name in names]
    sizes = [upright(files[name]).shape[:2] for name in names]
    assert list(zip(index.heights.tolist(), index.widths.tolist(), strict=True)) == sizes
    assert index.labels is not None
    classes = [name.split("/")[0] for name in names]
    assert [index.class_names[label] for label in index.labels] == classes
    assert index.labels.tolist() == [CLASSES.index(name) for name in classes]


# --- every byte, id, label and name -------------------------------------------------------------------------


def test_a_folder_as_shards(data: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(data, out / "shards")
    assert sorted(os.listdir(out / "shards")) == ["train-000000.tar", "val-000000.tar"]
    splits: list[tuple[str, dict[str, bytes]]] = [("train", TRAIN), ("test", VAL)]
    for split, files in splits:
        source = open_source(str(out / "shards"), split)  # type: ignore[arg-type]
        assert_same_samples(source, files)
        for number, name in enumerate(sorted(files)):
            assert source.read(number) == files[name], name
    with tarfile.open(out / "shards" / "train-000000.tar") as tar:
        assert "ant/really-png.png" in tar.getnames()  # named by what it is
        label = tar.extractfile("cat/print.cls")
        assert label is not None
        assert label.read() == b"2"
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "train: 12 images verified (12 kept), 0 undecodable left out"
    assert said[1] == "test: 2 images verified (2 kept), 0 undecodable left out"
    assert said[2].startswith(f"wrote {out / 'shards'}, ")


def test_a_folder_as_beton_keeps_what_ffcv_reads_and_the_pixels_of_all_else(data: Path, out: Path) -> None:
    run(data, out / "a.beton", split="train")
    assert os.listdir(out) == ["a.beton"]
    source = open_beton(str(out / "a.beton"), "train")
    assert_same_samples(source, TRAIN)
    assert source.index.class_names == CLASSES
    for number, name in enumerate(sorted(TRAIN)):
        stored = source.read(number)
        assert source.raw[number] == (name not in FOR_FFCV), name
        if name in FOR_FFCV:
            assert stored == TRAIN[name]
        else:
            np.testing.assert_array_equal(stored, upright(TRAIN[name]), err_msg=name)


@pytest.mark.parametrize("name", ["val.beton", "shards"])
def test_the_test_split_alone(name: str, data: Path, out: Path) -> None:
    run(data, out / name, split="test")
    assert_same_samples(open_source(str(out / name), "train"), VAL)
    with pytest.raises(NoSplitError):
        open_source(str(out / name), "test")


def test_from_container_to_container(data: Path, out: Path) -> None:
    run(data, out / "shards")
    run(out / "shards", out / "betons", format="beton")
    assert sorted(os.listdir(out / "betons")) == ["train.beton", "val.beton"]
    assert_same_samples(open_source(str(out / "betons" / "train.beton"), "test"), VAL)
    run(out / "betons", out / "again.beton", split="train")
    for where in ("betons", "again.beton"):
        source = open_source(str(out / where), "train")
        assert_same_samples(source, TRAIN)
        for number, name in enumerate(sorted(TRAIN)):
            np.testing.assert_array_equal(decode(source.read(number)), decode(TRAIN[name]))
    assert (out / "again.beton").read_bytes() == (out / "betons" / "train.beton").read_bytes()
    with pytest.raises(UserError, match="holds sample ids but no names"):
        run(out / "betons", out / "back")


def test_a_file_of_ffcv_as_shards(tmp_path: Path, out: Path) -> None:
    packed = (ROOT / "tests/pipelines/sources/data/ffcv.beton.xz").read_bytes()
    (tmp_path / "ffcv.beton").write_bytes(lzma.decompress(packed))
    run(tmp_path / "ffcv.beton", out / "shards")
    before, after = (
        open_beton(str(tmp_path / "ffcv.beton"), "train"),
        open_source(str(out / "shards"), "train"),
    )
    for name in ("sample_ids", "labels", "heights", "widths"):
        np.testing.assert_array_equal(getattr(after.index, name), getattr(before.index, name))
    for number in range(12):
        np.testing.assert_array_equal(decode(after.read(number)), decode(before.read(number)))


def test_a_heap_without_classes(tmp_path: Path, out: Path) -> None:
    names = [*(f"{n}.jpg" for n in range(3)), os.fsdecode(b"caf\xe9.jpg")]
    write_folder(tmp_path / "heap", dict.fromkeys(names, TRAIN["ant/plain.jpg"]))
    folder = open_source(str(tmp_path / "heap"), "train")
    for name in ("shards", "a.beton"):
        run(tmp_path / "heap", out / name)
        index = open_source(str(out / name), "train").index
        assert index.labels is None
        assert index.class_names == ()
        assert index.sample_ids.tolist() == folder.index.sample_ids.tolist()


def test_equal_input_gives_equal_bytes_on_any_number_of_threads(data: Path, out: Path) -> None:
    for container in ("shards", "beton"):
        for workers in (1, 4):
            run(data, out / f"{container}-{workers}", format=container, workers=workers, max_side=60)
        files = sorted(os.listdir(out / f"{container}-1"))
        assert files == sorted(os.listdir(out / f"{container}-4"))
        for file in files:
            one, other = (out / f"{container}-{workers}" / file for workers in (1, 4))
            assert one.read_bytes() == other.read_bytes()


# --- options ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("container", ["shards", "beton"])
def test_large_images_are_scaled_down_and_others_left_alone(
    container: str, tmp_path: Path, out: Path
) -> None:
    images = {
        "wide.jpg": encoded(photo(150, 300), quality=97),
        "tall.png": encoded(photo(301, 100, 1), "PNG"),
        "line.png": encoded(photo(1, 700, 2), "PNG"),
        "small.jpg": encoded(photo(64, 100, 3), quality=97),
    }
    images["turned.jpg"] = encoded(photo(40, 60, 6), orientation=6)
    write_folder(tmp_path / "data", images)
    run(tmp_path / "data", out / "x", format=container, max_side=100, quality=95)
    source = open_source(str(out / "x"), "train")
    sizes = dict(
        zip(sorted(images), zip(source.index.heights, source.index.widths, strict=True), strict=True)
    )
    assert sizes == {
        "wide.jpg": (50, 100),
        "tall.png": (100, 33),
        "line.png": (1, 100),
        "small.jpg": (64, 100),
        "turned.jpg": (60, 40),
    }
    for number, name in enumerate(sorted(images)):
        stored = source.read(number)
        if name == "small.jpg":
            assert stored == images[name]
        elif name != "turned.jpg":
            height, width = sizes[name]
            wanted = Image.fromarray(upright(images[name])).resize((width, height), Image.Resampling.LANCZOS)
            difference = np.abs(decode(stored).astype(int) - np.asarray(wanted))
            assert difference.mean() < 3, name  # JPEG of quality 95, smooth colors
            if name in ("wide.jpg", "tall.png"):
                assert not isinstance(stored, np.ndarray)
                assert bytes(stored[:3]) == b"\xff\xd8\xff"


def test_quality(tmp_path: Path, out: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    write_folder(tmp_path / "data", {"a.png": encoded(Image.fromarray(noise), "PNG")})
    errors = {}
    for quality in (30, 90):
        run(tmp_path / "data", out / f"{quality}.beton", raw_share=0, quality=quality)
        stored = open_beton(str(out / f"{quality}.beton"), "train").read(0)
        assert isinstance(stored, bytes)
        # libjpeg's scale: the first luminance step is 16 * (200 - 2 q) / 100, below 50 it is 16 * 50 / q.
        tables = Image.open(io.BytesIO(stored)).quantization  # type: ignore[attr-defined]
        assert tables[0][0] == {30: round(16 * 50 / 30), 90: round(16 * 20 / 100)}[quality]
        errors[quality] = np.abs(decode(stored).astype(int) - noise).mean()
    assert errors[90] < errors[30]


def many(tmp_path: Path, count: int = 60) -> Path:
    files = {f"{n:03}.jpg": encoded(photo(30, 40, n)) for n in range(count)}
    write_folder(tmp_path / "many", files)
    return tmp_path / "many"


def raw_ids(path: Path) -> set[int]:
    source = open_beton(str(path), "train")
    return set(source.index.sample_ids[source.raw].tolist())


def test_a_share_of_raw(tmp_path: Path, out: Path) -> None:
    data = many(tmp_path)
    for name, share in (("none", 0.0), ("half", 0.5), ("most", 0.9), ("all", 1.0)):
        run(data, out / f"{name}.beton", raw_share=share)
    none, half, most, everything = (
        raw_ids(out / f"{name}.beton") for name in ("none", "half", "most", "all")
    )
    assert (len(none), len(everything)) == (0, 60)
    assert 15 <= len(half) <= 45  # 4 standard deviations of 60 draws
    assert half < most < everything  # keyed by the sample: a larger share holds the smaller
    for number in range(0, 60, 2):
        (data / f"{number:03}.jpg").unlink()
    run(data, out / "rest.beton", raw_share=0.5)
    assert raw_ids(out / "rest.beton") == half & {stable_id(f"{n:03}") for n in range(1, 60, 2)}


def test_raw_share_zero_makes_all_a_jpeg_that_ffcv_reads(data: Path, out: Path) -> None:
    run(data, out / "a.beton", split="train", raw_share=0)
    source = open_beton(str(out / "a.beton"), "train")
    assert_same_samples(source, TRAIN)
    assert not source.raw.any()
    for number, name in enumerate(sorted(TRAIN)):
        if name in FOR_FFCV:
            assert source.read(number) == TRAIN[name]
            continue
        wanted = upright(TRAIN[name])
        pillows = upright(encoded(Image.fromarray(wanted), quality=90))  # 4:2:0 too
        lost, pillow_loses = (
            np.abs(image.astype(int) - wanted).mean() for image in (decode(source.read(number)), pillows)
        )
        assert lost < 1.1 * pillow_loses + 0.1, name


def test_a_jpeg_larger_than_its_pixels_is_stored_as_pixels(tmp_path: Path, out: Path) -> None:
    write_folder(tmp_path / "data", {"a.jpg": encoded(photo(6, 6))})
    run(tmp_path / "data", out / "a.beton")
    source = open_beton(str(out / "a.beton"), "train")
    assert source.raw.all()
    np.testing.assert_array_equal(source.read(0), upright(encoded(photo(6, 6))))


def test_shards_are_closed_when_they_are_full(tmp_path: Path, out: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (7, 350, 350, 3), dtype=np.uint8)
    files = {f"{n}.png": encoded(Image.fromarray(pixels), "PNG") for n, pixels in enumerate(noise)}
    assert all(350_000 < len(content) < 400_000 for content in files.values())
    write_folder(tmp_path / "data", files)
    run(tmp_path / "data", out / "shards", shard_mb=1)
    assert sorted(os.listdir(out / "shards")) == [f"train-{n:06d}.tar" for n in range(3)]
    source = open_source(str(out / "shards"), "train")
    shards = [source.describe(number).split(":")[0][-5] for number in range(7)]
    assert shards == ["0", "0", "0", "1", "1", "1", "2"]  # three make more than a megabyte


# --- bad input ----------------------------------------------------------------------------------------------


def test_undecodable_images_are_named_and_left_out(
    tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = many(tmp_path, 20)
    good = (data / "000.jpg").read_bytes()
    (data / "003.jpg").write_bytes(good[: len(good) // 2])
    (data / "019.jpg").write_bytes(b"no image")
    for name in ("shards", "a.beton"):
        run(data, out / name)
        ids = open_source(str(out / name), "train").index.sample_ids.tolist()
        assert ids == [stable_id(f"{n:03}") for n in range(20) if n not in (3, 19)]
        said = capsys.readouterr()
        assert "train: 18 images verified (18 kept), 2 undecodable left out" in said.out
        complaints = [line for line in said.err.splitlines() if line.startswith("left out: ")]
        assert [Path(line.split(": ")[1]).name for line in complaints] == ["003.jpg", "019.jpg"]


def test_too_many_undecodable_images_are_an_error(tmp_path: Path, out: Path) -> None:
    data = many(tmp_path, 20)
    for number in range(11):
        (data / f"{number:03}.jpg").write_bytes(b"\xff\xd8\xff no image")
    with pytest.raises(UserError, match="more than 10 images cannot be decoded"):
        run(data, out / "a.beton")
    assert os.listdir(out) == []
    for number in range(10, 20):
        (data / f"{number:03}.jpg").unlink()
    with pytest.raises(UserError, match="none of the images"):
        run(data, out / "shards")
    assert os.listdir(out) == []


@pytest.mark.parametrize(
    ("dst", "options", "message"),
    [
        ("there", {}, "there exists already"),
        ("there.beton", {}, r"there\.beton exists already"),
        ("no/folder", {}, "no such folder: .*no"),
        ("a.beton", {}, r"train and a test split, and a \.beton holds one"),
        ("a.beton", {"format": "shards"}, r"ends in \.beton"),
        ("a", {"raw_share": 0.5}, r"--raw-share is for \.beton"),
        ("a", {"src": "missing"}, "no such folder or file"),
        ("a", {"src": "train", "split": "test"}, "no test split"),
    ],
)
def test_mistakes_are_named_in_one_line(
    dst: str, options: dict[str, object], message: str, data: Path, out: Path
) -> None:
    (out / "there").mkdir()
    (out / "there.beton").touch()
    src = data / str(options.pop("src", ""))
    with pytest.raises(UserError, match=message) as caught:
        run(src, out / dst, **options)
    assert "\n" not in str(caught.value)
    assert sorted(os.listdir(out)) == ["there", "there.beton"]


@pytest.mark.parametrize(
    ("names", "named"),
    [(["a.jpg", "b.v2.jpg"], r"b\.v2\.jpg"), (["a.jpg", "a.png"], r"a\.png"), (["x.jpg", "./.a.jpg"], "")],
)
def test_names_that_shards_cannot_hold(names: list[str], named: str, tmp_path: Path, out: Path) -> None:
    write_folder(tmp_path / "data", dict.fromkeys(names, TRAIN["ant/plain.jpg"]))
    run(tmp_path / "data", out / "a.beton")
    folder = open_source(str(tmp_path / "data"), "train")
    stored = open_source(str(out / "a.beton"), "train")
    assert stored.index.sample_ids.tolist() == folder.index.sample_ids.tolist()
    if not named:  # hidden files are no samples
        run(tmp_path / "data", out / "shards")
        return
    with pytest.raises(UserError, match=rf"{named} cannot keep its sample id.*write a \.beton"):
        run(tmp_path / "data", out / "shards")
    assert os.listdir(out) == ["a.beton"]


def test_an_image_too_long_for_ffcv(tmp_path: Path, out: Path) -> None:
    write_folder(tmp_path / "data", {"long.png": encoded(Image.new("RGB", (65536, 1)), "PNG")})
    with pytest.raises(UserError, match=r"long\.png has 65536 pixels a side.*--max-side"):
        run(tmp_path / "data", out / "a.beton")
    run(tmp_path / "data", out / "a.beton", max_side=1000)
    assert open_beton(str(out / "a.beton"), "train").index.widths.tolist() == [1000]


# --- nothing half-made --------------------------------------------------------------------------------------


def flip_a_byte_of_the_first_image(path: Path) -> None:
    data = path.read_bytes()
    place = data.index(TRAIN["ant/plain.jpg"]) + 400
    path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])


def change_a_label(path: Path) -> None:
    with tarfile.open(path) as tar:
        place = tar.getmember("ant/plain.cls").offset_data
    data = path.read_bytes()
    path.write_bytes(data[:place] + b"3" + data[place + 1 :])


@pytest.mark.parametrize(
    ("name", "writer", "damage", "message"),
    [
        ("a.beton", "write_beton", flip_a_byte_of_the_first_image, r"plain\.jpg reads differently"),
        ("shards", "write_shard", flip_a_byte_of_the_first_image, r"plain\.jpg reads differently"),
        ("shards", "write_shard", change_a_label, "labels"),
    ],
)
def test_what_was_not_written_right_is_found(
    name: str,
    writer: str,
    damage: Callable[[Path], None],
    message: str,
    data: Path,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A disk that returns other bytes than it was given."""
    import pipelines.packing.writing as module

    original = getattr(module, writer)

    def write_and_damage(path: Path, *arguments: object, **options: object) -> None:
        original(path, *arguments, **options)
        damage(path)

    monkeypatch.setattr(module, writer, write_and_damage)
    with pytest.raises(UserError, match=message):
        run(data, out / name, split="train")
    assert os.listdir(out) == []


@pytest.mark.parametrize("name", ["a.beton", "shards"])
def test_a_full_disk(name: str, data: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("pipelines.files.atomic.os.fsync", full)
    with pytest.raises(UserError, match=r"No space left on device.*nothing was kept") as caught:
        run(data, out / name, split="train")
    assert "\n" not in str(caught.value)
    assert os.listdir(out) == []


@pytest.mark.parametrize(
    ("signal_number", "status", "name"),
    [(signal.SIGINT, 130, "a.beton"), (signal.SIGTERM, 143, "shards")],
)
def test_stopped_in_the_middle(signal_number: int, status: int, name: str, tmp_path: Path, out: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (1500, 1500, 3), dtype=np.uint8)
    content = bytes(simplejpeg.encode_jpeg(pixels, quality=90))
    write_folder(tmp_path / "data", {f"{n:04}.jpg": content for n in range(200)})  # many seconds of work
    command = [
        sys.executable,
        "-m",
        "pipelines.pack",
        str(tmp_path / "data"),
        str(out / name),
        "--workers",
        "1",
    ]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # a shell's background job, which these tests may be, ignores Ctrl-C and hands that on
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    while not any(path.stat().st_size > 100_000 for path in out.rglob("*.part/.*.part")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal_number)
    said, complaints = process.communicate(timeout=30)
    assert process.returncode == status
    assert said == b""
    assert b"Traceback" not in complaints
    assert os.listdir(out) == []


def test_help_imports_nothing_that_reads_images() -> None:
    words = [sys.executable, "-X", "importtime", "-m", "pipelines.pack", "--help"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "tyro" in imported
    assert not imported & {"numba", "numpy", "PIL", "torch"}


def test_the_command(data: Path, out: Path) -> None:
    def command(*arguments: object) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-m", "pipelines.pack", *map(str, arguments)]
        return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)

    done = command(data, out / "train.beton", "--split", "train", "--max-side", "60", "--raw-share", "0.5")
    assert (done.returncode, done.stderr) == (0, "")
    assert isinstance(open_source(str(out / "train.beton"), "train"), BetonSource)
    again = command(data, out / "train.beton", "--split", "train")
    assert again.returncode == 2
    assert again.stdout == ""
    assert again.stderr == f"error: {out / 'train.beton'} exists already: remove it or choose another name\n"
