import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
import torch
from matplotlib.figure import Figure
from PIL import Image

from fastssl.run.pictures import save_curves, save_views
from pipelines.batch import Batch
from pipelines.views import ViewGroup, ViewSpec
from tests.helpers.memory_source import MemorySource, photograph, pixels_of

GAP, HEAD = 4, 40  # pixels: between tiles, and of the captions
SOURCE = MemorySource(20)


def batch_of(groups: tuple[ViewGroup, ...], count: int) -> tuple[Batch, list[np.ndarray]]:
    """A batch of noise and, for each of its views, the pixels it was made of: uint8 [B, S, S, 3]."""
    generator = np.random.default_rng(0)
    sources, tensors = [], []
    for group in groups:
        size = group.spec.size
        pixels = [
            generator.integers(0, 256, (count, size, size, 3), np.uint8) for _ in range(group.num_views)
        ]
        sources += pixels
        normalized = (np.concatenate(pixels) / 255 - group.spec.mean) / group.spec.std
        tensors.append(torch.from_numpy(normalized).float().permute(0, 3, 1, 2))
    batch = Batch(
        step=0,
        epoch=0,
        views=tuple(tensors),
        sample_ids=torch.from_numpy(SOURCE.index.sample_ids[::-1][:count].copy()),
        labels=None,
        parameters=(),
    )
    return batch, sources


def sheet_of(path: Path, groups: tuple[ViewGroup, ...], count: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """views.png of a batch, uint8 [H, W, 3], and the pixels of its views."""
    batch, pixels = batch_of(groups, count)
    save_views(path / "views.png", batch, groups, SOURCE)
    with Image.open(path / "views.png") as image:
        return np.array(image), pixels


def test_views_png_shows_the_pixels_that_went_in(tmp_path: Path) -> None:
    groups = (
        ViewGroup(spec=ViewSpec(size=96), num_views=2),
        ViewGroup(spec=ViewSpec(size=16, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3)), num_views=3),
    )
    sheet, sources = sheet_of(tmp_path, groups, 4)
    # 600 / 6 columns are 100 pixels: 96 are doubled, 16 enlarged to 112
    side, left = 192, 192 + 2 * GAP
    covered = np.zeros(sheet.shape[:2], bool)
    for pixels in sources:
        size = pixels.shape[1]
        factor = 2 if size == 96 else 7
        for row in range(4):
            top = HEAD + row * (side + GAP)
            shown = sheet[top : top + size * factor, left : left + size * factor]
            expected = np.kron(pixels[row], np.ones((factor, factor, 1), np.uint8))
            np.testing.assert_array_equal(shown, expected)
            covered[top : top + size * factor, left : left + size * factor] = True
        left += size * factor + GAP
    assert sheet.shape[1] == left
    covered[:HEAD] = covered[:, : side + GAP] = True  # captions and originals
    assert (sheet[~covered] == 255).all()


def test_each_row_begins_with_the_original(tmp_path: Path) -> None:
    sheet, _ = sheet_of(tmp_path, (ViewGroup(spec=ViewSpec(size=32), num_views=2),), 4)
    side = 224  # 600 / 3 columns are 200, and 7 times 32 pixels the next size
    for row in range(4):
        original = pixels_of(SOURCE.files[19 - row])
        factor = side // max(original.shape[:2])
        top = HEAD + row * (side + GAP)
        shown = sheet[top : top + original.shape[0] * factor, GAP : GAP + original.shape[1] * factor]
        np.testing.assert_allclose(shown[::factor, ::factor], original, atol=3)  # two decoders


def test_large_originals_are_reduced_and_broken_ones_left_out(tmp_path: Path) -> None:
    source = MemorySource(2)
    source.files[1] = b"no image"
    groups = (ViewGroup(spec=ViewSpec(size=2), num_views=40),)
    batch, _ = batch_of(groups, 2)
    batch = replace(batch, sample_ids=torch.from_numpy(source.index.sample_ids))
    photo = photograph(0, 30, 900)
    source.files[0] = simplejpeg.encode_jpeg(photo)
    source.index.heights[0], source.index.widths[0] = photo.shape[:2]
    save_views(tmp_path / "views.png", batch, groups, source)
    with Image.open(tmp_path / "views.png") as image:
        first, second = np.array(image)[HEAD : HEAD + 2 * (64 + GAP), GAP : GAP + 64].reshape(
            2, 64 + GAP, 64, 3
        )
    rows = np.flatnonzero((first != 255).any((1, 2)))
    assert len(rows) <= 3  # 64 x 2 pixels
    assert (first != 255).any((0, 2)).mean() > 0.9
    assert (second == 255).all()


@pytest.mark.parametrize(("views", "count", "shown"), [(2, 20, 4), (2, 3, 3), (6, 20, 7), (12, 20, 8)])
def test_as_many_samples_as_columns_from_four_to_eight(
    tmp_path: Path, views: int, count: int, shown: int
) -> None:
    sheet, _ = sheet_of(tmp_path, (ViewGroup(spec=ViewSpec(size=64), num_views=views),), count)
    side = {2: 256, 6: 128, 12: 64}[views]
    assert sheet.shape[:2] == (HEAD + shown * (side + GAP), (1 + views) * (side + GAP) + GAP)
    assert sheet.shape[1] >= 600


