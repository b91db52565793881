"""kNN while training: the encoder as it is, and once the two baselines it has to beat."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from fastssl.evaluate.data import TEST_SPLIT, labeled_data
from fastssl.evaluate.features import FeatureConfig, Pixels, calibrated, pixel_config
from fastssl.evaluate.knn import Knn
from fastssl.evaluate.subject import Subject
from pipelines.command.errors import UserError

LARGEST_BANK = 50_000  # of a larger data set a keyed part serves as the bank
MOST_QUERIES = 10_000  # and another one as queries
_KNN = Knn(k=(200,))


class KnnMonitor:
    """kNN top-1 (k = 200) of encoders on one data set, as ``fastssl.evaluate.knn`` measures it."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject

    @property
    def queries(self) -> int:
        """Number of images classified."""
        return len(self._subject.data.test.index)

    @property
    def has_test_split(self) -> bool:
        """True if the images classified are a test split; False if they are a part of the training images."""
        return self._subject.data.test_images_are == TEST_SPLIT

    def encoder(self, encoder: nn.Module) -> float:
        """kNN top-1 of an encoder as it is."""
        return _top1(replace(self._subject, encoder=encoder))

    def untrained(self, encoder: nn.Module) -> float:
        """kNN top-1 of an untrained encoder after recalibrating its batch norms on the data."""
        return self.encoder(calibrated(encoder, self._subject.data.train, self._subject.feature_config))

    def pixels(self) -> float:
        """kNN top-1 of the pixels themselves, at no more than 32 x 32."""
        config = pixel_config(self._subject.feature_config)
        return _top1(replace(self._subject, encoder=Pixels(), feature_config=config))


def open_monitor(where: str, config: FeatureConfig) -> tuple[KnnMonitor | None, str]:
    """A monitor for a data set, or None where it has no labels; and a line that says which."""
    try:
        data = labeled_data(where, LARGEST_BANK, MOST_QUERIES)
    except UserError as error:
        return None, f"no kNN monitor: {error}"
    if data.several_classes:
        return None, f"no kNN monitor: images of {where} have several classes"
    bank, queries = len(data.train.index), len(data.test.index)
    drawn = ", drawn by key" if data.drawn else ""
    sizes = f"{bank} images as bank, {queries} queries{drawn}"
    line = f"kNN monitor: {sizes} ({data.test_images_are})"
    return KnnMonitor(
        Subject(encoder=Pixels(), data=data, feature_config=config, where=where, refuses_nan=False)
    ), line


def _top1(subject: Subject) -> float:
    top1: float = _KNN.measure(subject)["top1_k200"]
    return top1
