"""benchmarks.views: its renderers do the same work, and its results are what was measured."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import views
from benchmarks.contenders import (
    ON_GPU_ONLY,
    OTHER_RENDERERS,
    OWN_RENDERERS,
    RENDERERS_LEAVE_OUT,
    Decoded,
    Render,
    open_renderer,
)
from benchmarks.contenders.own_renderers import tables
from benchmarks.images import generated_jpeg
from benchmarks.report import markdown
from benchmarks.result import result_of
from benchmarks.turns import Taken, Turn
from benchmarks.views import bytes_per_view, row_of
from pipelines.ops import ColorJitter, Flip, Grayscale, RandomResizedCrop, Solarize
from pipelines.views import VIEW_PARAMETERS, ViewSpec, draw
from tests.helpers import ROOT
from tests.helpers.certain_views import CERTAIN, PLAIN, SIZE, assert_operation, picture

pytestmark = pytest.mark.filterwarnings("ignore")  # of packages that may be installed: DALI, kornia

CPU, GPU = torch.device("cpu"), torch.device("cuda")
COUNT, VIEWS = 3, 2
PICTURE = picture(24)
BUSY = replace(
    PLAIN,
    flip=Flip(p=0.5),
    jitter=ColorJitter(p=0.8, brightness=0.4, contrast=0.4, saturation=0.4),
    grayscale=Grayscale(p=0.2),
    solarize=Solarize(p=0.2),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("views")
    for number in range(2):
        (path / f"{number}.jpg").write_bytes(generated_jpeg(number, 120, 160))
    return path


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.turns._LEAST_S", {"cuda": 0.0, "cpu": 0.0})


@pytest.fixture
def _without_kornia(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "benchmarks.contenders.kornia", raising=False)
    monkeypatch.setitem(sys.modules, "kornia", None)


@pytest.mark.usefixtures("_quick", "_without_kornia")
def test_the_command_measures_what_is_at_hand_and_says_what_is_not(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    path = tmp_path / "views.json"
    against = ("torchvision", "kornia", "cvcuda", "triton_augment")
    argv = ["--data", str(folder), "--against", *against, "--json", str(path)]
    assert views.main(argv) == 0
    result = json.loads(path.read_text())
    assert list(result) == ["machine", "versions", "commit", "command", "rows"]
    assert result["command"].startswith("python -m benchmarks.views --data")
    assert [row["contender"] for row in result["rows"]] == ["reference", "numba", "torchvision"]
    for row in result["rows"]:
        assert set(row) == set(views.Row.__dataclass_fields__)
        assert (row["device"], row["dtype"], row["images"], row["views"]) == ("cpu", "float32", 2, 2)
        low, high = row["core_us_quartiles"]
        assert 0 < low <= row["core_us_per_view"] <= high
        assert 0 < row["views_per_s"] < 2e6 / low
        assert row["gpu_us_per_view"] is row["share_of_bound"] is None
    printed = capsys.readouterr()
    for name in ON_GPU_ONLY:
        assert printed.err.count(f"{name} is left out: it needs a CUDA device") == 1
    assert printed.err.count("kornia is left out, not installed") == 1
    assert "| numba | cpu | 2 x 2, float32 |" in printed.out
    assert "kornia |" not in printed.out
    assert "byte bound:" not in printed.out.lower().replace("share of the byte bound:", "")


@pytest.mark.gpu
def test_on_a_gpu_there_are_shares_of_the_byte_bound(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "views.json"
    assert views.main(["--data", str(folder), "--against", "torchvision", "--json", str(path)]) == 0
    rows = json.loads(path.read_text())["rows"]
    assert [(row["contender"], row["device"]) for row in rows] == [
        *(("reference", "cpu"), ("numba", "cpu"), ("triton", "cuda")),
        *(("torchvision", "cpu"), ("torchvision", "cuda")),
    ]
    for row in rows:
        if row["device"] == "cuda":
            assert 0 < row["gpu_us_per_view"] == pytest.approx(1e6 / row["views_per_s"], rel=1e-3)
            assert row["share_of_bound"] > 0
            assert 50 < row["copied_gb_per_s"] < 50_000


def opened(name: str, spec: ViewSpec, device: torch.device, images: Sequence[np.ndarray]) -> Render:
    try:
        return open_renderer(name, Decoded(images=images, views=VIEWS, spec=spec, device=device))
    except ImportError as error:
        pytest.skip(f"{name} is not installed: {error}")


def levels(batch: Sequence[torch.Tensor], spec: ViewSpec) -> np.ndarray:
    """Normalized views as levels, float64 [K, B, 3, S, S]."""
    normalized = torch.stack([view.cpu().double() for view in batch])
    std, mean = (torch.tensor(numbers).view(3, 1, 1) for numbers in (spec.std, spec.mean))
    return (255 * (normalized * std + mean)).numpy()


ON_CPU = [(name, CPU) for name in ("reference", "numba", *OTHER_RENDERERS) if name not in ON_GPU_ONLY]
ON_GPU = [(name, GPU) for name in ("triton", *OTHER_RENDERERS)]
EVERYWHERE = [
    *(pytest.param(*case, id=f"{case[0]}-cpu") for case in ON_CPU),
    *(pytest.param(*case, id=f"{case[0]}-gpu", marks=pytest.mark.gpu) for case in ON_GPU),
]


@pytest.mark.parametrize("operation", CERTAIN)
@pytest.mark.parametrize(("name", "device"), EVERYWHERE)
def test_operations_are_the_same(name: str, device: torch.device, operation: str) -> None:
    if operation in RENDERERS_LEAVE_OUT.get(name, ()):
        pytest.skip(f"{name} has no {operation}")
    spec = CERTAIN[operation]
    batch = opened(name, spec, device, [PICTURE] * COUNT)(2)
    assert len(batch) == VIEWS
    assert {view.shape for view in batch} == {(COUNT, 3, SIZE, SIZE)}
    assert {view.device.type for view in batch} == {device.type}
    exact = name in (*OWN_RENDERERS, "torchvision")
    assert_operation(levels(batch, spec), PICTURE, operation, exact=exact)


@pytest.mark.parametrize(("name", "device"), EVERYWHERE)
def test_every_batch_is_drawn_anew(name: str, device: torch.device) -> None:
    images = [PICTURE] * 8
    render = opened(name, BUSY, device, images)
    first, second = (levels(render(times), BUSY) for times in (1, 2))
    assert np.abs(first[0] - first[1]).mean() > 4  # of the two views
    assert np.abs(first - second).mean() > 4  # of one batch and the next


@pytest.mark.parametrize("name", ["kornia", "dali", "torchvision", "numba"])
def test_images_may_differ_in_size(name: str) -> None:
    images = [PICTURE, PICTURE[:40, :60].copy()]
    batch = opened(name, PLAIN, CPU, images)(1)
    assert {view.shape for view in batch} == {(2, 3, SIZE, SIZE)}


def test_triton_renders_the_drawn_tables() -> None:
    """In Triton's interpreter, which has to be chosen before anything is imported."""
    script = """
import numpy as np, torch
from benchmarks.contenders import Decoded, open_renderer
from pipelines.ops import ColorJitter
from pipelines.views import ViewSpec
images = [np.random.default_rng(n).integers(0, 256, (20 + n, 30, 3), np.uint8) for n in range(2)]
jitter = ColorJitter(p=1, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)
spec = ViewSpec(size=16, jitter=jitter)
decoded = Decoded(images=images, views=2, spec=spec, device=torch.device("cpu"))
ours, wanted = (torch.stack(list(open_renderer(n, decoded)(2))) for n in ("triton", "reference"))
assert ours.dtype == torch.bfloat16
assert ours.shape == wanted.shape == (2, 2, 3, 16, 16)
assert (ours.float() - wanted).abs().max() < 0.02, (ours.float() - wanted).abs().max()
"""
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=environment, check=True)


