"""One conformance test for every backend that shows real images, and what each promises beside it."""

import shutil
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
import torch

from pipelines.backends.backend import BACKENDS, CpuOutput, LoaderConfig
from pipelines.backends.choose import choose_pipeline, open_loader
from pipelines.backends.resident import DecodedSource, decode_all
from pipelines.batch import Batch
from pipelines.command.errors import UserError
from pipelines.decode.bad_images import BadImages
from pipelines.pack import Options, pack
from pipelines.plan.order import permute
from pipelines.plan.plan import Plan, evaluation_plan
from pipelines.sources.beton.beton import open_beton
from pipelines.sources.beton.format import read_table
from tests.helpers.loader_checks import GROUPS, assert_follows_the_keys, assert_same, copied, numbers_of
from tests.helpers.memory_source import MemorySource, pixels_of

COUNT, BATCH = 14, 6
TRAINING = Plan(count=COUNT, batch_size=BATCH, batches_per_epoch=2, seed=3)
DEVICES = [
    torch.device("cpu"),
    pytest.param(torch.device("cuda"), marks=pytest.mark.gpu),
]
needs_dali = pytest.mark.skipif(
    find_spec("nvidia") is None or find_spec("nvidia.dali") is None, reason="DALI is not installed: .[dali]"
)
needs_ffcv = pytest.mark.skipif(find_spec("ffcv") is None, reason="FFCV is not installed: .[ffcv]")
LARGEST, MEAN = 4, 1  # differences of views from the reference, in levels of 255
NEEDS = {"dali": needs_dali, "ffcv": needs_ffcv}
REAL = [pytest.param(name, marks=NEEDS.get(name, ())) for name in BACKENDS if name != "fake"]


@pytest.fixture(params=DEVICES, ids=str)
def device(request: pytest.FixtureRequest) -> torch.device:
    chosen: torch.device = request.param
    return chosen


