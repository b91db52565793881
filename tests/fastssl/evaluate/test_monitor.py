"""The monitor measures what ``python -m fastssl.evaluate knn`` measures."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fastssl.evaluate.features import Pixels, calibrated, extract, pixel_config
from fastssl.evaluate.knn import Knn, knn_top1
from fastssl.evaluate.monitor import open_monitor
from fastssl.evaluate.subject import open_subject


def test_it_is_the_protocol_s_number_and_leaves_no_features(run: Path, tmp_path: Path) -> None:
    subject = open_subject(run)
    monitor, line = open_monitor(str(tmp_path / "data"), subject.feature_config)
    assert monitor is not None
    assert "36 images as bank, 18 queries (test split)" in line
    training = subject.encoder.train()
    assert monitor.encoder(training) == Knn().measure(replace(subject, cache=None))["top1_k200"]
    assert training.training
    untrained = calibrated(subject.encoder, subject.data.train, subject.feature_config)
    expected = Knn().measure(replace(subject, encoder=untrained, cache=None))["top1_k200"]
    assert monitor.untrained(subject.encoder) == expected
    assert not (run / "features").exists()


def test_pixels_are_in_full_precision(run: Path, tmp_path: Path) -> None:
    config = replace(open_subject(run).feature_config, precision="bf16")
    monitor, _ = open_monitor(str(tmp_path / "data"), config)
    assert monitor is not None
    data = open_subject(run).data
    bank, queries = (
        extract(Pixels(), source, pixel_config(config), "test") for source in (data.train, data.test)
    )
    assert bank[0].dtype == torch.float32
    assert monitor.pixels() == knn_top1(*bank, *queries, 3, (200,))[200]


@pytest.mark.parametrize(
    ("most", "told"),
    [
        ((36, 18), "36 images as bank, 18 queries ("),  # as many as there are: none is left out
        ((20, 18), "20 images as bank, 18 queries, drawn by key ("),
        ((36, 5), "36 images as bank, 5 queries, drawn by key ("),
    ],
)
def test_its_cost_is_bounded(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: tuple[int, int], told: str
) -> None:
    for name, count in zip(("LARGEST_BANK", "MOST_QUERIES"), most, strict=True):
        monkeypatch.setattr(f"fastssl.evaluate.monitor.{name}", count)
    monitor, line = open_monitor(str(tmp_path / "data"), open_subject(run).feature_config)
    assert monitor is not None
    assert told in line
    assert monitor.queries == most[1]
