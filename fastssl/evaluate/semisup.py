"""Classification with few labels: 1 % or 10 % of the training images.

The rates are those of the supplement of Moon, Buracas, Park, Kim, Canny, "An embedding-dynamic approach to
self-supervised learning" (2022), section 2.2: Nesterov's momentum, batch 1024; 2.0 for 1 %, on the frozen
encoder; 0.25 for 10 %, where the encoder moves at 2.5e-4. It states no length and no schedule: here 30 epochs
and a cosine to 0.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from fastssl.evaluate.augmentation import AugmentationChoice
from fastssl.evaluate.class_draw import balanced_counts, draw_per_class
from fastssl.evaluate.fine_tuning import fine_tuned_predictions
from fastssl.evaluate.fine_tuning_setting import FineTuningSetting
from fastssl.evaluate.linear import linear_predictions
from fastssl.evaluate.linear_setting import SETTINGS, LinearSetting, choose_setting
from fastssl.evaluate.protocol import Protocol
from fastssl.evaluate.resumable import resume_file
from fastssl.evaluate.subject import Subject
from pipelines.command.errors import UserError
from pipelines.command.options import user_path
from pipelines.command.ranges import CountOrZero, Share
from pipelines.sources import Source

_BETWEEN = 0.05  # share of labeled images: below it the paper's setting of 1 %, from there on that of 10 %
_ENCODER_RATE = 2.5e-4


@dataclass(frozen=True, kw_only=True)
class Semisup(Protocol):
    """A linear classifier of few labeled training images, on the frozen encoder or fine-tuned with it."""

    share: Share = 0.01
    """Share of the training images whose labels are used, dealt evenly to the classes."""
    names: str = ""
    """File of the images to use in place of a draw, a name a line, such as SimCLR's 1percent.txt."""
    setting: Literal["auto", "paper", "search"] = "auto"
    """paper: rate 2.0 at batch 1024, from a share of 0.05 on 0.25; search: standardized features and the rate
    that is best on a fifth of the labeled images. auto: the paper's at ImageNet's scale, else search."""
    augmentation: AugmentationChoice = "auto"
    """crop, or cached features of the image and its mirror image (flip); auto: flip below 64 pixels."""
    epochs: CountOrZero = 0
    """0 keeps the setting's: 30, or 100 of search."""
    seed: CountOrZero = 0
    """Random seed for the draw, initial weights, sample order, views and held-out images."""
    encoder: Literal["auto", "frozen", "tuned"] = "auto"
    """tuned: the encoder moves as well, at the paper's 2.5e-4. auto: tuned where the paper's setting is used
    and does so, from a share of 0.05 on; else frozen."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.encoder == "tuned" and self.setting == "search":
            raise UserError("--setting search has no rate for the encoder: with --encoder tuned leave it out")

    def measure(self, subject: Subject) -> dict[str, Any]:
        """``top1`` of the test images, ``train_loss`` of the last epoch; see ``linear_predictions``."""
        train = subject.data.train
        indices = _listed(train, self.names) if self.names else self._drawn(train)
        share = len(indices) / len(train.index)
        name = self.setting
        if name == "auto":
            searches = choose_setting(subject) == "search" and self.encoder != "tuned"
            name = "search" if searches else "paper"
        tunes = self.encoder == "tuned"
        if self.encoder == "auto":
            tunes = name == "paper" and share >= _BETWEEN
        part = subject.on_part(indices)
        file = resume_file(self, subject)
        if tunes:
            tuned = FineTuningSetting(**_paper_schedule(share), encoder_rate=_ENCODER_RATE)
            tuned = tuned.lasting(self.epochs)
            _, result = fine_tuned_predictions(part, tuned, self.augmentation, self.seed, file)
        else:
            setting = SETTINGS["search"] if name == "search" else LinearSetting(**_paper_schedule(share))
            setting = setting.lasting(self.epochs)
            _, result = linear_predictions(part, setting, self.augmentation, self.seed, file)
        said = {"setting": name, "images": len(indices), "encoder": "tuned" if tunes else "frozen"}
        return result | {"settings": result["settings"] | said}

    def report(self, subject: Subject, result: Mapping[str, Any]) -> str:
        """One line."""
        settings = result["settings"]
        which = f"{settings['setting']} setting, encoder {settings['encoder']}"
        how = f"{settings['images']} labeled images, {which}"
        return f"semisup top-1 {result['top1']:.3f} ({how})"

    def _drawn(self, train: Source) -> np.ndarray:
        labels = train.index.labels
        assert labels is not None
        sizes = np.bincount(labels, minlength=len(train.index.class_names))
        counts = balanced_counts(sizes, round(self.share * len(labels)), "semisup", self.seed)
        return draw_per_class(labels, counts, "semisup", self.seed)


def _paper_schedule(share: float) -> dict[str, Any]:
    """Fields of ``TrainingSetting`` by the paper."""
    rate = 2.0 if share < _BETWEEN else 0.25
    return {"epochs": 30, "batch_size": 1024, "learning_rate": rate, "nesterov": True, "drops": ()}


def _listed(train: Source, names: str) -> np.ndarray:
    """Indices of the training images that a file names, sorted, int64 [M].

    A name is the end of an image's path, with or without folders and extension.

    Raises:
        UserError: the file cannot be read, or a name fits no training image, or several.
    """
    path = user_path(names)
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"--names {names} cannot be read ({error}): give a text file of image names"
        ) from None
    if not lines:
        raise UserError(f"--names {names} is empty: give a text file of image names")
    places: dict[str, list[tuple[str, int]]] = defaultdict(list)  # by the last part of a path
    for index in range(len(train.index)):
        where = "/" + _stem(train.describe(index).replace(":", "/"))
        places[where.rpartition("/")[2]].append((where, index))
    found = []
    for line in lines:
        wanted = "/" + _stem(line).lstrip("/")
        fits = [index for where, index in places[wanted.rpartition("/")[2]] if where.endswith(wanted)]
        if len(fits) != 1:
            said = f"{len(fits)} training images" if fits else "no training image"
            raise UserError(f"--names {names}: {line} names {said}: name each by the end of its path")
        found += fits
    return np.unique(found)


def _stem(path: str) -> str:
    """A path without the extension of its last part."""
    head, slash, last = path.rpartition("/")
    return f"{head}{slash}{last.rpartition('.')[0] or last}"
