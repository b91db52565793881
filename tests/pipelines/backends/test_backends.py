"""One conformance test for every backend that shows real images, and what each promises beside it."""

import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
import torch

from pipelines.backends.backend import BACKENDS, CpuOutput
from pipelines.backends.choose import choose_pipeline
from pipelines.backends.loader import Loader
from pipelines.backends.resident import DecodedSource, decode_all
from pipelines.batch import Batch
from pipelines.command.errors import UserError
from pipelines.decode.bad_images import BadImages
from pipelines.pack import Options, pack
from pipelines.plan.order import permute
from pipelines.plan.plan import Plan, evaluation_plan
from pipelines.sources.beton.beton import BetonSource, open_beton
from pipelines.sources.beton.format import read_table
from tests.helpers import ROOT
from tests.helpers.loader_checks import (
    BATCH,
    BLOCKS,
    COUNT,
    CPU,
    DEVICES,
    GPU,
    GROUPS,
    TRAINING,
    assert_follows_the_keys,
    assert_same,
    copied,
    load,
    needs_dali,
    needs_ffcv,
    numbers_of,
    open_with,
)
from tests.helpers.memory_source import MemorySource, pixels_of

PLANS = [pytest.param(TRAINING, id="random"), pytest.param(BLOCKS, id="blocks")]
LARGEST = 4  # difference of views from the reference, in levels of 255
NEEDS = {"dali": needs_dali, "ffcv": needs_ffcv}
REAL = [pytest.param(name, marks=NEEDS.get(name, ())) for name in BACKENDS if name != "fake"]


@pytest.fixture(params=REAL)
def name(request: pytest.FixtureRequest) -> str:
    """Of a backend."""
    return str(request.param)


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> torch.device:
    chosen: torch.device = request.param
    return chosen


@pytest.fixture
def opened(name: str, device: torch.device) -> Callable[..., Loader]:
    """Opens a loader of the backend on the device."""
    return partial(open_with, name, device=device)


@pytest.fixture
def loaded(name: str, device: torch.device) -> Callable[..., list[Batch]]:
    """Loads by the backend on the device; batches are copied to the CPU."""
    return partial(load, name, device=device)


def packed(folder: Path, classes: Sequence[str]) -> Path:
    """Write the one kind of file that all backends read, of images whose classes take turns."""
    for number, content in enumerate(MemorySource(COUNT).files):
        path = folder / "images" / classes[number % len(classes)] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    pack(Options(src=str(folder / "images"), dst=folder / "images.beton", workers=1))
    return folder / "images.beton"


