"""Contenders do the same work: each operation alone, made certain, is what fastssl's reference says it is."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2.functional import resize

from benchmarks.contenders import LEAVES_OUT, OF_KINDS, OTHERS, Pass, Work, open_contender
from benchmarks.contenders.detection import DETECTION_CASES, SHORT_SIDES
from benchmarks.images import IN_SHARD, shards_of, write_parquet, write_shards
from benchmarks.object_storage import object_storage, upload
from pipelines.command.errors import UserError
from pipelines.ops import ColorJitter, Grayscale, Solarize
from pipelines.render import reference
from pipelines.views import IMAGENET_MEAN, IMAGENET_STD, ViewSpec
from tests.helpers.certain_views import CERTAIN, PLAIN, SIDE, SIZE, assert_operation, picture, reference_view

pytestmark = pytest.mark.filterwarnings("ignore")  # of packages that may be installed: DALI, FFCV

COUNT, VIEWS = 3, 2
LOADERS = {"fastssl": "views"} | {
    name: LEAVES_OUT.get(name, "views") for name in OTHERS if LEAVES_OUT.get(name) != "pixels"
}
EXACT = ("fastssl", "torchvision")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("contenders") / "images"
    path.mkdir()
    for number in range(COUNT):
        Image.fromarray(picture(12)).save(path / f"{number}.jpg", quality=100, subsampling=0)
    return path


def decoded(folder: Path, name: str = "0.jpg") -> np.ndarray:
    """The picture as Pillow reads it from its JPEG, uint8 [SIDE, SIDE, 3]."""
    with Image.open(folder / name) as image:
        return np.array(image)


def opened(name: str, output: str, work: Work) -> Pass:
    try:
        return open_contender(name, output, work)
    except ImportError as error:
        pytest.skip(f"{name} is not installed: {error}")


def views_of(name: str, output: str, folder: Path, spec: ViewSpec, views: int = VIEWS) -> np.ndarray:
    """uint8 [K, N, S, S, 3] of one pass."""
    run = opened(name, output, Work(folder=folder, views=views, batch_size=2, spec=spec))
    batches = [np.stack([np.stack(list(view)) for view in batch]) for batch in run()]
    return np.concatenate(batches, axis=1)


@pytest.mark.parametrize("operation", CERTAIN)
@pytest.mark.parametrize("name", LOADERS)
def test_operations_are_the_same(name: str, operation: str, folder: Path) -> None:
    if name == "ffcv" and operation not in ("plain", "flip"):
        pytest.skip("FFCV has no such operation")
    views = views_of(name, LOADERS[name], folder, CERTAIN[operation])
    assert views.dtype == np.uint8
    assert views.shape[0] == VIEWS
    assert views.shape[1] >= COUNT
    assert views.shape[2:] == (SIZE, SIZE, 3)
    channels_first = views.transpose(0, 1, 4, 2, 3)
    assert_operation(channels_first, decoded(folder), operation, exact=name in EXACT)


@pytest.mark.parametrize("operation", ["plain", "flip"])
def test_crops_are_views_of_crop_and_flip_alone(operation: str, folder: Path) -> None:
    busy = replace(
        CERTAIN[operation],
        jitter=ColorJitter(p=1.0),
        grayscale=Grayscale(p=1.0),
        blur=replace(CERTAIN[operation].blur, p=1.0),
        solarize=Solarize(p=1.0),
    )
    crops = views_of("fastssl", "crops", folder, busy)
    np.testing.assert_array_equal(crops, views_of("fastssl", "views", folder, CERTAIN[operation]))


def plain_view(folder: Path) -> np.ndarray:
    """float64 [S, S, 3] in levels."""
    return reference_view(decoded(folder), PLAIN).transpose(1, 2, 0)


def luma(view: np.ndarray) -> np.ndarray:
    return view @ np.array([0.299, 0.587, 0.114])


def hue(view: np.ndarray) -> float:
    """Of the mean difference between a corner of the picture and the rest, in turns."""
    red, green, blue = view[-8:, -8:].mean((0, 1))
    return np.arctan2(np.sqrt(3) * (green - blue), 2 * red - green - blue) / (2 * np.pi)


JITTER: dict[str, Callable[[np.ndarray], float]] = {
    "brightness": np.mean,
    "contrast": lambda view: luma(view).std(),
    "saturation": lambda view: np.abs(view - luma(view)[..., None]).mean(),
}


@pytest.mark.parametrize("part", JITTER)
@pytest.mark.parametrize("name", [name for name in LOADERS if name != "ffcv"])
def test_jitter_is_as_strong(name: str, part: str, folder: Path) -> None:
    strength: dict[str, Any] = {part: 0.4}
    spec = replace(PLAIN, jitter=ColorJitter(p=1.0, **strength))
    views = views_of(name, LOADERS[name], folder, spec, views=8).reshape(-1, SIZE, SIZE, 3)
    factors = np.array([JITTER[part](view) for view in views]) / JITTER[part](plain_view(folder))
    assert 0.58 < factors.min() < factors.max() < 1.42
    assert np.ptp(factors) > 0.25  # less: once in 10 million runs


@pytest.mark.parametrize("name", [name for name in LOADERS if name != "ffcv"])
def test_hue_turns_as_far(name: str, folder: Path) -> None:
    spec = replace(PLAIN, jitter=ColorJitter(p=1.0, hue=0.1))
    views = views_of(name, LOADERS[name], folder, spec, views=8).reshape(-1, SIZE, SIZE, 3)
    turns = np.array([hue(view) for view in views]) - hue(plain_view(folder))
    turns -= turns.round()
    assert np.abs(turns).max() < 0.13
    assert np.ptp(turns) > 0.06


@pytest.mark.parametrize(
    "name", ["fastssl", "simplejpeg", "torchvision", "pillow", "opencv", "dali", "nvimgcodec"]
)
def test_decoders_decode(name: str, folder: Path) -> None:
    run = opened(name, "decode", Work(folder=folder, views=1, batch_size=2))
    wanted = decoded(folder).astype(int)
    images = [np.array(image) for (batch,) in run() for image in batch]
    assert len(images) >= COUNT
    for image in images:
        assert np.abs(image - wanted).max() <= 2


def test_pixels_are_the_decoded_images(folder: Path) -> None:
    run = open_contender("fastssl", "pixels", Work(folder=folder, views=2, batch_size=2))
    images = [image for (batch,) in run() for image in batch]
    assert len(images) == COUNT
    for image in images:
        np.testing.assert_array_equal(image, decoded(folder))


def test_a_pass_can_be_repeated(folder: Path) -> None:
    for name in ("fastssl", "torchvision", "pillow"):
        run = open_contender(name, "views", Work(folder=folder, views=1, batch_size=2, spec=PLAIN))
        first, second = (np.concatenate([np.array(batch) for batch in run()], axis=1) for _ in range(2))
        np.testing.assert_array_equal(first, second)


def test_the_stubbed_loader_makes_views_of_one_pixel() -> None:
    run = open_contender("stubbed", "views", Work(folder=Path(), views=2, threads=2))
    batch = next(run())
    assert torch.tensor(np.array(batch)).shape == (2, 64, 1, 1, 3)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("output", ["pixels", "decode"])
@pytest.mark.parametrize(("name", "levels"), [("spdl", 16), ("nvimgcodec", 0)])
def test_those_that_only_decode_decode_every_file_in_order(
    name: str, levels: int, output: str, threads: int, numbered: Path
) -> None:
    run = opened(name, output, Work(folder=numbered, views=1, batch_size=8, threads=threads))
    for _ in range(2):
        images = [np.array(image) for batch in run() for image in batch[0]]
        assert len(images) == IN_SHARD + 3
        assert (np.diff([image.mean() for image in images]) > 0).all()
        for number, image in enumerate(images):
            assert np.abs(image.astype(int) - decoded(numbered, f"{number:02}.jpg")).max() <= levels


def test_nvimgcodec_refuses_what_it_cannot_decode(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.jpg").write_bytes((folder / "0.jpg").read_bytes()[:300])
    for output in ("decode", "pixels"):
        run = opened("nvimgcodec", output, Work(folder=tmp_path, views=1))
        with pytest.raises(ValueError, match="nvImageCodec cannot decode an image"):
            list(run())


@pytest.mark.parametrize(("name", "output"), DETECTION_CASES)
def test_detection_shows_whole_images_resized_and_mirrored(name: str, output: str, folder: Path) -> None:
    """Shrunk again, each image is the picture or its mirror image, of one of the sizes."""
    batches = [batch[0] for batch in open_contender(name, output, Work(folder=folder, views=1))()]
    images = [torch.as_tensor(image).float() for batch in batches for image in batch]
    assert len(images) == COUNT
    picture = torch.from_numpy(decoded(folder)).permute(2, 0, 1).float()
    if output == "detection":
        picture = reference.normalize(picture / 255, IMAGENET_MEAN, IMAGENET_STD)
    for image in images:
        side = int(image[0].any(0).sum())  # the rest is padding
        assert side in SHORT_SIDES
        assert not image[:, side:].any()
        shrunk = resize(image[:, :side, :side], [SIDE, SIDE], antialias=True)
        differences = [float((shrunk - each).abs().mean()) for each in (picture, picture.flip(2))]
        assert min(differences) < 0.05 * float(picture.std())
        assert max(differences) > 0.2 * float(picture.std())


def test_tar_shards_give_the_views_of_their_files(folder: Path) -> None:
    write_shards(folder)
    spec = ViewSpec(size=SIZE)
    of_files, of_tar = (views_of("fastssl", output, folder, spec) for output in ("views", "tar"))
    np.testing.assert_array_equal(of_tar, of_files)


@pytest.fixture(scope="module")
def numbered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of gray images, each of a level of its own, more than a shard holds."""
    path = tmp_path_factory.mktemp("numbered") / "images"
    path.mkdir()
    for number in range(IN_SHARD + 3):
        Image.new("RGB", (SIDE, SIDE), (7 * number,) * 3).save(path / f"{number:02}.jpg", quality=100)
    write_shards(path)
    return path


@pytest.mark.parametrize(
    ("name", "kind"), [(name, kind) for kind, names in OF_KINDS.items() for name in ("fastssl", *names)]
)
def test_each_image_of_large_files_is_shown_once_a_pass(name: str, kind: str, numbered: Path) -> None:
    with ExitStack() as stack:
        try:
            if kind == "parquet":
                write_parquet(numbered)
            elif kind == "s3":
                stack.enter_context(object_storage())
                upload(shards_of(numbered))
            run = opened(name, kind, Work(folder=numbered, views=VIEWS, batch_size=8, spec=PLAIN))
        except UserError as error:
            if "pip install" not in str(error):
                raise
            pytest.skip(f"not installed: {error}")
        for _ in range(2):
            levels = [np.array(batch[0])[:, 0, 0, 0] for batch in run()]
            assert sorted(np.concatenate(levels).tolist()) == [7 * i for i in range(IN_SHARD + 3)]
