"""Nearest-neighbor sheet: test images, each beside the training images whose features are most alike."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn import functional

from fastssl.diagnostics.diagnostic import Diagnostic
from fastssl.diagnostics.opened_run import OpenedRun
from fastssl.evaluate.features import open_views
from fastssl.evaluate.subject import Subject
from fastssl.run.pictures import to_tiles
from pipelines.command.ranges import Count
from pipelines.plan.order import keyed_sample
from pipelines.plan.plan import evaluation_plan
from pipelines.sources import Source
from pipelines.sources.subset import Subset
from pipelines.views import ViewGroup

_FRAME, _GAP = 3, 3  # pixels
_SAME, _OTHER, _QUERY = (40, 160, 60), (205, 60, 50), (90, 90, 90)


@dataclass(frozen=True, kw_only=True)
class Neighbors(Diagnostic):
    """Test images beside their nearest training images by cosine similarity, a row each."""

    queries: Count = 8
    """Test images, drawn by key."""
    neighbors: Count = 8
    """Training images beside each."""
    seed: int = 0
    """Random seed for the choice of test images."""

    def measure(self, runs: Sequence[OpenedRun]) -> tuple[dict[str, Any], bytes]:
        """``rows``: a query, and its neighbors with their similarities; ``same_class``, their share.

        In the picture a frame is green where a neighbor has the query's class, else red.
        """
        subject = runs[0].subject
        subject.data.require_one_class("neighbors")
        train, test = subject.data.train, subject.data.test
        (bank, bank_labels), (features, labels) = subject.features("train"), subject.features("test")
        drawn = keyed_sample("neighbors", len(features), self.queries, seed=self.seed)
        similarities, nearest = nearest_rows(features[drawn], bank, min(self.neighbors, len(bank)))
        same = bank_labels[nearest] == labels[drawn][:, None]
        rows = [
            {
                "query": test.describe(int(query)),
                "neighbors": [
                    {"image": train.describe(int(number)), "similarity": float(similarity)}
                    for number, similarity in zip(numbers, values, strict=True)
                ],
            }
            for query, numbers, values in zip(drawn, nearest, similarities, strict=True)
        ]
        share = float(same.double().mean())
        queries = _tiles(subject, test, drawn)
        found = _tiles(subject, train, nearest.flatten().numpy())
        sheet = _sheet(queries, found.reshape(*nearest.shape, *found.shape[1:]), same.numpy())
        return {"same_class": share, "rows": rows}, sheet


def nearest_rows(queries: Tensor, bank: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Cosine similarities and numbers of the rows of a bank [N, D] that are nearest to each query [Q, D].

    Both [Q, count], nearest first; ``count`` is at most N.
    """
    similarity = functional.normalize(queries, dim=1) @ functional.normalize(bank, dim=1).T
    found = similarity.topk(count, dim=1)
    return found.values, found.indices


def _tiles(subject: Subject, source: Source, numbers: np.ndarray) -> np.ndarray:
    """The images at ``numbers`` as the encoder saw them, uint8 [N, S', S', 3]; any may come twice."""
    different, places = np.unique(numbers, return_inverse=True)
    config = subject.feature_config
    plan = evaluation_plan(len(different), min(config.batch_size, len(different)))
    group = ViewGroup(spec=config.spec)
    with open_views(Subset(source, different), config, plan, plan.batches_per_epoch) as loader:
        parts = [to_tiles(batch.views[0], group) for batch in loader]
    tiles: np.ndarray = np.concatenate(parts)[places]
    return tiles


def _sheet(queries: np.ndarray, found: np.ndarray, same: np.ndarray) -> bytes:
    """PNG of queries uint8 [Q, S, S, 3] and their neighbors [Q, K, S, S, 3], framed by bool [Q, K]."""
    rows = []
    for query, neighbors, alike in zip(queries, found, same, strict=True):
        tiles = [
            _framed(query, _QUERY),
            np.full((len(query) + 2 * _FRAME + _GAP, 2 * _GAP, 3), 255, np.uint8),
        ]
        tiles += [
            _framed(tile, _SAME if mine else _OTHER) for tile, mine in zip(neighbors, alike, strict=True)
        ]
        rows.append(np.concatenate(tiles, axis=1))
    buffer = io.BytesIO()
    Image.fromarray(np.concatenate(rows)).save(buffer, "PNG")
    return buffer.getvalue()


def _framed(tile: np.ndarray, color: tuple[int, int, int]) -> np.ndarray:
    """A tile in a frame, with a white gap to its right and below."""
    framed = ImageOps.expand(Image.fromarray(tile), _FRAME, color)
    return np.asarray(ImageOps.expand(framed, (0, 0, _GAP, _GAP), (255, 255, 255)))
