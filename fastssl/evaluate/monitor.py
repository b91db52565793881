"""kNN while training: the encoder as it is, and once the two baselines it has to beat."""

from __future__ import annotations

import torch
from torch import nn

from fastssl.evaluate.data import LabelledData, labelled_data
from fastssl.evaluate.features import Extraction, calibrated, encoder_features, pixel_features
from fastssl.evaluate.knn import MONITOR_NEIGHBOURS, knn_top1
from pipelines.command.errors import UserError

LARGEST_BANK = 50_000  # of a larger data set a keyed part serves as the bank


class KnnMonitor:
    """kNN top-1 (k = 200) of encoders on one data set.

    Raises:
        UserError: the source has no labels (see ``open_monitor``).
    """

    def __init__(self, data: LabelledData, how: Extraction) -> None:
        self._data, self._how = data, how

    def encoder(self, encoder: nn.Module) -> float:
        """Of an encoder as it is."""
        bank = encoder_features(encoder, self._data.bank, self._how, "kNN: bank")
        queries = encoder_features(encoder, self._data.queries, self._how, "kNN: queries")
        return self._top1(bank, queries)

    def untrained(self, encoder: nn.Module) -> float:
        """Of an encoder at step 0, its batch-normalisation statistics those of the data."""
        return self.encoder(calibrated(encoder, self._data.bank, self._how))

    def pixels(self) -> float:
        """Of the pixels themselves, at no more than 32 x 32."""
        bank = pixel_features(self._data.bank, self._how, "kNN of pixels: bank")
        queries = pixel_features(self._data.queries, self._how, "kNN of pixels: queries")
        return self._top1(bank, queries)

    def _top1(
        self, bank: tuple[torch.Tensor, torch.Tensor], queries: tuple[torch.Tensor, torch.Tensor]
    ) -> float:
        found = knn_top1(*bank, *queries, self._data.num_classes, (MONITOR_NEIGHBOURS,))
        return found[MONITOR_NEIGHBOURS]


def open_monitor(where: str, how: Extraction) -> tuple[KnnMonitor | None, str]:
    """A monitor for a data set, or None where it has no labels; and a line that says which."""
    try:
        data = labelled_data(where, LARGEST_BANK)
    except UserError as error:
        return None, f"no kNN monitor: {error}"
    sizes = f"{len(data.bank.index)} images as bank, {len(data.queries.index)} queries"
    line = f"kNN monitor: {sizes} ({data.queries_are})"
    return KnnMonitor(data, how), line