@pytest.fixture(scope="module")
def beton(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The one kind of file that all backends read."""
    folder = tmp_path_factory.mktemp("beton")
    for number, content in enumerate(MemorySource(COUNT).files):
        path = folder / "images" / "abcde"[number * 7 % 5] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    pack(Options(src=str(folder / "images"), dst=folder / "images.beton", workers=1))
    return folder / "images.beton"


def cut_off(path: Path, row: int) -> None:
    """Overwrite the second half of an image in a file."""
    table = read_table(path)
    begin, length = int(table.offsets[row]), int(table.lengths[row])
    with path.open("r+b") as file:
        file.seek(begin + length // 2)
        file.write(bytes(length - length // 2))


def loading(source: Any, device: torch.device, plan: Plan = TRAINING, **options: Any) -> LoaderConfig:
    defaults: dict[str, Any] = {
        "groups": GROUPS,
        "start_step": 0,
        "stop_step": 5,
        "bad_images": BadImages(None, COUNT),
        "workers": 2,
        "prefetch": 1,
    }
    return LoaderConfig(source=source, device=device, plan=plan, **(defaults | options))


def batches(name: str, what: LoaderConfig) -> Iterator[Batch]:
    """In memory of their own, on the CPU."""
    with open_loader(replace(what, pipeline=name)) as loader:
        for batch in loader:
            yield copied(batch)


@pytest.mark.parametrize("name", REAL)
def test_every_backend_follows_the_keys_and_the_reference(
    name: str, beton: Path, device: torch.device
) -> None:
    source = open_beton(str(beton), "train")
    # FFCV decodes with the fast cosine transform (test_ffcv.py: to the bit), the others as Pillow
    decode = partial(simplejpeg.decode_jpeg, fastdct=True) if name == "ffcv" else pixels_of
    decoded = [decode(bytes(source.read(number))) for number in range(COUNT)]
    steps = []
    for batch in batches(name, loading(source, device)):
        steps.append((batch.step, batch.epoch))
        assert_follows_the_keys(batch, source, decoded.__getitem__, TRAINING, largest=LARGEST, mean=MEAN)
    assert steps == [(0, 0), (1, 0), (2, 1), (3, 1), (4, 2)]


@pytest.mark.parametrize("name", REAL)
def test_every_backend_goes_on_from_a_state(name: str, beton: Path, device: torch.device) -> None:
    source = open_beton(str(beton), "train")
    expected = list(batches(name, loading(source, device)))
    with open_loader(replace(loading(source, device), pipeline=name)) as loader:
        next(loader)
        next(loader)
        state = loader.state_dict()
    assert state == {"step": 2}
    for ours, theirs in zip(batches(name, loading(source, device, start_step=2)), expected[2:], strict=True):
        assert_same(ours, theirs)
    with open_loader(replace(loading(source, device, start_step=4), pipeline=name)) as loader:
        loader.load_state_dict(state)
        batch = next(loader)
        assert_same(replace(batch, views=tuple(views.cpu() for views in batch.views)), expected[2])


@pytest.mark.parametrize("name", REAL)
def test_every_backend_keeps_the_uneven_last_batch_of_an_evaluation(
    name: str, beton: Path, device: torch.device
) -> None:
    source = open_beton(str(beton), "train")
    seen = list(batches(name, loading(source, device, evaluation_plan(COUNT, BATCH), stop_step=3)))
    assert [len(batch) for batch in seen] == [6, 6, 2]
    assert [number for batch in seen for number in numbers_of(source, batch)] == list(range(COUNT))
    assert seen[-1].views[0].shape[0] == 4


@pytest.mark.parametrize("name", REAL)
def test_every_backend_shares_the_global_batch_among_ranks(
    name: str, beton: Path, device: torch.device
) -> None:
    source = open_beton(str(beton), "train")
    shares = [
        list(batches(name, loading(source, device, replace(TRAINING, rank=rank, world_size=2))))
        for rank in (0, 1)
    ]
    for step, whole in enumerate(batches(name, loading(source, device))):
        parts = [share[step] for share in shares]
        assert torch.equal(torch.cat([part.sample_ids for part in parts]).cpu(), whole.sample_ids.cpu())
        for k, view in enumerate(whole.each_view()):
            assert torch.equal(torch.cat([part.each_view()[k] for part in parts]), view)


@pytest.mark.parametrize("name", REAL)
def test_every_backend_shows_the_same_substitutes(
    name: str, beton: Path, tmp_path: Path, device: torch.device
) -> None:
    order = permute(3, 0, COUNT, np.arange(COUNT)).tolist()
    path = Path(shutil.copy(beton, tmp_path))
    for place in (1, 4, 5):
        cut_off(path, order[place])
    source = open_beton(str(path), "train")
    bad_images = BadImages(None, COUNT)
    what = loading(source, device, stop_step=1, bad_images=bad_images)
    (expected,) = batches("cpu", replace(what, bad_images=BadImages(None, COUNT)))
    (batch,) = batches(name, what)
    assert len(bad_images) == 3
    assert batch.labels is not None
    assert source.index.labels is not None
    assert batch.labels.tolist() == [
        source.index.labels[order[place]] for place in (0, 2, 2, 3, 6, 6)
    ]  # who stands in
    for ours, theirs in zip(batch.parameters, expected.parameters, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    for ours_views, theirs_views in zip(batch.views, expected.views, strict=True):
        assert (ours_views - theirs_views).abs().max() <= 2 * LARGEST / 255 / 0.224


@pytest.mark.parametrize("name", [pytest.param(name, marks=NEEDS.get(name, ())) for name in BACKENDS])
def test_a_loader_that_cannot_be_made_leaves_no_thread(name: str, beton: Path, device: torch.device) -> None:
    """Views that no address space holds: a loader fails while it is made, or with its first batch."""
    huge = tuple(replace(group, spec=replace(group.spec)) for group in GROUPS)
    for group in huge:
        object.__setattr__(group.spec, "size", 1 << 22)  # more than a spec takes
    what = replace(
        loading(open_beton(str(beton), "train"), device, groups=huge), pipeline=name, dtype=torch.uint8
    )
    before = set(threading.enumerate())
    with pytest.raises((MemoryError, RuntimeError, ValueError)), open_loader(what) as loader:
        next(loader)
    assert set(threading.enumerate()) == before


@pytest.mark.gpu
@pytest.mark.parametrize("output", ["views", "crops", "pixels"])
def test_whoever_finishes_them_views_are_the_same(output: CpuOutput) -> None:
    source = MemorySource(COUNT)
    ours = batches("cpu", loading(source, torch.device("cuda"), cpu_output=output))
    for batch, expected in zip(ours, batches("cpu", loading(source, torch.device("cpu"))), strict=True):
        for views, others, group in zip(batch.views, expected.views, GROUPS, strict=True):
            difference = (views - others).abs() * torch.tensor(group.spec.std).view(3, 1, 1) * 255
            assert difference.max() <= 6  # 4 of the CPU renderer, 2 of the GPU's; crops are rounded before
            assert difference.mean() <= 1.5


@pytest.mark.parametrize("output", ["crops", "pixels"])
def test_unfinished_products_need_a_gpu(output: CpuOutput) -> None:
    with pytest.raises(UserError, match=f"--cpu-output {output} leaves the rest to a GPU, and there is none"):
        open_loader(replace(loading(MemorySource(2), torch.device("cpu"), cpu_output=output), pipeline="cpu"))


# --- resident -----------------------------------------------------------------------------------------------


def test_resident_images_are_decoded_once(device: torch.device) -> None:
    source = MemorySource(COUNT)
    assert len(list(batches("resident", loading(source, device, stop_step=9)))) == 9
    assert sorted(source.reads) == list(range(COUNT))


def test_images_that_do_not_fit_are_refused_before_anything_is_read(device: torch.device) -> None:
    source = MemorySource(COUNT)
    source.index.heights[:] = source.index.widths[:] = 1 << 19
    with pytest.raises(UserError, match=r"14 decoded images take 11544\.9 GB, and .* GB are free on"):
        open_loader(replace(loading(source, device), pipeline="resident"))
    assert source.reads == []


def test_a_decoded_source_holds_the_pixels() -> None:
    source = MemorySource(COUNT)
    decoded = decode_all(source, BadImages(None, 0), torch.device("cpu"))
    assert isinstance(decoded, DecodedSource)
    for number in range(COUNT):
        np.testing.assert_array_equal(decoded.read(number), pixels_of(source.files[number]))
    assert decoded.describe(3) == source.describe(3)


# --- fake ---------------------------------------------------------------------------------------------------


def test_fake_batches_have_the_shapes_of_real_ones_and_read_nothing(device: torch.device) -> None:
    source = MemorySource(COUNT)
    real = list(batches("cpu", loading(source, device, dtype=torch.bfloat16)))
    source.reads.clear()
    fake = list(batches("fake", loading(source, device, dtype=torch.bfloat16)))
    assert source.reads == []
    assert [(batch.step, batch.epoch) for batch in fake] == [(batch.step, batch.epoch) for batch in real]
    for ours, theirs in zip(fake, real, strict=True):
        assert [views.shape for views in ours.views] == [views.shape for views in theirs.views]
        assert [views.dtype for views in ours.views] == [views.dtype for views in theirs.views]
        assert [views.stride() for views in ours.views] == [views.stride() for views in theirs.views]
        assert ours.sample_ids.shape == theirs.sample_ids.shape


# --- the choice ---------------------------------------------------------------------------------------------


def test_without_a_gpu_auto_takes_the_cpu() -> None:
    assert choose_pipeline("auto", MemorySource(2), torch.device("cpu")) == ("cpu", "no GPU")


@pytest.mark.gpu
def test_on_a_gpu_auto_keeps_small_data_there() -> None:
    name, why = choose_pipeline("auto", MemorySource(2), torch.device("cuda"))
    assert name == "resident"
    assert "memory" in why


def test_a_backend_that_is_named_is_taken() -> None:
    for name in set(BACKENDS) - {"ffcv"}:
        assert choose_pipeline(name, MemorySource(2), torch.device("cpu"))[0] == name


def test_without_ffcv_our_own_reader_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("ffcv", "ffcv.loader"):
        monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed
    name, why = choose_pipeline("ffcv", MemorySource(2), torch.device("cpu"))
    assert name == "cpu"
    assert "our own reader of .beton files serves instead" in why
    assert "\n" not in why


def test_an_unknown_backend_is_refused() -> None:
    with pytest.raises(UserError, match="no pipeline 'gpu': choose among auto, cpu"):
        choose_pipeline("gpu", MemorySource(2), torch.device("cpu"))