def test_captions_stand_above_their_columns(tmp_path: Path) -> None:
    groups = tuple(ViewGroup(spec=ViewSpec(size=size)) for size in (32, 224, 16))
    sheet, _ = sheet_of(tmp_path, groups, 2)
    captions = np.asarray(sheet[:HEAD].min(2) < 128)
    lefts = [GAP, 2 * GAP + 224, 3 * GAP + 224 + 160]
    for line, columns in ((slice(0, 20), lefts[1:]), (slice(20, 40), lefts)):
        for left in columns:
            assert captions[line, left : left + 60].any(), left
            assert not captions[line, left - GAP : left].any(), left


def test_values_outside_the_colors_are_clipped(tmp_path: Path) -> None:
    groups = (ViewGroup(spec=ViewSpec(size=300)),)
    batch, _ = batch_of(groups, 2)
    batch.views[0][0] = 100.0
    batch.views[0][1] = -100.0
    save_views(tmp_path / "views.png", batch, groups, SOURCE)
    with Image.open(tmp_path / "views.png") as image:
        sheet = np.array(image)
    assert (sheet[HEAD : HEAD + 300, -GAP - 300 : -GAP] == 255).all()
    assert (sheet[-GAP - 300 : -GAP, -GAP - 300 : -GAP] == 0).all()


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are drawn."""
    drawn: list[Figure] = []

    class Recorded(Figure):
        def savefig(self, *args: Any, **options: Any) -> None:
            drawn.append(self)
            super().savefig(*args, **options)

    monkeypatch.setattr("matplotlib.figure.Figure", Recorded)
    return drawn


def draw(folder: Path, rows: Sequence[Mapping[str, float]], baselines: dict[str, float]) -> None:
    """Curves of whole lines, behind which one is half written."""
    lines = [*(json.dumps(row) for row in rows), '{"step": 9, "lo']
    (folder / "metrics.jsonl").write_text("\n".join(lines))
    save_curves(folder / "curves.png", folder / "metrics.jsonl", "my run", baselines)


def test_curves_are_those_of_the_metrics(tmp_path: Path, figures: list[Figure]) -> None:
    rows: list[dict[str, float]] = [
        {"step": step, "epoch": step / 10, "loss": 5 / step, "learning_rate": 0.1 * step}
        for step in (1, 2, 4, 8)
    ]
    rows.insert(2, {"step": 2, "epoch": 0.2, "knn_top1": 0.3})
    rows.append({"step": 8, "epoch": 0.8, "knn_top1": 0.6})
    draw(tmp_path, rows, {"untrained": 0.25, "pixels": 0.375})
    (figure,) = figures
    assert figure.get_suptitle() == "my run"
    for axes, name in zip(figure.axes, ("loss", "learning_rate", "knn_top1"), strict=True):
        expected = [(row["epoch"], row[name]) for row in rows if name in row]
        assert np.array_equal(np.asarray(axes.lines[0].get_xydata()), expected)
        assert axes.get_xlabel() == "epoch"
        assert axes.get_ylabel() == name.replace("_", " ").replace("knn top1", "kNN top-1")
    levels = {
        str(line.get_label()): set(np.asarray(line.get_ydata()).tolist()) for line in figure.axes[2].lines[1:]
    }
    assert levels == {"untrained (0.250)": {0.25}, "pixels (0.375)": {0.375}}
    content = (tmp_path / "curves.png").read_bytes()
    assert len(content) < 200_000
    with Image.open(io.BytesIO(content)) as image:
        assert image.format == "PNG"
        assert image.width > 800


def test_the_legend_hides_nothing_and_epochs_are_whole(tmp_path: Path, figures: list[Figure]) -> None:
    rows = [{"step": step, "epoch": step, "loss": 1.0, "knn_top1": 1 - 1 / step} for step in range(1, 8)]
    draw(tmp_path, rows, {"untrained": 0.25, "pixels": 0.375})
    (figure,) = figures
    legend, title = figure.axes[2].get_legend(), figure.texts
    assert legend is not None
    box = legend.get_window_extent()
    assert not any(box.overlaps(axes.patch.get_window_extent()) for axes in figure.axes)
    assert figure.bbox.fully_containsx(box.x0)
    assert figure.bbox.fully_containsx(box.x1)
    assert figure.bbox.fully_containsy(box.y1)
    assert not any(box.overlaps(text.get_window_extent()) for text in title)
    for axes in figure.axes:
        assert all(tick == round(tick) for tick in axes.get_xticks())
        assert len(axes.get_xticks()) > 2


def test_a_run_of_two_epochs_has_whole_ones_too(tmp_path: Path, figures: list[Figure]) -> None:
    """Its lines may begin after the first."""
    rows = [{"step": 20, "epoch": 4 / 3, "loss": 2.0}, {"step": 30, "epoch": 2.0, "loss": 1.0}]
    draw(tmp_path, rows, {})
    for axes in figures[0].axes:
        assert axes.get_xlim()[0] == 0
        assert {0, 1, 2} <= {*axes.get_xticks()}
        assert all(tick == round(tick) for tick in axes.get_xticks())


def test_a_run_without_labels_or_without_a_line_has_curves_too(tmp_path: Path, figures: list[Figure]) -> None:
    save_curves(tmp_path / "curves.png", tmp_path / "absent.jsonl", "empty", {})
    (figure,) = figures
    assert [len(axes.lines) for axes in figure.axes] == [0, 0, 0]
    assert figure.axes[2].get_legend() is None
    assert (tmp_path / "curves.png").exists()
    assert [entry.name for entry in tmp_path.iterdir()] == ["curves.png"]
