import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from fastssl.run.pictures import save_curves, save_views
from pipelines.batch import Batch
from pipelines.views import ViewGroup, ViewSpec

GAP = 2


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
        sample_ids=torch.arange(count),
        labels=None,
        parameters=(),
    )
    return batch, sources


def test_views_png_shows_the_pixels_that_went_in(tmp_path: Path) -> None:
    groups = (
        ViewGroup(spec=ViewSpec(size=96), num_views=2),
        ViewGroup(spec=ViewSpec(size=16, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3)), num_views=3),
    )
    batch, sources = batch_of(groups, 4)
    save_views(tmp_path / "views.png", batch, groups)
    with Image.open(tmp_path / "views.png") as image:
        sheet = np.array(image)
    left = GAP
    covered = np.zeros(sheet.shape[:2], bool)
    for pixels in sources:
        size = pixels.shape[1]
        factor = 1 if size == 96 else 4  # 16 pixels are enlarged to 64
        for row in range(4):
            top = GAP + row * (96 + GAP)
            shown = sheet[top : top + size * factor, left : left + size * factor]
            expected = np.kron(pixels[row], np.ones((factor, factor, 1), np.uint8))
            np.testing.assert_array_equal(shown, expected)
            covered[top : top + size * factor, left : left + size * factor] = True
        left += size * factor + GAP
    assert sheet.shape[1] == left
    assert (sheet[~covered] == 255).all()


def test_views_png_shows_at_most_eight_samples_and_as_few_as_there_are(tmp_path: Path) -> None:
    groups = (ViewGroup(spec=ViewSpec(size=64), num_views=2),)
    for count, rows in ((20, 8), (3, 3)):
        batch, _ = batch_of(groups, count)
        save_views(tmp_path / "views.png", batch, groups)
        with Image.open(tmp_path / "views.png") as image:
            assert image.size == (2 * (64 + GAP) + GAP, rows * (64 + GAP) + GAP)


def test_values_outside_the_colors_are_clipped(tmp_path: Path) -> None:
    groups = (ViewGroup(spec=ViewSpec(size=64)),)
    batch, _ = batch_of(groups, 2)
    batch.views[0][0] = 100.0
    batch.views[0][1] = -100.0
    save_views(tmp_path / "views.png", batch, groups)
    with Image.open(tmp_path / "views.png") as image:
        sheet = np.array(image)
    assert (sheet[GAP : GAP + 64, GAP:-GAP] == 255).all()
    assert (sheet[-GAP - 64 : -GAP, GAP:-GAP] == 0).all()


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


def write_metrics(path: Path) -> list[dict[str, float]]:
    rows: list[dict[str, float]] = [
        {"step": step, "epoch": step / 10, "loss": 5 / step, "learning_rate": 0.1 * step}
        for step in (1, 2, 4, 8)
    ]
    rows.insert(2, {"step": 2, "epoch": 0.2, "knn_top1": 0.3})
    rows.append({"step": 8, "epoch": 0.8, "knn_top1": 0.6})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 9, "lo')
    return rows


def test_curves_are_those_of_the_metrics(tmp_path: Path, figures: list[Figure]) -> None:
    rows = write_metrics(tmp_path / "metrics.jsonl")
    baselines = {"untrained": 0.25, "pixels": 0.375}
    save_curves(tmp_path / "curves.png", tmp_path / "metrics.jsonl", "my run", baselines)
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


def test_a_run_without_labels_or_without_a_line_has_curves_too(tmp_path: Path, figures: list[Figure]) -> None:
    save_curves(tmp_path / "curves.png", tmp_path / "absent.jsonl", "empty", {})
    (figure,) = figures
    assert [len(axes.lines) for axes in figure.axes] == [0, 0, 0]
    assert figure.axes[2].get_legend() is None
    assert (tmp_path / "curves.png").exists()
    assert [entry.name for entry in tmp_path.iterdir()] == ["curves.png"]