def test_triton_augment_draws_boxes_inside_the_image() -> None:
    """Its affine map takes the view's corners to those of a square of the image, as large as is asked."""
    pytest.importorskip("triton_augment", reason="triton-augment is not installed")
    from triton_augment.functional import _prepare_affine_matrix_only

    from benchmarks.contenders.triton_augment import draw_parameters

    height, width, count = 80, 120, 300
    spec = replace(BUSY, crop=RandomResizedCrop(scale=(0.1, 0.3), ratio=(1.0, 1.0)))
    drawn = draw_parameters(spec, count, height, width, CPU)
    matrices = _prepare_affine_matrix_only(
        count, CPU, height, width, 0.0, drawn["translate"], drawn["scale"], [0.0, 0.0], None
    ).view(count, 2, 3)
    center = torch.tensor([width / 2, height / 2])
    corners = [
        matrices[:, :, :2] @ (torch.tensor([x, x]) - center) + matrices[:, :, 2] + center
        for x in (0.0, float(SIZE))
    ]
    first, last = (corner.double().numpy() for corner in corners)
    assert (first >= -1e-2).all()
    assert (last <= np.array([width, height]) + 1e-2).all()
    np.testing.assert_allclose((last - first)[:, 0], (last - first)[:, 1], atol=1e-2)
    areas = ((last - first)[:, 0] / np.sqrt(height * width)) ** 2
    assert 0.1 <= areas.min() + 1e-3 < 0.11
    assert 0.29 < areas.max() <= 0.3 + 1e-3
    for name, strength in (("brightness", 0.4), ("contrast", 0.4), ("saturation", 0.4)):
        factors = drawn[f"{name}_factor"]
        assert 1 - strength <= factors.min() < factors.max() <= 1 + strength
        assert 0.65 < (factors != 1).double().mean() < 0.95  # 0.8, by 6 standard deviations
    assert 0.3 < drawn["flip_horizontal"].double().mean() < 0.7
    assert 0.06 < drawn["grayscale"].double().mean() < 0.34