@pytest.fixture(scope="module")
def beton(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return packed(tmp_path_factory.mktemp("beton"), "acebd")


@pytest.fixture(scope="module")
def source(beton: Path) -> BetonSource:
    return open_beton(str(beton), "train")


def pixels_by(name: str, source: BetonSource) -> Sequence[np.ndarray]:
    """As a backend decodes them: FFCV by the fast cosine transform (test_ffcv.py), the others as Pillow."""
    decode = partial(simplejpeg.decode_jpeg, fastdct=True) if name == "ffcv" else pixels_of
    return [decode(bytes(source.read(number))) for number in range(COUNT)]


def cut_off(path: Path, row: int) -> None:
    """Overwrite the second half of an image in a file."""
    table = read_table(path)
    begin, length = int(table.offsets[row]), int(table.lengths[row])
    with path.open("r+b") as file:
        file.seek(begin + length // 2)
        file.write(bytes(length - length // 2))


@pytest.mark.parametrize("plan", PLANS)
def test_every_backend_follows_the_keys_and_the_reference(
    name: str, source: BetonSource, loaded: Callable[..., list[Batch]], plan: Plan
) -> None:
    decoded = pixels_by(name, source)
    batches = loaded(source, plan)
    assert [(batch.step, batch.epoch) for batch in batches] == [(0, 0), (1, 0), (2, 1), (3, 1), (4, 2)]
    for batch in batches:
        assert_follows_the_keys(batch, source, decoded.__getitem__, plan, largest=LARGEST)


@pytest.mark.parametrize("plan", PLANS)
def test_every_backend_goes_on_from_a_state(
    source: BetonSource,
    opened: Callable[..., Loader],
    loaded: Callable[..., list[Batch]],
    plan: Plan,
) -> None:
    expected = loaded(source, plan)
    with opened(source, plan, prefetch=4) as loader:
        assert loader.state_dict() == {"step": 0}
        for taken in (1, 2, 3):
            assert_same(copied(next(loader)), expected[taken - 1])
            assert loader.state_dict() == {"step": taken}  # whatever was prefetched
        for step in (0, 3, 1, 4, 4, 2, 0):
            loader.load_state_dict({"step": step})
            assert_same(copied(next(loader)), expected[step])
        assert [batch.step for batch in loader] == [1, 2, 3, 4]
        with pytest.raises(StopIteration):
            next(loader)
        loader.load_state_dict({"step": 4})
        assert_same(copied(next(loader)), expected[4])
    for ours, theirs in zip(loaded(source, plan, start_step=3), expected[3:], strict=True):
        assert_same(ours, theirs)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.bfloat16])
def test_every_backend_makes_every_dtype(
    source: BetonSource, loaded: Callable[..., list[Batch]], device: torch.device, dtype: torch.dtype
) -> None:
    """The float32 views rounded, on a GPU within its rounding; levels of 255 are those before normalizing."""
    if dtype == torch.uint8 and device == GPU:
        pytest.skip("the GPU's kernels make no levels")
    groups = (*GROUPS, replace(GROUPS[0], spec=replace(GROUPS[0].spec, color_space="lab")))
    (ours,), (exact,) = (loaded(source, stop=1, groups=groups, dtype=each) for each in (dtype, torch.float32))
    for group, views, full in zip(groups, ours.views, exact.views, strict=True):
        assert views.dtype == dtype
        assert views.is_contiguous(memory_format=torch.channels_last)
        if dtype == torch.uint8:
            mean, std = (torch.tensor(each).view(3, 1, 1) for each in (group.spec.mean, group.spec.std))
            assert (views - 255 * (full * std + mean)).abs().max() <= 0.51
        elif device == CPU:
            assert torch.equal(views, full.to(dtype))
        else:
            tolerance = {torch.float16: 2**-9, torch.bfloat16: 2**-7}[dtype]
            torch.testing.assert_close(views.float(), full, atol=1e-3, rtol=tolerance)


def test_every_backend_gives_no_labels_where_there_are_none(
    tmp_path: Path, loaded: Callable[..., list[Batch]]
) -> None:
    (batch,) = loaded(open_beton(str(packed(tmp_path, ["."])), "train"), stop=1)
    assert batch.labels is None
    assert len(batch) == BATCH


def test_every_backend_keeps_the_uneven_last_batch_of_an_evaluation(
    name: str, source: BetonSource, loaded: Callable[..., list[Batch]]
) -> None:
    plan, decoded = evaluation_plan(COUNT, BATCH), pixels_by(name, source)
    parts = loaded(source, plan, stop=4)
    assert [len(batch) for batch in parts] == [8, 8, 6, 8]
    assert [number for batch in parts[:3] for number in numbers_of(source, batch)] == list(range(COUNT))
    for batch in parts:
        assert_follows_the_keys(batch, source, decoded.__getitem__, plan, largest=LARGEST)
    (whole,) = loaded(source, evaluation_plan(COUNT, COUNT), stop=1)
    for k, view in enumerate(whole.each_view()):
        assert torch.equal(view, torch.cat([batch.each_view()[k] for batch in parts[:3]]))


@pytest.mark.parametrize(
    ("plan", "world_size"),
    [
        pytest.param(TRAINING, 4, id="random"),
        pytest.param(BLOCKS, 2, id="blocks"),
        pytest.param(evaluation_plan(COUNT, 20), 2, id="no share of the last batch"),
    ],
)
def test_every_backend_shares_the_global_batch_among_ranks(
    source: BetonSource, loaded: Callable[..., list[Batch]], plan: Plan, world_size: int
) -> None:
    shares = [loaded(source, replace(plan, rank=rank, world_size=world_size)) for rank in range(world_size)]
    for step, whole in enumerate(loaded(source, plan)):
        parts = [share[step] for share in shares]
        assert len(parts[0]) == min(len(whole), plan.batch_size // world_size)
        assert torch.equal(torch.cat([part.sample_ids for part in parts]), whole.sample_ids)
        shown = [part for part in parts if len(part)]
        for k, view in enumerate(whole.each_view()):
            assert torch.equal(torch.cat([part.each_view()[k] for part in shown]), view)
        for g, table in enumerate(whole.parameters):
            np.testing.assert_array_equal(np.concatenate([part.parameters[g] for part in parts], 1), table)


@pytest.mark.parametrize(("workers", "prefetch"), [(1, 0), (0, 1), (11, 6)])
def test_every_backend_makes_the_same_batches_whatever_the_workers(
    source: BetonSource, loaded: Callable[..., list[Batch]], workers: int, prefetch: int
) -> None:
    ours = loaded(source, BLOCKS, workers=workers, prefetch=prefetch)
    for batch, same in zip(ours, loaded(source, BLOCKS), strict=True):
        assert_same(batch, same)


@pytest.mark.parametrize("workers", [1, 3])
def test_every_backend_shows_the_same_substitutes(
    beton: Path, tmp_path: Path, opened: Callable[..., Loader], workers: int
) -> None:
    order = permute(3, 0, COUNT, np.arange(COUNT)).tolist()
    path = Path(shutil.copy(beton, tmp_path))
    for place in (1, 4, 5):
        cut_off(path, order[place])
    source = open_beton(str(path), "train")
    bad_images = BadImages(None, COUNT)
    (expected,) = load("cpu", source, stop=1)
    with opened(source, stop=1, bad_images=bad_images, workers=workers) as loader:
        batch = copied(next(loader))
    assert len(bad_images) == 3
    assert batch.labels is not None
    assert source.index.labels is not None
    shown = (0, 2, 2, 3, 6, 6, 6, 7)  # who stands in
    assert batch.labels.tolist() == [source.index.labels[order[place]] for place in shown]
    for ours, theirs in zip(batch.parameters, expected.parameters, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    for ours_views, theirs_views in zip(batch.views, expected.views, strict=True):
        assert (ours_views - theirs_views).abs().max() <= 2 * LARGEST / 255 / 0.224
    with (
        pytest.raises(UserError, match="3 images cannot be decoded, more than the 2 tolerated") as error,
        opened(source, bad_images=BadImages(None, 2), workers=workers) as loader,
    ):
        next(loader)
    assert "\n" not in str(error.value)


def test_every_backend_runs_ahead_as_far_as_told(
    source: BetonSource, opened: Callable[..., Loader], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[int] = []
    with opened(source, stop=40, prefetch=2) as loader:
        of_step = loader._requests.of_step

        def noted(step: int) -> Any:
            drawn.append(step)
            return of_step(step)

        monkeypatch.setattr(loader._requests, "of_step", noted)
        for taken, begun in ((1, 3), (2, 4), (3, 5)):  # the one in use and two under way
            next(loader)
            assert (taken, drawn) == (taken, list(range(begun)))
        loader.load_state_dict({"step": 38})
        drawn.clear()
        assert [batch.step for batch in loader] == [38, 39]
        assert drawn == [38, 39]


def test_every_backend_leaves_a_batch_in_use_alone(
    source: BetonSource, opened: Callable[..., Loader]
) -> None:
    with opened(source, stop=20, prefetch=3) as loader:
        for _ in range(6):
            batch = next(loader)
            before = copied(batch)
            time.sleep(0.02)  # what is prefetched goes on
            assert_same(copied(batch), before)
    assert_same(copied(batch), before)  # it outlives its loader


@pytest.mark.parametrize("taken", [0, 1, 3])
def test_every_backend_ends_its_threads(
    source: BetonSource, opened: Callable[..., Loader], taken: int
) -> None:
    before = set(threading.enumerate())
    loader = opened(source, stop=100, workers=3, prefetch=4)
    for _ in range(taken):
        next(loader)
    loader.close()
    assert set(threading.enumerate()) == before
    loader.close()  # a second time does no harm

    def fail() -> None:
        with opened(source, stop=100) as loader:
            next(loader)
            raise ZeroDivisionError

    if taken:
        with pytest.raises(ZeroDivisionError):
            fail()
        assert set(threading.enumerate()) == before


@pytest.mark.parametrize("name", ["cpu", pytest.param("dali", marks=needs_dali)])
@pytest.mark.parametrize(("workers", "prefetch"), [(1, 0), (3, 3)])
def test_errors_of_reading_reach_the_consumer(
    opened: Callable[..., Loader], workers: int, prefetch: int
) -> None:
    class Failing(MemorySource):
        def read(self, number: int) -> bytes:
            if number == permute(3, 0, COUNT, np.arange(COUNT))[BATCH + 3]:
                raise ZeroDivisionError("of a worker")
            return super().read(number)

    before = set(threading.enumerate())
    with opened(Failing(COUNT), workers=workers, prefetch=prefetch) as loader:
        assert next(loader).step == 0
        for _ in range(2):  # it does not go away either
            with pytest.raises(ZeroDivisionError, match="of a worker"):
                next(loader)
    assert set(threading.enumerate()) == before


@pytest.mark.parametrize(("name", "module"), [("dali", "nvidia.dali"), ("ffcv", "ffcv")])
def test_importing_a_backend_does_not_import_what_it_requires(name: str, module: str) -> None:
    program = f"import sys, pipelines.backends.{name}; sys.exit({module!r} in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)


def test_no_views_is_a_users_mistake(opened: Callable[..., Loader], source: BetonSource) -> None:
    with pytest.raises(UserError, match="num-views"):
        opened(source, groups=())


@pytest.mark.parametrize("name", [pytest.param(name, marks=NEEDS.get(name, ())) for name in BACKENDS])
def test_a_loader_that_cannot_be_made_leaves_no_thread(
    opened: Callable[..., Loader], source: BetonSource
) -> None:
    """Views that no address space holds: a loader fails while it is made, or with its first batch."""
    huge = tuple(replace(group, spec=replace(group.spec)) for group in GROUPS)
    for group in huge:
        object.__setattr__(group.spec, "size", 1 << 22)  # more than a spec takes
    before = set(threading.enumerate())
    with (
        pytest.raises((MemoryError, RuntimeError, ValueError)),
        opened(source, groups=huge, dtype=torch.uint8) as loader,
    ):
        next(loader)
    assert set(threading.enumerate()) == before


@pytest.mark.gpu
@pytest.mark.parametrize("output", ["views", "crops", "pixels"])
def test_whoever_finishes_them_views_are_the_same(output: CpuOutput) -> None:
    source = MemorySource(COUNT)
    ours = load("cpu", source, device=GPU, cpu_output=output)
    for batch, expected in zip(ours, load("cpu", source), strict=True):
        for views, others, group in zip(batch.views, expected.views, GROUPS, strict=True):
            difference = (views - others).abs() * torch.tensor(group.spec.std).view(3, 1, 1) * 255
            assert difference.max() <= 6  # 4 of the CPU renderer, 2 of the GPU's; crops are rounded before
            assert difference.mean() <= 1.5


@pytest.mark.parametrize("output", ["crops", "pixels"])
def test_unfinished_products_need_a_gpu(output: CpuOutput) -> None:
    with pytest.raises(UserError, match=f"--cpu-output {output} leaves the rest to a GPU, and there is none"):
        open_with("cpu", MemorySource(2), cpu_output=output)


# --- resident -----------------------------------------------------------------------------------------------


def test_resident_images_are_decoded_once(device: torch.device) -> None:
    source = MemorySource(COUNT)
    assert len(load("resident", source, stop=9, device=device)) == 9
    assert sorted(source.reads) == list(range(COUNT))


def test_images_that_do_not_fit_are_refused_before_anything_is_read(device: torch.device) -> None:
    source = MemorySource(COUNT)
    source.index.heights[:] = source.index.widths[:] = 1 << 19
    with pytest.raises(UserError, match=r"22 decoded images take 18141\.9 GB, and .* GB are free on"):
        open_with("resident", source, device=device)
    assert source.reads == []


def test_a_decoded_source_holds_the_pixels() -> None:
    source = MemorySource(COUNT)
    decoded = decode_all(source, BadImages(None, 0), CPU)
    assert isinstance(decoded, DecodedSource)
    for number in range(COUNT):
        np.testing.assert_array_equal(decoded.read(number), pixels_of(source.files[number]))
    assert decoded.describe(3) == source.describe(3)


# --- fake ---------------------------------------------------------------------------------------------------


def test_fake_batches_have_the_shapes_of_real_ones_and_read_nothing(device: torch.device) -> None:
    source = MemorySource(COUNT)
    real = load("cpu", source, device=device, dtype=torch.bfloat16)
    source.reads.clear()
    fake = load("fake", source, device=device, dtype=torch.bfloat16)
    assert source.reads == []
    assert [(batch.step, batch.epoch) for batch in fake] == [(batch.step, batch.epoch) for batch in real]
    for ours, theirs in zip(fake, real, strict=True):
        assert [views.shape for views in ours.views] == [views.shape for views in theirs.views]
        assert [views.dtype for views in ours.views] == [views.dtype for views in theirs.views]
        assert [views.stride() for views in ours.views] == [views.stride() for views in theirs.views]
        assert ours.sample_ids.shape == theirs.sample_ids.shape


# --- the choice ---------------------------------------------------------------------------------------------


def test_without_a_gpu_auto_takes_the_cpu() -> None:
    assert choose_pipeline("auto", MemorySource(2), CPU) == ("cpu", "no GPU")


@pytest.mark.gpu
def test_on_a_gpu_auto_keeps_small_data_there() -> None:
    name, why = choose_pipeline("auto", MemorySource(2), GPU)
    assert name == "resident"
    assert "memory" in why


def test_a_backend_that_is_named_is_taken() -> None:
    for name in set(BACKENDS) - {"ffcv"}:
        assert choose_pipeline(name, MemorySource(2), CPU)[0] == name


def test_without_ffcv_our_own_reader_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("ffcv", "ffcv.loader"):
        monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed
    name, why = choose_pipeline("ffcv", MemorySource(2), CPU)
    assert name == "cpu"
    assert "our own reader of .beton files serves instead" in why
    assert "\n" not in why