def test_triton_augment_renders_as_the_reference_does() -> None:
    """In Triton's interpreter, its check for a CUDA device taken out."""
    pytest.importorskip("triton_augment", reason="triton-augment is not installed")
    script = """
import torch, triton_augment.functional
from benchmarks.contenders import Decoded, open_renderer
from tests.benchmarks.test_benchmark_views import PICTURE, levels
from tests.helpers.certain_views import CERTAIN, assert_operation
triton_augment.functional._validate_image_tensor = lambda tensor, name: None
for operation in ("plain", "flip", "grayscale"):
    spec = CERTAIN[operation]
    decoded = Decoded(images=[PICTURE] * 2, views=2, spec=spec, device=torch.device("cpu"))
    batch = open_renderer("triton_augment", decoded)(1)
    assert [view.shape for view in batch] == [(2, 3, spec.size, spec.size)] * 2
    assert {view.dtype for view in batch} == {torch.float16}
    assert_operation(levels(batch, spec), PICTURE, operation, exact=False)
"""
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=environment, check=True)


def test_tables_are_drawn_in_the_order_of_epochs() -> None:
    images = [np.zeros((20, 30, 3), np.uint8), np.zeros((50, 40, 3), np.uint8)]
    decoded = Decoded(images=images, views=2, spec=BUSY, device=CPU)
    for epoch, table in enumerate(tables(decoded, 3)):
        wanted = draw(
            BUSY,
            seed=0,
            epoch=epoch,
            samples=np.arange(2),
            heights=np.array([20, 50], np.int32),
            widths=np.array([30, 40], np.int32),
            views=range(2),
        )
        np.testing.assert_array_equal(table, wanted)


def test_bytes_of_a_view() -> None:
    """By hand, of the table in ``pipelines.render.gpu``: 301,056, 602,112 and 1,204,224 at 224 pixels."""
    table = np.zeros((2, 2), VIEW_PARAMETERS)
    table["height"], table["width"], table["contrast"] = 100, 200, 1
    table["contrast"][0] = 0.7
    table["blur_sigma"][:, 0] = 1.5
    one_pass = 3 * 100 * 200 + 301_056
    assert bytes_per_view(table[1, 1], 224) == one_pass
    assert bytes_per_view(table[0, 1], 224) == one_pass + 602_112
    assert bytes_per_view(table[1, 0], 224) == one_pass + 1_204_224
    assert bytes_per_view(table, 224) == one_pass + (602_112 + 1_204_224) / 2


def test_a_row_of_a_gpu() -> None:
    turn = Turn("triton", GPU, lambda times: None, 100)
    taken = [Taken(clock_s=clock * 1e-6, core_s=7e-6) for clock in (12, 8, 10, 9, 30)]
    row = row_of(turn, "bfloat16", taken, images=5, views=2, moved=1.6e6, gb_per_s=4000.0)
    assert row.gpu_us_per_view == 1
    assert row.gpu_us_quartiles == (0.9, 1.2)
    assert row.views_per_s == 1e6
    assert row.core_us_per_view == 0.7
    assert row.share_of_bound == 0.4  # 1.6 MB at 4 MB/us: 0.4 us


def test_a_table_of_renderers() -> None:
    taken = [Taken(clock_s=2e-3, core_s=1e-3)] * 5
    rows = [
        vars(row_of(Turn(name, device, print, 1), "float32", taken, 5, 2, 1.6e6, 4000.0))
        for name, device in (("numba", CPU), ("kornia", GPU), ("triton_augment", GPU))
    ]
    assert markdown(result_of("views", [], rows)).endswith(
        "\n\n"
        "| renderer | device | views | views per second | core-us | GPU-us |\n"
        "| --- | --- | --- | --- | --- | --- |\n"
        "| numba | cpu | 5 x 2, float32 | 5,000 | 100.0 |  |\n"
        "| kornia | cuda | 5 x 2, float32 | 5,000 | 100.0 | 200.00 (0.2%) |\n"
        "| triton_augment | cuda | 5 x 2, float32 | 5,000 | 100.0 | 200.00 (0.2%) |\n"
        "\n"
        "The byte bound: 1.60 MB per view; the GPU copies at 4,000 GB/s.\n"
        "\n"
        "Left out by triton_augment: aspect ratio, hue, blur, solarize."
    )
    older = [{name: value for name, value in row.items() if name != "leaves_out"} for row in rows]
    assert "Left out" not in markdown(result_of("views", [], older))


def test_a_renderer_that_fails_is_named_and_ours_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(name: str, decoded: Decoded) -> Render:
        def render(times: int) -> Sequence[torch.Tensor]:
            raise RuntimeError("out of patience\nand more")

        return render

    monkeypatch.setattr(views, "open_renderer", broken)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert views.measure([PICTURE], 1, ["dali"]) == []
    told = capsys.readouterr().err
    assert told.count("dali is left out, it failed on cpu: RuntimeError: out of patience\n") == 1
    with pytest.raises(RuntimeError, match="out of patience"):
        views.measure([PICTURE], 1, ["numba"])
